"""ChatService on the wire: decode, one call, encode."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc

from server.audit.actor import Shown
from server.caller import Caller, Request, current_caller, current_request
from server.chat import encode
from server.chat.decode import gather
from server.chat.events import Controller
from server.chat.following import Following
from server.chat.hand_off_handler import HandOffHandler, People, conversation_bytes, sees_staff
from server.chat.proposal_handler import ProposalHandler
from server.chat.sending import Accepted, Incoming, OnBusy, Sending
from server.chat.service import ConversationService
from server.chat.sse_handler import SseHandler
from server.chat.tickets import Tickets
from server.idempotency import Idempotency
from server.order.proposals import Proposals
from server.replays import tell_replayed
from tria.chat.v1 import chat_event_pb2, chat_pb2, chat_service_pb2, chat_service_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
ChatEvents = AsyncGenerator[chat_event_pb2.ChatEvent, None]
log = logging.getLogger(__name__)

_LAST = {"completed", "cancelled", "interrupted", "failed", "reconnect"}
ChatBody = chat_service_pb2.ChatRequest | chat_service_pb2.StreamChatRequest


class ChatHandler(HandOffHandler, ProposalHandler, SseHandler, chat_service_pb2_grpc.ChatServiceServicer):
    """The RPCs of ChatService that this server serves; the others answer NOT_IMPLEMENTED (interceptors/unserved.py)."""

    def __init__(
        self,
        service: ConversationService,
        sending: Sending,
        following: Following,
        proposals: Proposals,
        people: People,
        tickets: Tickets,
        shown: Shown,
    ) -> None:
        HandOffHandler.__init__(self, people, shown)
        ProposalHandler.__init__(self, proposals, shown)
        SseHandler.__init__(self, service, following, tickets)
        self._service = service
        self._sending = sending
        self._following = following
        self._stopping: set[asyncio.Task[None]] = set()

    async def CreateConversation(
        self, request: chat_service_pb2.CreateConversationRequest, context: Context
    ) -> chat_pb2.Conversation:
        asked = request.conversation
        body = asked.SerializeToString(deterministic=True)
        made = await self._service.create(
            current_caller.get(),
            call(),
            asked.outlet,
            asked.title,
            asked.locale,
            Idempotency("CreateConversation", request.request_id, body, conversation_bytes),
        )
        if made.replayed:
            await tell_replayed(context)
        return chat_pb2.Conversation.FromString(made.answer)

    async def GetConversation(
        self, request: chat_service_pb2.GetConversationRequest, context: Context
    ) -> chat_pb2.Conversation:
        found = await self._service.get(current_caller.get(), request.name)
        return encode.conversation_message(found, for_staff=sees_staff())

    async def ListConversations(
        self, request: chat_service_pb2.ListConversationsRequest, context: Context
    ) -> chat_service_pb2.ListConversationsResponse:
        speaks = Controller(chat_pb2.Controller.Name(request.controller)) if request.controller else None
        page = await self._service.list(
            current_caller.get(), request.outlet, request.page_size, request.page_token, speaks
        )
        for_staff = sees_staff()
        return chat_service_pb2.ListConversationsResponse(
            conversations=[encode.conversation_message(each, for_staff=for_staff) for each in page.conversations],
            next_page_token=page.next_page_token,
        )

    async def ListMessages(
        self, request: chat_service_pb2.ListMessagesRequest, context: Context
    ) -> chat_service_pb2.ListMessagesResponse:
        page = await self._service.messages(current_caller.get(), request.parent, request.page_size, request.page_token)
        return chat_service_pb2.ListMessagesResponse(
            messages=[encode.message_message(message) for message in page.messages],
            next_page_token=page.next_page_token,
        )

    async def SendMessage(self, request: chat_service_pb2.SendMessageRequest, context: Context) -> ChatEvents:
        caller = current_caller.get()
        on_busy = OnBusy(chat_service_pb2.OnBusy.Name(request.on_busy or chat_service_pb2.ENQUEUE))
        incoming = Incoming(request.text, request.client_message_id, request.locale, on_busy)
        accepted = await self._sending.send(caller, call(), request.conversation, incoming)
        follow = self._until_hung_up if request.on_disconnect == chat_service_pb2.CANCEL else self._from_the_start
        async with aclosing(follow(caller, accepted.run.name)) as events:
            async for event in events:
                yield event

    async def StreamChat(self, request: chat_service_pb2.StreamChatRequest, context: Context) -> ChatEvents:
        caller = current_caller.get()
        accepted = await self._send_in_session(caller, request)
        async with aclosing(self._from_the_start(caller, accepted.run.name)) as events:
            async for event in events:
                yield event

    async def Chat(self, request: chat_service_pb2.ChatRequest, context: Context) -> chat_service_pb2.ChatReply:
        caller = current_caller.get()
        accepted = await self._send_in_session(caller, request)
        reply = chat_service_pb2.ChatReply(conversation=accepted.conversation.name, run=accepted.run.name)
        async with aclosing(self._events(caller, accepted.run.name, 0, to_the_end=True)) as events:
            async for event in events:
                gather(reply, event)
        return reply

    async def ResumeRun(self, request: chat_service_pb2.ResumeRunRequest, context: Context) -> ChatEvents:
        async with aclosing(self._events(current_caller.get(), request.run, request.after_seq)) as events:
            async for event in events:
                yield event

    async def CancelRun(self, request: chat_service_pb2.CancelRunRequest, context: Context) -> chat_pb2.Run:
        return encode.run_message(await self._service.cancel_run(current_caller.get(), call(), request.name))

    async def GetRun(self, request: chat_service_pb2.GetRunRequest, context: Context) -> chat_pb2.Run:
        return encode.run_message(await self._following.get(current_caller.get(), request.name))

    async def _send_in_session(self, caller: Caller, request: ChatBody) -> Accepted:
        incoming = Incoming(request.message, request.client_message_id, request.locale)
        return await self._sending.send_in_session(caller, call(), request.outlet_id, request.session_id, incoming)

    async def _events(self, caller: Caller, run: str, after_seq: int, *, to_the_end: bool = False) -> ChatEvents:
        epoch = 0
        async with aclosing(self._following.follow(caller, run, after_seq, to_the_end=to_the_end)) as items:
            async for item in items:
                event = encode.event_message(run, epoch, item)
                epoch = event.epoch
                yield event

    def _from_the_start(self, caller: Caller, run: str) -> ChatEvents:
        return self._events(caller, run, 0)

    async def _until_hung_up(self, caller: Caller, run: str) -> ChatEvents:
        """The run's events; stops the run when the call ends early."""
        ended = False
        try:
            async with aclosing(self._events(caller, run, 0)) as events:
                async for event in events:
                    # A server that sends its follower elsewhere has not lost the person who waits.
                    ended = event.WhichOneof("event") in _LAST
                    yield event
        finally:
            if not ended:
                self._stopping.add(task := asyncio.create_task(self._service.stop_unwatched(caller, run)))
                task.add_done_callback(self._stopped)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        self._stopping.discard(task)
        if not task.cancelled() and (problem := task.exception()):
            log.warning("run of a lost caller not stopped", exc_info=problem)


def call() -> Request:
    """The call that is being served."""
    request = current_request.get()
    if request is None:
        raise RuntimeError("no call: the interceptor chain is missing")
    return request
