"""A small real gRPC server that serves one run's log and misbehaves as told, for the tests of the Python client."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from tria.chat.v1 import chat_event_pb2, chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from tria.order.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
RUN = "conversations/c1/runs/r1"


class Cut(StrEnum):
    """How a connection ends before its run does."""

    END = "END"  # the stream ends OK without a terminal
    UNAVAILABLE = "UNAVAILABLE"
    RESET = "RESET"  # what a proxy makes of a broken upstream
    RECONNECT = "RECONNECT"
    GAP = "GAP"  # one event is left out, then the stream goes on
    HANG = "HANG"  # nothing comes any more, not even a heartbeat


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection: it sends `sent` new events, then is cut. It begins `back` events before what was asked for."""

    sent: int
    cut: Cut
    back: int = 0
    heartbeats: bool = False


def log_of(texts: Sequence[str], terminal: str = "completed") -> list[chat_event_pb2.ChatEvent]:
    """A run's whole log: accepted, a delta for each text, the hash, the terminal."""
    log = [chat_event_pb2.ChatEvent(run_accepted=chat_event_pb2.RunAccepted(conversation="conversations/c1"))]
    log += [chat_event_pb2.ChatEvent(text_delta=chat_event_pb2.TextDelta(text=text)) for text in texts]
    digest = hashlib.sha256("".join(texts).encode()).hexdigest()
    log.append(chat_event_pb2.ChatEvent(text_done=chat_event_pb2.TextDone(sha256=digest)))
    end = chat_event_pb2.ChatEvent()
    getattr(end, terminal).SetInParent()
    log.append(end)
    for seq, event in enumerate(log, start=1):
        event.run, event.seq = RUN, seq
    return log


@dataclass
class Call:
    """One call as the server saw it. `time_left` is its deadline in seconds, None without one."""

    method: str
    request: Message | None
    metadata: Mapping[str, str]
    time_left: float | None


