"""An assistant outside this system never sees personal data: placeholders go out, the originals come back.

The map from placeholder to original lives as long as one answer and is written nowhere.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from server.chat.assistant import Assistant, Delta, Event, Reply, Tools, Turn, Usage
from server.pii.scrub import Scrubber
from server.pii.stream import StreamRestorer


class DiscreetAssistant:
    """`inner`, told the customer's messages with placeholders for what is personal; its words come back restored."""

    def __init__(self, inner: Assistant) -> None:
        self.name = inner.name
        self._inner = inner

    def reply(self, turn: Turn, tools: Tools) -> Reply:
        """One answer; see the port."""
        scrubber = Scrubber()
        history = tuple((role, scrubber.scrub(text)) for role, text in turn.history)
        asked = replace(turn, text=scrubber.scrub(turn.text), history=history)
        return _Restored(self._inner.reply(asked, tools), StreamRestorer(scrubber.mapping))


class _Restored(AsyncIterator[Event]):
    """The events of an answer with the originals put back; held back is at most one partial placeholder."""

    def __init__(self, inner: Reply, restorer: StreamRestorer) -> None:
        self._inner = inner
        self._events = _restored(inner, restorer)

    @property
    def usage(self) -> Usage:
        return self._inner.usage

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Ends the answer, and with it the call upstream."""
        await self._events.aclose()
        await self._inner.aclose()


async def _restored(inner: Reply, restorer: StreamRestorer) -> AsyncGenerator[Event, None]:
    async with aclosing(inner) as events:
        async for event in events:
            if isinstance(event, Delta):
                if text := restorer.feed(event.text):
                    yield Delta(text)
                continue
            if rest := restorer.finish():
                yield Delta(rest)
            yield event
    if rest := restorer.finish():
        yield Delta(rest)
