"""How much of the server one caller may have, and how much work the process takes on at once.

Inside auth, because limits are per caller; a PUBLIC method's caller is its address. Everything refused here has not
started: it is safe to try again after `retry_delay`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from interceptors.buckets import Buckets
from interceptors.call import Call, Proceed
from interceptors.policy import Method, Permission
from server.audit.actions import Action
from server.errors import AppError, Code, Reason

_RETRY_BUSY = 0.25  # seconds
_RETRY_STREAM = 5.0


@dataclass(frozen=True, slots=True)
class Caps:
    """Calls in flight in this process, and streams that one caller may hold open in it."""

    unary: int = 512
    streams: int = 8000
    streams_per_caller: int = 32


class Limits:
    """The layer. Health checks are exempt: a busy server is not a dead one."""

    name = "limits"

    def __init__(self, buckets: Buckets, caps: Caps | None = None) -> None:
        self._buckets = buckets
        self._caps = caps or Caps()
        self._unary = 0
        self._streams = 0
        self._by_caller: Counter[str] = Counter()

    def around(self, method: Method, proceed: Proceed) -> Proceed:
        if method.policy.action is Action.HEALTH_CHECK:
            return proceed
        if method.request_streaming or method.response_streaming:
            return self._limited(method, self._stream(proceed))
        return self._limited(method, self._single(proceed))

    def _limited(self, method: Method, proceed: Proceed) -> Proceed:
        rate = method.policy.rate
        if rate is None:
            return proceed
        policy = method.policy
        strict = policy.mutates and policy.permission is not Permission.CHAT_USE
        bucket = method.path if method.known else "unknown"

        async def run(call: Call) -> Any:
            wait = await self._buckets.take(caller_key(call), bucket, rate, strict=strict)
            if wait > 0:
                raise AppError(
                    Code.RESOURCE_EXHAUSTED,
                    Reason.RATE_LIMITED,
                    f"at most {rate.per_minute} calls a minute, {rate.burst} at once",
                    metadata={"limit": f"{rate.per_minute}/min"},
                    retry_after=wait,
                    quota=method.path,
                )
            return await proceed(call)

        return run

    def _single(self, proceed: Proceed) -> Proceed:
        async def run(call: Call) -> Any:
            if self._unary >= self._caps.unary:
                raise _busy("calls")
            self._unary += 1
            try:
                return await proceed(call)
            finally:
                self._unary -= 1

        return run

    def _stream(self, proceed: Proceed) -> Proceed:
        async def run(call: Call) -> Any:
            if self._streams >= self._caps.streams:
                raise _busy("streams")
            key, limit = caller_key(call), self._caps.streams_per_caller
            if self._by_caller[key] >= limit:
                raise AppError(
                    Code.RESOURCE_EXHAUSTED,
                    Reason.TOO_MANY_STREAMS,
                    f"at most {limit} streams at once",
                    metadata={"limit": str(limit)},
                    retry_after=_RETRY_STREAM,
                    quota="streams",
                )
            self._streams += 1
            self._by_caller[key] += 1
            try:
                return await proceed(call)
            finally:
                self._streams -= 1
                self._by_caller[key] -= 1
                if not self._by_caller[key]:
                    del self._by_caller[key]

        return run


def caller_key(call: Call) -> str:
    """Whose budget a call uses: the subject's inside its tenant, by a reference that does not name a person where
    there is one; a stranger's address. A service that acts for people has one budget, its own."""
    caller = call.caller
    if caller.tenant:
        return f"{caller.tenant}/{caller.subject if caller.on_behalf_of else caller.person or caller.subject}"
    return f"@{call.request.peer if call.request else ''}"


def _busy(what: str) -> AppError:
    return AppError(
        Code.RESOURCE_EXHAUSTED,
        Reason.SERVER_BUSY,
        f"the server has as many {what} as it takes on",
        retry_after=_RETRY_BUSY,
        quota=f"concurrent {what}",
    )
