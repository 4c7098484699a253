"""One Sentry scope per call, and one event per unknown exception: never for a refusal, an abort or a cancellation.

The SDK's own gRPC integration breaks read()/write() handlers and leaves streams without a scope, so it stays off.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from interceptors.call import Call, Metadata, Proceed
from interceptors.policy import Method

ScopeFactory = Callable[[str, Metadata], AbstractContextManager[Any]]


class Capture(Protocol):
    """`server.sentry.capture`."""

    def __call__(self, exc: BaseException, /, *, reason: str) -> None: ...


class Sentry:
    """The layer. `scope` isolates what is known about one call; `capture` reports; both None when Sentry is off."""

    name = "sentry"

    def __init__(self, scope: ScopeFactory | None, capture: Capture | None) -> None:
        self._scope = scope
        self._capture = capture

    def around(self, method: Method, proceed: Proceed) -> Proceed:
        scope, capture = self._scope, self._capture
        if scope is None or capture is None:
            return proceed

        async def run(call: Call) -> Any:
            with scope(method.path, call.metadata):
                try:
                    return await proceed(call)
                finally:
                    # `cause` is set by the errors layer for what it did not know, and only then.
                    if call.cause is not None:
                        capture(call.cause, reason=call.reason)

        return run
