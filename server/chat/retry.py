"""Retries of a model call: only before anything of the answer was seen, only inside the call's deadline."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential_jitter,
)

from server.chat.completions import ModelError
from server.errors import Reason

# What a Retry-After is stretched by at most, so that the callers it held back do not return as one herd.
_SPREAD = 0.1


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most `attempts` tries; waits of `base`, 2·`base`, 4·`base` … up to `cap` seconds, each plus up to half a
    `base` of jitter, so that waits always grow. A Retry-After takes the place of the computed wait."""

    attempts: int = 3
    base: float = 0.5
    cap: float = 8.0


def retries(policy: RetryPolicy, deadline: float, *, governed: bool = False) -> AsyncRetrying:
    """The attempts of one call: `async for attempt in retries(...): with attempt: ...`. Raises the last `ModelError`.

    `deadline` is absolute on the running loop's clock. A wait that would reach it is not begun: the error comes at
    once, with its `retry_after`, and the caller can still do something else with the time that is left. With `governed`
    a governor has noted the provider's Retry-After and does the waiting, for all calls.
    """
    backoff = wait_exponential_jitter(multiplier=policy.base, max=policy.cap, jitter=policy.base / 2)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, ModelError) and error.retry_after is not None:
            if governed and error.reason is Reason.MODEL_RATE_LIMITED:
                return 0.0
            return error.retry_after * (1 + random.uniform(0, _SPREAD))  # noqa: S311 - a spread, not a secret
        return backoff(state)

    return AsyncRetrying(
        retry=retry_if_exception(_is_retryable),
        wait=wait,
        stop=stop_after_attempt(policy.attempts) | stop_before_delay(deadline - asyncio.get_running_loop().time()),
        reraise=True,
    )


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, ModelError) and error.retryable
