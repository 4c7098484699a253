"""One call on its way through the chain, and what a layer is."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from interceptors.policy import Method
from server.caller import ANONYMOUS, Caller, Request
from server.errors import AppError, Code, Reason

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_NOT_READ = object()


class Call:
    """The state of one call, shared by the layers; made by wrap.py, thrown away when the call ends.

    `code` is final once the errors layer is left. `notes` go into the audit leaf's details; they hold nothing personal.
    `on_receive` and `on_send` see every message of either direction, unary ones too, before the handler or the client.
    """

    __slots__ = (
        "_decode",
        "_headers",
        "_message",
        "_raw",
        "caller",
        "cause",
        "code",
        "context",
        "metadata",
        "method",
        "notes",
        "on_receive",
        "on_send",
        "reason",
        "received",
        "request",
        "response",
        "sent",
        "trailers",
        "view",
    )

    def __init__(self, method: Method, context: Context, raw: bytes | None, decode: Callable[[bytes], Any]) -> None:
        self.method = method
        self.context = context
        self.metadata: Metadata = context.invocation_metadata() or ()  # type: ignore[assignment]
        self.request: Request | None = None
        self.caller: Caller = ANONYMOUS
        self.code = grpc.StatusCode.OK
        self.reason = ""
        self.cause: BaseException | None = None
        self.notes: dict[str, str | int] = {}
        self.trailers: list[tuple[str, str | bytes]] = []
        self.on_receive: list[Callable[[Any], None]] = []
        self.on_send: list[Callable[[Any], None]] = []
        self.received = 0
        self.sent = 0
        self.response: Any = None
        self.view: Callable[[], dict[str, object]] | None = None
        self._raw = raw
        self._decode = decode
        self._message: Any = _NOT_READ
        self._headers: dict[str, str] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Text metadata by name; of a repeated name the first value. What counts duplicates reads `metadata`."""
        if self._headers is None:
            self._headers = {}
            for name, value in self.metadata:
                if isinstance(value, str):
                    self._headers.setdefault(name, value)
        return self._headers

    @property
    def decoded(self) -> bool:
        """Whether the request was parsed, valid or not."""
        return self._message is not _NOT_READ

    def message(self) -> Any:
        """The request of a call that carries one, decoded on first use.

        Raises AppError INVALID_ARGUMENT (MALFORMED_MESSAGE) when the bytes are not such a message. Decoding waits until
        the caller is known and within its limits: what strangers send is not even parsed.
        """
        if self._message is _NOT_READ:
            if self._raw is None:
                raise TypeError(f"{self.method.path} has a stream of requests")
            self._message = self._parsed(self._raw)
            self._raw = None
            self._observe(self._message)
        return self._message

    def decode(self, raw: bytes) -> Any:
        """One message of a stream from its bytes; counts it and shows it to `on_receive`."""
        message = self._parsed(raw)
        self._observe(message)
        return message

    def _parsed(self, raw: bytes) -> Any:
        try:
            return self._decode(raw)
        except (DecodeError, ValueError, RecursionError) as cause:
            # The text of these names Python classes and byte offsets, which are nobody's business.
            raise AppError(
                Code.INVALID_ARGUMENT,
                Reason.MALFORMED_MESSAGE,
                "the bytes are not a valid message of this method's request type",
            ) from cause

    def _observe(self, message: Any) -> None:
        self.received += 1
        for hook in self.on_receive:
            hook(message)


Proceed: TypeAlias = Callable[[Call], Coroutine[Any, Any, Any]]
"""The rest of the chain: returns the response of a unary answer, None when the answer is a stream."""


class Redactor(Protocol):
    """`server.pii.messages.redacted`: a message as logs, audit and Sentry may see it, personal fields replaced."""

    def __call__(self, message: Message, *, tenant: str) -> dict[str, object]: ...


class Layer(Protocol):
    """One concern around every call. `around` runs once per method; what it returns runs once per call."""

    name: str

    def around(self, method: Method, proceed: Proceed) -> Proceed:
        """`proceed` with this layer around it, or `proceed` itself where the layer has nothing to do."""
        ...
