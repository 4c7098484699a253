"""The asynchronous client of TRIA."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import Self

import grpc

from tria.accounting.v1.accounting_service_pb2_grpc import AccountingServiceStub
from tria.audit.v1.audit_service_pb2_grpc import AuditServiceStub
from tria.chat.v1 import chat_service_pb2
from tria.chat.v1.chat_event_pb2 import ChatEvent
from tria.chat.v1.chat_service_pb2_grpc import ChatServiceStub
from tria.knowledge.v1.knowledge_service_pb2_grpc import KnowledgeServiceStub
from tria.ops.v1.ops_service_pb2_grpc import OpsServiceStub
from tria.order.v1.order_service_pb2_grpc import OrderServiceStub
from tria_client.backoff import Backoff
from tria_client.calls import ClientStreams, Preparation, ServerStreams, Token, UnaryCalls, with_ids
from tria_client.channel import open_channel
from tria_client.following import SILENCE, Following, Progress, Start
from tria_client.policy import methods


class TriaClient:
    """A connection to TRIA, to be used in the event loop that made it.

    `target` is `host:port`. `token` (a JWT, or a function that gives the current one) or `api_key` says who calls.
    `tls` is True for the system's roots, credentials for own roots or a client certificate, False for none. `silence`
    is how many seconds without even a heartbeat make a stream a cut one.

    The six stubs (`conversations`, `orders`, `accounting`, `audit`, `knowledge`, `ops`) take the contract's messages;
    their calls carry the credentials and the contract's deadlines, writes get a request_id, and what fails raises
    TriaError.
    """

    def __init__(
        self,
        target: str,
        *,
        token: Token | None = None,
        api_key: str | None = None,
        tls: bool | grpc.ChannelCredentials = True,
        backoff: Backoff = Backoff(),  # noqa: B008  # frozen
        silence: float = SILENCE,
    ) -> None:
        if token is not None and api_key is not None:
            raise ValueError("give token or api_key: the server refuses two credentials")
        preparation = Preparation(methods(), token, api_key)
        interceptors = (UnaryCalls(preparation, backoff), ServerStreams(preparation), ClientStreams(preparation))
        self._channel = open_channel(target, tls, interceptors)
        self._backoff = backoff
        self._silence = silence
        self.conversations = ChatServiceStub(self._channel)
        self.orders = OrderServiceStub(self._channel)
        self.accounting = AccountingServiceStub(self._channel)
        self.audit = AuditServiceStub(self._channel)
        self.knowledge = KnowledgeServiceStub(self._channel)
        self.ops = OpsServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends every open call and the connection."""
        await self._channel.close()

    async def chat(
        self,
        message: str,
        *,
        outlet_id: str = "",
        user_id: str = "",
        session_id: str = "",
        locale: str = "",
        client_message_id: str = "",
        timeout: float | None = None,
    ) -> chat_service_pb2.ChatReply:
        """Sends a message and waits for the whole answer, 60 s unless `timeout` says otherwise. Raises TriaError."""
        request = chat_service_pb2.ChatRequest(
            message=message,
            outlet_id=outlet_id,
            user_id=user_id,
            session_id=session_id,
            locale=locale,
            client_message_id=client_message_id,
        )
        return await self.conversations.Chat(request, timeout=timeout)

    def stream_chat(
        self,
        message: str,
        *,
        outlet_id: str = "",
        user_id: str = "",
        session_id: str = "",
        locale: str = "",
        client_message_id: str = "",
        timeout: float | None = None,
    ) -> AsyncGenerator[ChatEvent, None]:
        """Like `chat`, as the events of the run; see `send`."""
        request = with_ids(
            chat_service_pb2.StreamChatRequest(
                message=message,
                outlet_id=outlet_id,
                user_id=user_id,
                session_id=session_id,
                locale=locale,
                client_message_id=client_message_id,
            )
        )
        return self._follow(Progress(), timeout, lambda left: self.conversations.StreamChat(request, timeout=left))

    def send(
        self,
        conversation: str,
        text: str,
        *,
        client_message_id: str = "",
        locale: str = "",
        on_busy: chat_service_pb2.OnBusy.ValueType = chat_service_pb2.ENQUEUE,
        on_disconnect: chat_service_pb2.OnDisconnect.ValueType = chat_service_pb2.CONTINUE,
        timeout: float | None = None,
    ) -> AsyncGenerator[ChatEvent, None]:
        """Sends a message and gives the events of its run, each once and in order, up to the one terminal event.

        A cut stream, a silent one and a server that asks to come back are resumed unseen. `failed` and `interrupted`
        are events; TriaError is raised when the message was refused, when `timeout` (seconds, for everything) passes,
        when the server stays away for `backoff.attempts` attempts in a row, or when the text does not fit its hash
        (DATA_LOSS). Keep `client_message_id` on disk before sending to make a repeat after a crash the same message.
        """
        request = with_ids(
            chat_service_pb2.SendMessageRequest(
                conversation=conversation,
                text=text,
                client_message_id=client_message_id,
                locale=locale,
                on_busy=on_busy,
                on_disconnect=on_disconnect,
            )
        )
        return self._follow(Progress(), timeout, lambda left: self.conversations.SendMessage(request, timeout=left))

    def resume(self, run: str, *, after_seq: int = 0, timeout: float | None = None) -> AsyncGenerator[ChatEvent, None]:
        """The events of a run after `after_seq`, as `send` gives them; a `snapshot` replaces the text so far."""
        return self._follow(Progress(run, after_seq, checked=after_seq == 0), timeout, None)

    async def _follow(
        self, progress: Progress, timeout: float | None, start: Start | None
    ) -> AsyncGenerator[ChatEvent, None]:
        ends = None if timeout is None else asyncio.get_running_loop().time() + timeout
        following = Following(
            resume=lambda request, left: self.conversations.ResumeRun(request, timeout=left),
            backoff=self._backoff,
            progress=progress,
            start=start,
            ends=ends,
            silence=self._silence,
        )
        async with aclosing(following.events()) as events:
            async for event in events:
                yield event
