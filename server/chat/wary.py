"""An assistant that looks at what it is asked and given before the one behind it does.

What speaks to a model instead of to the desk lowers what the run may do: a message or an earlier one of medium
suspicion takes the model's tools and half of its budget, one of high suspicion takes the model. Suspicious passages,
products and names are not shown to anybody. Each finding is an event for the audit.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import lru_cache

from server.chat.assistant import (
    Assistant,
    Event,
    Intent,
    Language,
    OrderSummary,
    OrderTaken,
    Product,
    Reply,
    Tools,
    Turn,
    Usage,
)
from server.chat.decision import Suspected
from server.chat.displayed import displayed
from server.chat.suspicion import Level, Source, Suspicion, suspect
from server.knowledge.passages import Passage, SearchResult

# Judging a longer text takes long enough for the loop to notice.
_LONG = 1000
# Where the best passage was taken out, the next one must fit this well by itself.
_SURE = 0.5

_supplied = lru_cache(4096)(suspect)  # documents and products come again and again, and are nobody's secret


@dataclass(slots=True)
class ScreenedTools:
    """`Tools` that give no suspicious passage and no suspicious product. `quoting` orders nothing either."""

    tools: Tools
    quoting: bool = False
    found: list[Suspected] = field(default_factory=list)

    async def search_knowledge(self, query: str, *, limit: int = 4) -> SearchResult:
        result = await self.tools.search_knowledge(query, limit=limit)
        kept = tuple([_shown(passage) for passage in result.passages if await self._harmless(passage)])
        best_is_left = bool(kept) and kept[0].chunk == result.passages[0].chunk
        sure = best_is_left or (bool(kept) and kept[0].score >= _SURE)
        return replace(result, passages=kept, confident=result.confident and sure)

    async def search_products(self, query: str, *, limit: int = 5) -> Sequence[Product]:
        return [
            product
            for product in await self.tools.search_products(query, limit=limit)
            if not self._suspicious(Source.PRODUCT, _written(product), f"products/{product.sku}")
        ]

    async def recent_orders(self, *, limit: int = 3) -> Sequence[OrderSummary]:
        return await self.tools.recent_orders(limit=limit)

    async def hear_order(self, intent: Intent) -> Intent:
        return intent if self.quoting else await self.tools.hear_order(intent)

    async def take_order(self, language: Language, *, changes: bool) -> OrderTaken | None:
        return None if self.quoting else await self.tools.take_order(language, changes=changes)

    async def cancel_order(self, language: Language) -> OrderTaken | None:
        return None if self.quoting else await self.tools.cancel_order(language)

    async def _harmless(self, passage: Passage) -> bool:
        text = f"{passage.title}\n{passage.heading}\n{passage.text}"
        if len(text) > _LONG:
            await asyncio.to_thread(_supplied, text, Source.DOCUMENT)
        return not self._suspicious(Source.DOCUMENT, text, passage.chunk)

    def _suspicious(self, source: Source, text: str, target: str) -> bool:
        suspicion = _supplied(text, source)
        if suspicion.level is Level.LOW:
            return False
        self.found.append(Suspected(source, suspicion, target, hashlib.sha256(text.encode()).hexdigest()))
        return True


class WaryReply(AsyncIterator[Event]):
    """The port's `Reply`; its usage is that of the assistant that answers."""

    def __init__(self, assistant: WaryAssistant, turn: Turn, tools: Tools) -> None:
        self.inner: Reply | None = None
        self._events = assistant.events(turn, tools, self)

    @property
    def usage(self) -> Usage:
        return self.inner.usage if self.inner is not None else Usage()

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Ends the answer."""
        await self._events.aclose()


class WaryAssistant:
    """`Assistant` in front of `inner`; `quoting` needs no model and answers where suspicion is high. `count` is told
    of every finding."""

    def __init__(
        self, inner: Assistant, quoting: Assistant, count: Callable[[Suspected], None] = lambda _: None
    ) -> None:
        self.name = inner.name
        self._inner = inner
        self._quoting = quoting
        self._count = count

    def reply(self, turn: Turn, tools: Tools) -> WaryReply:
        """One answer; see the port."""
        return WaryReply(self, turn, tools)

    async def events(self, turn: Turn, tools: Tools, reply: WaryReply) -> AsyncGenerator[Event, None]:
        """For `WaryReply`."""
        judged, suspects = await asyncio.to_thread(_judged, turn) if _long(turn) else _judged(turn)
        level = max((suspected.suspicion.level for suspected in suspects if _speaks(suspected)), default=Level.LOW)
        screened = ScreenedTools(tools, quoting=level is Level.HIGH, found=suspects)
        assistant = self._quoting if level is Level.HIGH else self._inner
        reply.inner = assistant.reply(judged, screened)
        for suspected in self._taken(screened.found):
            yield suspected
        async with aclosing(reply.inner) as events:
            async for event in events:
                for suspected in self._taken(screened.found):
                    yield suspected
                if isinstance(event, Suspected):
                    self._count(event)
                yield event

    def _taken(self, found: list[Suspected]) -> list[Suspected]:
        """The findings so far, counted."""
        taken = found[:]
        found.clear()
        for suspected in taken:
            self._count(suspected)
        return taken


def _judged(turn: Turn) -> tuple[Turn, list[Suspected]]:
    """The turn without what is suspicious around its message, and all that is."""
    found: list[Suspected] = []

    def suspicious(source: Source, text: str) -> Suspicion:
        suspicion = suspect(text, source)
        if suspicion.level is not Level.LOW:
            found.append(Suspected(source, suspicion, text=text))
        return suspicion

    message = suspicious(Source.MESSAGE, turn.text)
    history: list[tuple[str, str]] = []
    skipping = False
    for role, text in turn.history:
        # What somebody talked the desk into saying goes with what it was talked into it by.
        skipping = suspicious(Source.HISTORY, text).level is not Level.LOW or (skipping and role == "assistant")
        if not skipping:
            history.append((role, text))
    outlet = "" if suspicious(Source.OUTLET, turn.outlet_name).level is not Level.LOW else turn.outlet_name
    wary = message.level is not Level.LOW or len(history) < len(turn.history)
    return replace(turn, history=tuple(history), outlet_name=displayed(outlet), wary=wary), found


def _speaks(suspected: Suspected) -> bool:
    """Whether it is what the run answers; the rest was taken out."""
    return suspected.source is Source.MESSAGE


def _long(turn: Turn) -> bool:
    return len(turn.text) + sum(len(text) for _, text in turn.history) > _LONG


def _shown(passage: Passage) -> Passage:
    text = displayed(passage.text)
    return passage if text == passage.text else replace(passage, text=text)


def _written(product: Product) -> str:
    return "\n".join([product.name, *product.names.values(), product.category, product.unit])