@dataclass
class Script:
    """What the server does next, and what it was asked."""

    log: list[chat_event_pb2.ChatEvent] = field(default_factory=list)
    connections: deque[Connection] = field(default_factory=deque)
    refusals: deque[status_pb2.Status] = field(default_factory=deque)  # each ends one call before its first answer
    calls: list[Call] = field(default_factory=list)
    reconnect_delay: float = 0.0

    def reset(self, texts: Sequence[str] = ("Hel", "lo"), terminal: str = "completed") -> None:
        self.log = log_of(texts, terminal)
        self.connections.clear()
        self.refusals.clear()
        self.calls.clear()
        self.reconnect_delay = 0.0

    def named(self, method: str) -> list[Call]:
        return [call for call in self.calls if call.method == method]

    async def begin(self, method: str, request: Message | None, context: Context) -> None:
        """Records the call and refuses it when a refusal is due."""
        metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
        self.calls.append(Call(method, request, metadata, context.time_remaining()))
        if self.refusals:
            await context.abort_with_status(rpc_status.to_status(self.refusals.popleft()))

    async def events(self, after_seq: int, context: Context) -> AsyncGenerator[chat_event_pb2.ChatEvent, None]:
        if not self.connections:
            for event in self.log[after_seq:]:
                yield event
            return
        plan = self.connections.popleft()
        if plan.heartbeats:
            yield chat_event_pb2.ChatEvent(run=RUN, heartbeat=chat_event_pb2.Heartbeat())
        stop = after_seq + plan.sent
        for event in self.log[max(0, after_seq - plan.back) : stop]:
            yield event
        if stop < len(self.log):
            async for event in self._cut(plan.cut, stop, context):
                yield event

    async def _cut(
        self, cut: Cut, position: int, context: Context
    ) -> AsyncGenerator[chat_event_pb2.ChatEvent, None]:  # fmt: skip
        match cut:
            case Cut.UNAVAILABLE:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")
            case Cut.RESET:
                await context.abort(grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2")
            case Cut.HANG:
                await asyncio.Event().wait()
            case Cut.GAP:
                for event in self.log[position + 1 :]:
                    yield event
            case Cut.RECONNECT:
                reconnect = chat_event_pb2.Reconnect(resume_after_seq=position)
                reconnect.delay.FromMilliseconds(int(self.reconnect_delay * 1000))
                yield chat_event_pb2.ChatEvent(run=RUN, reconnect=reconnect)
            case Cut.END:
                return


class _Chat(chat_service_pb2_grpc.ChatServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def SendMessage(
        self, request: chat_service_pb2.SendMessageRequest, context: Context
    ) -> AsyncGenerator[chat_event_pb2.ChatEvent, None]:
        await self._script.begin("SendMessage", request, context)
        async for event in self._script.events(0, context):
            yield event

    async def StreamChat(
        self, request: chat_service_pb2.StreamChatRequest, context: Context
    ) -> AsyncGenerator[chat_event_pb2.ChatEvent, None]:
        await self._script.begin("StreamChat", request, context)
        async for event in self._script.events(0, context):
            yield event

    async def ResumeRun(
        self, request: chat_service_pb2.ResumeRunRequest, context: Context
    ) -> AsyncGenerator[chat_event_pb2.ChatEvent, None]:
        await self._script.begin("ResumeRun", request, context)
        async for event in self._script.events(request.after_seq, context):
            yield event

    async def Chat(self, request: chat_service_pb2.ChatRequest, context: Context) -> chat_service_pb2.ChatReply:
        await self._script.begin("Chat", request, context)
        return chat_service_pb2.ChatReply(text=f"You said {request.message}", run=RUN)

    async def CreateConversation(
        self, request: chat_service_pb2.CreateConversationRequest, context: Context
    ) -> chat_pb2.Conversation:
        await self._script.begin("CreateConversation", request, context)
        context.set_trailing_metadata((("x-idempotent-replay", "true"),))
        return chat_pb2.Conversation(name="conversations/c1")

    async def GetConversation(
        self, request: chat_service_pb2.GetConversationRequest, context: Context
    ) -> chat_pb2.Conversation:
        await self._script.begin("GetConversation", request, context)
        return chat_pb2.Conversation(name=request.name)

    async def CancelRun(self, request: chat_service_pb2.CancelRunRequest, context: Context) -> chat_pb2.Run:
        await self._script.begin("CancelRun", request, context)
        return chat_pb2.Run(name=request.name)


class _Orders(order_service_pb2_grpc.OrderServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def GetOrder(self, request: order_service_pb2.GetOrderRequest, context: Context) -> order_pb2.Order:
        await self._script.begin("GetOrder", request, context)
        return order_pb2.Order(name=request.name)

    async def ImportProducts(
        self, request_iterator: AsyncIterator[order_service_pb2.ImportProductsRequest], context: Context
    ) -> order_service_pb2.ImportProductsResponse:
        await self._script.begin("ImportProducts", None, context)
        count = 0
        async for _ in request_iterator:
            count += 1
        return order_service_pb2.ImportProductsResponse(created=count)

    async def WatchOrders(
        self, request: order_service_pb2.WatchOrdersRequest, context: Context
    ) -> AsyncGenerator[order_service_pb2.OrderEvent, None]:
        await self._script.begin("WatchOrders", request, context)
        for number in range(3):
            yield order_service_pb2.OrderEvent(cursor=str(number))


@asynccontextmanager
async def scripted_server(script: Script) -> AsyncGenerator[str, None]:
    """A server that follows the script, on a free port of 127.0.0.1; gives its `host:port`."""
    server = grpc.aio.server()
    chat_service_pb2_grpc.add_ChatServiceServicer_to_server(_Chat(script), server)  # type: ignore[abstract]  # the rest: UNIMPLEMENTED
    order_service_pb2_grpc.add_OrderServiceServicer_to_server(_Orders(script), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(grace=None)
