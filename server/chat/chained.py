"""A reply made of other replies, one after the other; what they cost adds up."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from server.chat.assistant import Event, Reply, Usage


class ChainedReply(AsyncIterator[Event]):
    """The port's `Reply` over a generator that plays other replies by `play`."""

    def __init__(self, produce: Callable[[ChainedReply], AsyncGenerator[Event, None]]) -> None:
        self._parts: list[Reply] = []
        self._events = produce(self)

    @property
    def usage(self) -> Usage:
        spent = [part.usage for part in self._parts]
        return added(spent) if spent else Usage()

    async def play(self, reply: Reply) -> AsyncGenerator[Event, None]:
        """The events of `reply`, whose cost becomes part of this one's."""
        self._parts.append(reply)
        async with aclosing(reply) as events:
            async for event in events:
                yield event

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Ends the answer, and with it the part that is playing."""
        await self._events.aclose()


def added(spent: list[Usage]) -> Usage:
    """The sum; named after the last model that cost something, else after the last."""
    billed = [usage for usage in spent if usage.input_tokens or usage.output_tokens]
    last = (billed or spent)[-1]
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in spent),
        cached_input_tokens=sum(usage.cached_input_tokens for usage in spent),
        output_tokens=sum(usage.output_tokens for usage in spent),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in spent),
        cost_micros=sum(usage.cost_micros for usage in spent),
        currency=last.currency,
        estimated=any(usage.estimated for usage in spent),
        model=last.model,
        saved_micros=sum(usage.saved_micros for usage in spent),
    )
