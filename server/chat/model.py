"""The model as the agent calls it: the stream behind a circuit breaker, retried while nothing was seen, metered."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from server.breaker import BreakerState, CircuitBreaker, CircuitOpenError
from server.chat.assistant import Waiting
from server.chat.completions import ModelCall, ModelError, ModelEvent
from server.chat.discreet import check
from server.chat.governing import Governor
from server.chat.metering import UsageMeter
from server.chat.openai_stream import OpenAIStream
from server.chat.retry import RetryPolicy, retries
from server.errors import Reason


class Model(Protocol):
    """What answers one call; events or `ModelError`. `meter` learns what it costs."""

    @property
    def name(self) -> str: ...
    def events(self, call: ModelCall, meter: UsageMeter) -> AsyncGenerator[ModelEvent, None]: ...


class GuardedModel:
    """One model for the whole process; every call shares its breaker."""

    def __init__(
        self, stream: OpenAIStream, breaker: CircuitBreaker, policy: RetryPolicy, governor: Governor | None = None
    ) -> None:
        self._stream = stream
        self._breaker = breaker
        self._policy = policy
        self._governor = governor

    @property
    def name(self) -> str:
        return self._stream.model

    async def events(self, call: ModelCall, meter: UsageMeter) -> AsyncGenerator[ModelEvent, None]:
        """The events of one call that worked, or `ModelError`; before them, its places in the queue. One that still
        holds personal data is not made.

        An attempt that fails before its first event is made again as the policy says; from the first event on there
        is no second attempt, because text that a person has read is never taken back.
        """
        check(call)
        async for again in retries(self._policy, call.deadline, governed=self._governor is not None):
            async with aclosing(self._admission(call)) as admission:
                async for waiting in admission:
                    yield waiting
            attempt = self._attempt(call, meter)
            with again:
                first = await anext(attempt)
        async with aclosing(attempt):
            yield first
            async for event in attempt:
                yield event

    async def _admission(self, call: ModelCall) -> AsyncGenerator[Waiting, None]:
        # What the breaker would refuse needs no place.
        if self._governor is not None and self._breaker.state is not BreakerState.OPEN:
            async with aclosing(self._governor.admission(call)) as admission:
                async for waiting in admission:
                    yield waiting

    async def _attempt(self, call: ModelCall, meter: UsageMeter) -> AsyncGenerator[ModelEvent, None]:
        try:
            with self._breaker.attempt(_is_provider_fault):
                meter.begin(call)
                try:
                    async with aclosing(self._stream.events(call)) as events:
                        async for event in events:
                            meter.saw(event)
                            yield event
                except ModelError as error:
                    if not error.billed:
                        meter.not_billed()
                    await self._tell_governor(error)
                    raise
        except CircuitOpenError as error:
            message = "the model is unavailable"
            wait = error.retry_after
            raise ModelError(Reason.MODEL_UNAVAILABLE, message, retry_after=wait, billed=False) from error

    async def _tell_governor(self, error: ModelError) -> None:
        limited = error.reason is Reason.MODEL_RATE_LIMITED and error.retry_after is not None
        if self._governor is not None and limited:
            await self._governor.refused(error.retry_after or 0.0)


def _is_provider_fault(error: Exception) -> bool:
    return isinstance(error, ModelError) and error.provider_fault
