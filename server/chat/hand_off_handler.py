"""The RPCs of ChatService for people in conversations: decode, one call, encode."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from server.audit.actor import Shown
from server.audit.changes import Author
from server.caller import Role, current_caller, current_request
from server.chat import encode
from server.chat.control import Control
from server.chat.conversations import Conversation
from server.chat.feedback import Feedback, Judgement, Rating
from server.chat.messages import Message
from server.chat.watching import Watching
from server.idempotency import Idempotency, Once
from tria.chat.v1 import chat_pb2, chat_service_pb2

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@dataclass(frozen=True, slots=True)
class People:
    """The use cases of people in conversations."""

    control: Control
    watching: Watching
    feedback: Feedback


class HandOffHandler:
    """RequestHuman, TakeOver, SendStaffMessage, HandBack, WatchConversation and SubmitFeedback."""

    def __init__(self, people: People, shown: Shown) -> None:
        self._people = people
        self._author_shown = shown

    async def RequestHuman(
        self, request: chat_service_pb2.RequestHumanRequest, context: Context
    ) -> chat_pb2.Conversation:
        """The conversation, waiting."""
        body = f"{request.conversation}\n{request.note}".encode()
        key = Idempotency("RequestHuman", request.request_id, body, conversation_bytes)
        done = await self._people.control.request_human(self._by(), request.conversation, request.note, key)
        return chat_pb2.Conversation.FromString(_answered(context, done))

    async def TakeOver(self, request: chat_service_pb2.TakeOverRequest, context: Context) -> chat_pb2.Conversation:
        """The conversation, the caller's."""
        body = f"{request.conversation}\n{request.controller_epoch}".encode()
        key = Idempotency("TakeOver", request.request_id, body, conversation_bytes)
        epoch = request.controller_epoch
        done = await self._people.control.take_over(self._by(), request.conversation, epoch, key)
        return chat_pb2.Conversation.FromString(_answered(context, done))

    async def HandBack(self, request: chat_service_pb2.HandBackRequest, context: Context) -> chat_pb2.Conversation:
        """The conversation, the assistant's."""
        body = f"{request.conversation}\n{request.controller_epoch}".encode()
        key = Idempotency("HandBack", request.request_id, body, conversation_bytes)
        epoch = request.controller_epoch
        done = await self._people.control.hand_back(self._by(), request.conversation, epoch, key)
        return chat_pb2.Conversation.FromString(_answered(context, done))

    async def SendStaffMessage(
        self, request: chat_service_pb2.SendStaffMessageRequest, context: Context
    ) -> chat_pb2.Message:
        """The stored message."""
        body = f"{request.conversation}\n{request.controller_epoch}\n{request.text}".encode()
        key = Idempotency("SendStaffMessage", request.request_id, body, _message_bytes)
        done = await self._people.control.send(
            self._by(), request.conversation, request.text, request.controller_epoch, key
        )
        return chat_pb2.Message.FromString(_answered(context, done))

    async def WatchConversation(
        self, request: chat_service_pb2.WatchConversationRequest, _context: Context
    ) -> AsyncGenerator[chat_service_pb2.ConversationEvent, None]:
        """The events as they come."""
        watching = self._people.watching.watch(current_caller.get(), request.conversation, request.cursor)
        async with aclosing(watching) as items:
            async for item in items:
                yield encode.conversation_event(item)

    async def SubmitFeedback(
        self, request: chat_service_pb2.SubmitFeedbackRequest, _context: Context
    ) -> chat_service_pb2.SubmitFeedbackResponse:
        """Stored."""
        rating = Rating(chat_service_pb2.SubmitFeedbackRequest.Rating.Name(request.rating))
        await self._people.feedback.submit(self._by(), request.message, Judgement(rating, request.comment))
        return chat_service_pb2.SubmitFeedbackResponse()

    def _by(self) -> Author:
        return Author(current_caller.get(), current_request.get(), self._author_shown)


def conversation_bytes(conversation: Conversation) -> bytes:
    """The conversation as its caller may see it, encoded."""
    return encode.conversation_message(conversation, for_staff=sees_staff()).SerializeToString()


def sees_staff() -> bool:
    """Whether the caller is shown which member of staff speaks."""
    return not current_caller.get().has(Role.CUSTOMER)


def _message_bytes(message: Message) -> bytes:
    return encode.message_message(message).SerializeToString()


def _answered(context: Context, done: Once) -> bytes:
    if done.replayed:
        context.set_trailing_metadata((("x-idempotent-replay", "true"),))
    return done.answer
