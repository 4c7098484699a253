"""Calls of people in conversations, against a running desk: every caller is somebody of a test's own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from server.caller import Role
from server.embedded import demo
from tests.support.app import OUTLET, Desk
from tria.chat.v1 import chat_event_pb2, chat_pb2
from tria.chat.v1 import chat_service_pb2 as rpc

PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Somebody:
    """A customer of the outlet, or a member of staff."""

    desk: Desk
    role: Role = Role.CUSTOMER
    tenant: str = demo.TENANT
    outlet: str = OUTLET
    subject: str = field(default_factory=lambda: f"somebody-{uuid.uuid4().hex[:8]}")

    @property
    def who(self) -> Any:
        return self.desk.metadata(self.role, tenant=self.tenant, outlet=self.outlet, subject=self.subject)

    async def begin(self) -> str:
        """The name of a new conversation of the outlet."""
        outlet = "" if self.role is Role.CUSTOMER else f"outlets/{self.outlet}"
        request = rpc.CreateConversationRequest(conversation=chat_pb2.Conversation(outlet=outlet))
        return str((await self.desk.chat.CreateConversation(request, metadata=self.who)).name)

    async def say(self, conversation: str, text: str, id: str = "") -> list[chat_event_pb2.ChatEvent]:
        request = rpc.SendMessageRequest(conversation=conversation, text=text, client_message_id=id)
        return [event async for event in self.desk.chat.SendMessage(request, metadata=self.who)]

    async def get(self, conversation: str) -> chat_pb2.Conversation:
        return await self.desk.chat.GetConversation(rpc.GetConversationRequest(name=conversation), metadata=self.who)

    async def messages(self, conversation: str) -> list[chat_pb2.Message]:
        request = rpc.ListMessagesRequest(parent=conversation, page_size=500)
        return list((await self.desk.chat.ListMessages(request, metadata=self.who)).messages)

    def ask(self, conversation: str, note: str = "", key: str = "") -> Any:
        request = rpc.RequestHumanRequest(conversation=conversation, note=note, request_id=key or new_key())
        return self.desk.chat.RequestHuman(request, metadata=self.who)

    def take(self, conversation: str, epoch: int, key: str = "") -> Any:
        request = rpc.TakeOverRequest(conversation=conversation, controller_epoch=epoch, request_id=key or new_key())
        return self.desk.chat.TakeOver(request, metadata=self.who)

    def write(self, conversation: str, epoch: int, text: str, key: str = "") -> Any:
        request = rpc.SendStaffMessageRequest(
            conversation=conversation, controller_epoch=epoch, text=text, request_id=key or new_key()
        )
        return self.desk.chat.SendStaffMessage(request, metadata=self.who)

    def give_back(self, conversation: str, epoch: int) -> Any:
        request = rpc.HandBackRequest(conversation=conversation, controller_epoch=epoch, request_id=new_key())
        return self.desk.chat.HandBack(request, metadata=self.who)

    def judge(self, message: str, rating: int, comment: str = "") -> Any:
        request = rpc.SubmitFeedbackRequest(message=message, rating=rating, comment=comment)  # type: ignore[arg-type]
        return self.desk.chat.SubmitFeedback(request, metadata=self.who)

    @asynccontextmanager
    async def watching(self, conversation: str, cursor: str = "") -> AsyncIterator[Any]:
        """A watch whose first event, the sign of life, has come."""
        request = rpc.WatchConversationRequest(conversation=conversation, cursor=cursor)
        call: Any = self.desk.chat.WatchConversation(request, metadata=self.who)
        first = await asyncio.wait_for(call.read(), PATIENCE)
        assert first.WhichOneof("event") == "heartbeat"
        assert first.cursor
        yield call
        call.cancel()


def new_key() -> str:
    """A request_id."""
    return str(uuid.uuid4())


async def following(call: Any, count: int) -> list[rpc.ConversationEvent]:
    """The next things that happened; signs of life are left out."""
    events: list[rpc.ConversationEvent] = []
    while len(events) < count:
        event = await asyncio.wait_for(call.read(), PATIENCE)
        assert event is not grpc.aio.EOF
        if not event.HasField("heartbeat"):
            events.append(event)
    return events


def told(event: rpc.ConversationEvent) -> str:
    """An event in a few words: who wrote what, who speaks now, and so on."""
    match event.WhichOneof("event"):
        case "message":
            return f"{chat_pb2.Message.Author.Name(event.message.author)}: {event.message.text}"
        case "controller_changed":
            changed = event.controller_changed
            return f"{chat_pb2.Controller.Name(changed.to)} {changed.controller_epoch} {changed.reason}"
        case "order_changed":
            return f"order {event.order_changed.state}"
        case other:
            return str(other)
