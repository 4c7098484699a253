"""The model as the agent calls it: the stream behind a circuit breaker, retried while nothing was seen, metered."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from server.breaker import CircuitBreaker, CircuitOpenError
from server.chat.completions import ModelCall, ModelError, ModelEvent
from server.chat.discreet import check
from server.chat.metering import UsageMeter
from server.chat.openai_stream import OpenAIStream
from server.chat.retry import RetryPolicy, retrying
from server.errors import Reason


class Model(Protocol):
    """What answers one call; events or `ModelError`. `meter` learns what it costs."""

    @property
    def name(self) -> str: ...
    def events(self, call: ModelCall, meter: UsageMeter) -> AsyncGenerator[ModelEvent, None]: ...


class GuardedModel:
    """One model for the whole process; every call shares its breaker."""

    def __init__(self, stream: OpenAIStream, breaker: CircuitBreaker, policy: RetryPolicy) -> None:
        self._stream = stream
        self._breaker = breaker
        self._policy = policy

    @property
    def name(self) -> str:
        return self._stream.model

    async def events(self, call: ModelCall, meter: UsageMeter) -> AsyncGenerator[ModelEvent, None]:
        """The events of one call that worked, or `ModelError`; one that still holds personal data is not made.

        An attempt that fails before its first event is made again as the policy says; from the first event on there
        is no second attempt, because text that a person has read is never taken back.
        """

        async def start() -> tuple[ModelEvent, AsyncGenerator[ModelEvent, None]]:
            attempt = self._attempt(call, meter)
            return await anext(attempt), attempt

        check(call)
        first, attempt = await retrying(start, self._policy, call.deadline)
        async with aclosing(attempt):
            yield first
            async for event in attempt:
                yield event

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
                    raise
        except CircuitOpenError as error:
            message = "the model is unavailable"
            wait = error.retry_after
            raise ModelError(Reason.MODEL_UNAVAILABLE, message, retry_after=wait, billed=False) from error


def _is_provider_fault(error: Exception) -> bool:
    return isinstance(error, ModelError) and error.provider_fault
