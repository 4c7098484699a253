"""The same client for code without an event loop: it runs one in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack, cast

import grpc

from tria.accounting.v1.accounting_service_pb2_grpc import AccountingServiceStub
from tria.audit.v1.audit_service_pb2_grpc import AuditServiceStub
from tria.chat.v1.chat_event_pb2 import ChatEvent
from tria.chat.v1.chat_service_pb2 import ChatReply, OnBusy, OnDisconnect
from tria.chat.v1.chat_service_pb2_grpc import ChatServiceStub
from tria.knowledge.v1.knowledge_service_pb2_grpc import KnowledgeServiceStub
from tria.ops.v1.ops_service_pb2_grpc import OpsServiceStub
from tria.order.v1.order_service_pb2_grpc import OrderServiceStub
from tria_client.backoff import Backoff
from tria_client.calls import Token
from tria_client.client import TriaClient
from tria_client.following import SILENCE

_T = TypeVar("_T")
_END = object()


class SyncTriaClient:
    """`TriaClient` with blocking calls; the arguments are the same. Usable from several threads; close it at the end.

    The stubs' methods are called with a request (an iterable of them for ImportProducts) and `timeout`, and give the
    answer, or an iterator of answers. `with_call` and `future` are not there.
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
        self._loop = _LoopThread()

        async def connect() -> TriaClient:  # a channel belongs to the loop that makes it
            return TriaClient(target, token=token, api_key=api_key, tls=tls, backoff=backoff, silence=silence)

        try:
            self._client = self._loop.run(connect())
        except BaseException:  # also KeyboardInterrupt: no caller has an object to close, so its thread ends here
            self._loop.stop()
            raise
        self.conversations = cast("ChatServiceStub", _Blocking(self._loop, self._client.conversations))
        self.orders = cast("OrderServiceStub", _Blocking(self._loop, self._client.orders))
        self.accounting = cast("AccountingServiceStub", _Blocking(self._loop, self._client.accounting))
        self.audit = cast("AuditServiceStub", _Blocking(self._loop, self._client.audit))
        self.knowledge = cast("KnowledgeServiceStub", _Blocking(self._loop, self._client.knowledge))
        self.ops = cast("OpsServiceStub", _Blocking(self._loop, self._client.ops))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends every open call, the connection and the thread."""
        self._loop.run(self._client.close())
        self._loop.stop()

    def chat(self, message: str, **arguments: Unpack[ChatArguments]) -> ChatReply:
        """As `TriaClient.chat`."""
        return self._loop.run(self._client.chat(message, **arguments))

    def stream_chat(self, message: str, **arguments: Unpack[ChatArguments]) -> Iterator[ChatEvent]:
        """As `TriaClient.stream_chat`."""
        return self._loop.iterate(lambda: self._client.stream_chat(message, **arguments))

    def send(self, conversation: str, text: str, **arguments: Unpack[SendArguments]) -> Iterator[ChatEvent]:
        """As `TriaClient.send`."""
        return self._loop.iterate(lambda: self._client.send(conversation, text, **arguments))

    def resume(self, run: str, *, after_seq: int = 0, timeout: float | None = None) -> Iterator[ChatEvent]:
        """As `TriaClient.resume`."""
        return self._loop.iterate(lambda: self._client.resume(run, after_seq=after_seq, timeout=timeout))


class ChatArguments(TypedDict, total=False):
    """What `chat` and `stream_chat` take by name."""

    outlet_id: str
    user_id: str
    session_id: str
    locale: str
    client_message_id: str
    timeout: float | None


class SendArguments(TypedDict, total=False):
    """What `send` takes by name."""

    client_message_id: str
    locale: str
    on_busy: OnBusy.ValueType
    on_disconnect: OnDisconnect.ValueType
    timeout: float | None


class _LoopThread:
    """An event loop in a daemon thread: a program that forgets to close its client can still end."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tria-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Does `work` in the loop and waits for it. An interruption of the waiting thread cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # also KeyboardInterrupt: the work must not go on unseen; no effect when it failed itself
            future.cancel()
            raise

    def iterate(self, make: Callable[[], AsyncGenerator[_T, None]]) -> Iterator[_T]:
        """The values of the generator that `make` gives; closes it when the iterator is closed or let go."""
        generator = make()
        try:
            while (value := self.run(_next(generator))) is not _END:
                yield cast("_T", value)
        finally:
            if not self._loop.is_closed():  # closing the client ended the call
                self.run(generator.aclose())

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Blocking:
    """A stub whose methods block."""

    def __init__(self, loop: _LoopThread, stub: object) -> None:
        self._loop = loop
        self._stub = stub

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._stub, name)

        def call(request: Any, timeout: float | None = None) -> Any:
            async def answer() -> Any:
                return await method(request, timeout=timeout)

            async def answers() -> AsyncGenerator[Any, None]:
                calling = method(request, timeout=timeout)
                try:
                    async for one in calling:
                        yield one
                finally:
                    calling.cancel()

            if isinstance(method, grpc.aio.UnaryStreamMultiCallable):
                return self._loop.iterate(answers)
            return self._loop.run(answer())

        return call


async def _next(generator: AsyncGenerator[_T, None]) -> _T | object:
    return await anext(generator, _END)
