"""The answer cache around an assistant that says who asked it: whoever is given another's answer can be seen to be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field

from redis.asyncio import Redis

from server.chat.assistant import (
    Answered,
    AnswerKind,
    Asker,
    Delta,
    Event,
    FromCache,
    Intent,
    Language,
    Tools,
    Turn,
    Usage,
)
from server.chat.cache.caching import CacheParts, CachingAssistant, Made, Revisions
from server.chat.cache.figures import Figures
from server.chat.cache.flight import Flights
from server.chat.cache.keys import Keys
from server.chat.cache.likeness import Likenesses
from server.chat.cache.shelf import Shelf, ShelfLimits
from server.chat.chained import ChainedReply
from server.knowledge.embedding import Embedder
from server.knowledge.lexical import Lexicon
from server.settings import Secret
from tests.support.llmock import DeskTools

SECRET = Secret("cache-tests-" + "s" * 32)
COST = 1234


@dataclass
class Talkative:
    """An `Assistant` whose answers say everything that they may depend on. `pause` seconds pass before each."""

    pause: float = 0.0
    kind: AnswerKind = AnswerKind.ANSWERED
    intent: Intent = Intent.POLICY_QUESTION
    confidence: float = 0.9
    also: Sequence[Event] = ()
    asked: list[Turn] = field(default_factory=list)
    name: str = "talkative"

    def reply(self, turn: Turn, tools: Tools) -> ChainedReply:
        return ChainedReply(lambda _: self._events(turn, tools))

    async def _events(self, turn: Turn, tools: Tools) -> AsyncGenerator[Event, None]:
        self.asked.append(turn)
        await asyncio.sleep(self.pause)
        intent = await tools.hear_order(self.intent)
        await tools.search_knowledge(turn.text)
        if intent is Intent.PRODUCT_QUESTION:
            await tools.search_products(turn.text)
        for event in self.also:
            yield event
        yield Delta(says(turn.asker))
        yield Delta(" The end.")
        usage = Usage(input_tokens=1, cost_micros=COST, model="talkative-1")
        yield Answered(self.kind, intent, self.confidence, Language.EN, usage)


def says(asker: Asker) -> str:
    """What `Talkative` says to whom."""
    return f"Spoken to {asker.tenant}, {asker.role}, arm {asker.arm}."


@dataclass
class Stated:
    """`Sources` that a test sets."""

    knowledge: str = "1"
    catalogue: str = "1"
    goods: dict[str, str] = field(default_factory=dict)

    async def revisions(self, _tenant: str) -> Revisions:
        return Revisions(self.knowledge, self.catalogue)

    async def products(self, _tenant: str, skus: Sequence[str]) -> Mapping[str, str]:
        return {sku: self.goods[sku] for sku in skus if sku in self.goods}


@dataclass
class Replica:
    """One process's cache; replicas of one Redis share what they keep."""

    assistant: CachingAssistant
    inner: Talkative
    sources: Stated
    figures: Figures
    prompts: dict[str, str]

    async def ask(self, turn: Turn, tools: Tools | None = None) -> tuple[str, bool]:
        """The text of the answer, and whether it came from the cache."""
        events = [event async for event in self.assistant.reply(turn, tools or DeskTools())]
        text = "".join(event.text for event in events if isinstance(event, Delta))
        hit = any(isinstance(event, FromCache) for event in events)
        assert isinstance(events[-1], Answered)
        assert events[-1].cached is hit
        assert (events[-1].usage.saved_micros > 0) is hit
        return text, hit


def replica(
    redis: Redis,
    lexicon: Lexicon,
    embedder: Embedder,
    *,
    inner: Talkative | None = None,
    sources: Stated | None = None,
    limits: ShelfLimits | None = None,
) -> Replica:
    """A cache over this Redis."""
    shelf, keys = Shelf(redis, limits), Keys(SECRET)
    inner, sources = inner or Talkative(), sources or Stated()
    figures = Figures(shelf, keys, "USD")
    prompts = {"a": "prompt-1", "b": "prompt-2"}
    parts = CacheParts(shelf, Flights(shelf), keys, Likenesses(lexicon, embedder), figures, sources)
    return Replica(
        CachingAssistant(inner, Made("model-1", prompts.__getitem__), parts), inner, sources, figures, prompts
    )
