"""ChatService on the wire: decode, one call, encode."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc

from server.audit.actor import Shown
from server.caller import Caller, Request, current_caller, current_request
from server.chat import encode
from server.chat.assistant import Cited, Proposed
from server.chat.conversations import Conversation
from server.chat.events import TERMINALS, Cancelled, Completed, Event, Failed, Interrupted, LogEntry, Reconnect
from server.chat.following import Following
from server.chat.proposal_handler import ProposalHandler
from server.chat.runner import Runner
from server.chat.sending import Accepted, Incoming, OnBusy, Sending
from server.chat.service import ConversationService
from server.errors import AppError, Code, Reason
from server.idempotency import Idempotency
from server.order.proposals import Proposals
from server.replays import tell_replayed
from tria.chat.v1 import chat_event_pb2, chat_pb2, chat_service_pb2, chat_service_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
ChatEvents = AsyncGenerator[chat_event_pb2.ChatEvent, None]
ChatBody = chat_service_pb2.ChatRequest | chat_service_pb2.StreamChatRequest


class ChatHandler(ProposalHandler, chat_service_pb2_grpc.ChatServiceServicer):
    """The RPCs of ChatService that this server serves; the others answer NOT_IMPLEMENTED (interceptors/unserved.py)."""

    def __init__(
        self,
        service: ConversationService,
        sending: Sending,
        following: Following,
        runner: Runner,
        proposals: Proposals,
        shown: Shown,
    ) -> None:
        super().__init__(proposals, shown)
        self._service = service
        self._sending = sending
        self._following = following
        self._runner = runner

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
            Idempotency("CreateConversation", request.request_id, body, _conversation_bytes),
        )
        if made.replayed:
            await tell_replayed(context)
        return chat_pb2.Conversation.FromString(made.answer)

    async def GetConversation(
        self, request: chat_service_pb2.GetConversationRequest, context: Context
    ) -> chat_pb2.Conversation:
        return encode.conversation_message(await self._service.get(current_caller.get(), request.name))

    async def ListConversations(
        self, request: chat_service_pb2.ListConversationsRequest, context: Context
    ) -> chat_service_pb2.ListConversationsResponse:
        page = await self._service.list(current_caller.get(), request.outlet, request.page_size, request.page_token)
        return chat_service_pb2.ListConversationsResponse(
            conversations=[encode.conversation_message(conversation) for conversation in page.conversations],
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
        stop_with_call = request.on_disconnect == chat_service_pb2.CANCEL
        async with aclosing(self._events(caller, accepted, stop_with_call=stop_with_call)) as events:
            async for event in events:
                yield event

    async def StreamChat(self, request: chat_service_pb2.StreamChatRequest, context: Context) -> ChatEvents:
        caller = current_caller.get()
        accepted = await self._send_in_session(caller, request)
        async with aclosing(self._events(caller, accepted, stop_with_call=False)) as events:
            async for event in events:
                yield event

    async def Chat(self, request: chat_service_pb2.ChatRequest, context: Context) -> chat_service_pb2.ChatReply:
        caller = current_caller.get()
        accepted = await self._send_in_session(caller, request)
        reply = chat_service_pb2.ChatReply(conversation=accepted.conversation.name, run=accepted.run.name)
        async with aclosing(self._following.follow(caller, accepted.run.name, 0, to_the_end=True)) as items:
            async for item in items:
                if isinstance(item, LogEntry):
                    _gather(reply, item.event)
        return reply

    async def ResumeRun(self, request: chat_service_pb2.ResumeRunRequest, context: Context) -> ChatEvents:
        caller = current_caller.get()
        async with aclosing(self._following.follow(caller, request.run, request.after_seq)) as items:
            async for item in items:
                yield encode.event_message(request.run, 1, item)

    async def CancelRun(self, request: chat_service_pb2.CancelRunRequest, context: Context) -> chat_pb2.Run:
        return encode.run_message(await self._service.cancel_run(current_caller.get(), call(), request.name))

    async def GetRun(self, request: chat_service_pb2.GetRunRequest, context: Context) -> chat_pb2.Run:
        return encode.run_message(await self._following.get(current_caller.get(), request.name))

    async def _send_in_session(self, caller: Caller, request: ChatBody) -> Accepted:
        incoming = Incoming(request.message, request.client_message_id, request.locale)
        return await self._sending.send_in_session(caller, call(), request.outlet_id, request.session_id, incoming)

    async def _events(self, caller: Caller, accepted: Accepted, *, stop_with_call: bool) -> ChatEvents:
        """The run's events; stops the run when the call ends early and the caller asked for that."""
        run, ended = accepted.run, False
        try:
            async with aclosing(self._following.follow(caller, run.name, 0)) as items:
                async for item in items:
                    # A server that sends its follower elsewhere has not lost the person who waits.
                    ended = isinstance(item, Reconnect) or (
                        isinstance(item, LogEntry) and isinstance(item.event, TERMINALS)
                    )
                    yield encode.event_message(run.name, run.epoch, item)
        finally:
            if stop_with_call and not ended:
                self._runner.cancel(caller.tenant, run.name)


def call() -> Request:
    """The call that is being served."""
    request = current_request.get()
    if request is None:
        raise RuntimeError("no call: the interceptor chain is missing")
    return request


def _conversation_bytes(conversation: Conversation) -> bytes:
    return encode.conversation_message(conversation).SerializeToString()


def _gather(reply: chat_service_pb2.ChatReply, event: Event) -> None:
    """Puts what a unary caller gets to see of an event into the reply."""
    match event:
        case Cited():
            reply.citations.add().CopyFrom(encode.cited_message(event))
        case Proposed(proposal):
            reply.proposal.CopyFrom(encode.proposal_message(proposal))
        case Completed(kind, text, intent, confidence, _):
            reply.text, reply.confidence = text, confidence
            reply.answer_kind = chat_pb2.AnswerKind.Value(kind)
            reply.intent = chat_pb2.Intent.Value(intent)
        case Failed(error):
            raise error
        case Interrupted():
            raise AppError(
                Code.UNAVAILABLE, Reason.RUN_OWNER_LOST, "the answer was interrupted; send the message again"
            )
        case Cancelled():
            raise AppError(Code.CANCELLED, Reason.CANCELLED, "the run was cancelled")
        case _:
            pass
