"""The door for a browser's EventSource: `id:` is the seq, comments are heartbeats, and the end stops the browser."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.api import httpbody_pb2
from google.protobuf import json_format

from server.caller import Caller, Request, current_caller, current_request
from server.chat import encode
from server.chat.events import Heartbeat, Reconnect
from server.chat.following import Following, Item
from server.chat.service import ConversationService
from server.chat.tickets import Tickets, TicketsAway
from server.errors import AppError, Code
from tria.chat.v1 import chat_service_pb2

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Bodies = AsyncGenerator[httpbody_pb2.HttpBody, None]

_NEVER = 2_000_000_000  # ms: what an EventSource that has everything waits before it comes again
_SOON = 1_000  # ms
_KEEP = 15.0  # seconds between notes that a ticket is in use


class SseHandler:
    """CreateStreamTicket and StreamRunSse."""

    def __init__(self, service: ConversationService, following: Following, tickets: Tickets) -> None:
        self._chats = service
        self._followed = following
        self._tickets = tickets

    async def CreateStreamTicket(
        self, request: chat_service_pb2.CreateStreamTicketRequest, context: Context
    ) -> chat_service_pb2.StreamTicket:
        made = await self._chats.stream_ticket(current_caller.get(), _call(), request.run, self._tickets)
        return chat_service_pb2.StreamTicket(ticket=made.ticket, expire_time=encode.stamp(made.expire_time))

    async def StreamRunSse(self, request: chat_service_pb2.StreamRunSseRequest, context: Context) -> Bodies:
        known = _last_event_id(context)
        call = _call()
        try:
            caller = await self._tickets.redeem(
                request.ticket, request.run, f"{call.peer}\x1f{call.agent}", returning=known is not None
            )
        except TicketsAway:
            # Any other answer than 200 would make an EventSource give up for ever.
            yield _body(_come_back(5 * _SOON))
            return
        after = request.after_seq if known is None else known
        # From its first bytes on the browser has an id to come back with.
        yield _body(f": open\nretry: {_SOON}\nid: {after}\n\n")
        async with aclosing(self._frames(caller, request, after)) as frames:
            async for frame in frames:
                yield _body(frame)

    async def _frames(
        self, caller: Caller, request: chat_service_pb2.StreamRunSseRequest, after: int
    ) -> AsyncGenerator[str, None]:
        kept_at, told = time.monotonic(), False
        try:
            # Nothing comes for one that has the terminal: it is told again, so that the browser stops.
            for position in (after, max(0, after - 1)):
                async with aclosing(self._followed.follow(caller, request.run, position)) as items:
                    async for item in items:
                        told = True
                        yield _frame(request.run, item)
                        if time.monotonic() - kept_at > _KEEP:
                            kept_at = time.monotonic()
                            await self._tickets.keep(request.ticket, request.run)
                if told:
                    return
        except AppError as problem:
            yield _come_back(_SOON if problem.code is Code.UNAVAILABLE else _NEVER)


def _frame(run: str, item: Item) -> str:
    if isinstance(item, Heartbeat):
        return ": heartbeat\n\n"
    message = encode.event_message(run, 0, item)
    data = json_format.MessageToJson(message, indent=None, always_print_fields_with_no_presence=True)
    lines = [f"event: {message.WhichOneof('event')}", f"data: {data}"]
    if isinstance(item, Reconnect):
        lines.insert(0, f"retry: {round(item.delay * 1000)}")
    else:
        lines.insert(0, f"id: {item.seq}")
        if item.terminal:
            lines.insert(0, f"retry: {_NEVER}")
    return "\n".join(lines) + "\n\n"


def _come_back(delay: int) -> str:
    return f"retry: {delay}\nevent: reconnect\ndata: {{}}\n\n"


def _body(frame: str) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type="text/event-stream", data=frame.encode())


def _last_event_id(context: Context) -> int | None:
    """The newest event that the browser has; None when it has none, or says something else."""
    for name, value in context.invocation_metadata() or ():
        if name == "last-event-id" and isinstance(value, str) and value.isascii() and value.isdigit():
            return min(int(value[:18]), 2**53)
    return None


def _call() -> Request:
    request = current_request.get()
    if request is None:
        raise RuntimeError("no call: the interceptor chain is missing")
    return request
