"""The answer cache put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from server.chat.cache.caching import CacheParts, Sources
from server.chat.cache.figures import Figures
from server.chat.cache.flight import Flights
from server.chat.cache.keys import Keys
from server.chat.cache.likeness import Likenesses
from server.chat.cache.shelf import Shelf
from server.knowledge.embedding import Embedder
from server.knowledge.lexical import Lexicon
from server.settings import Secret


class CacheSurroundings(Protocol):
    """What the cache needs of the rest of the system."""

    @property
    def redis(self) -> Redis: ...
    @property
    def secret(self) -> Secret: ...
    @property
    def sources(self) -> Sources: ...
    @property
    def registry(self) -> CollectorRegistry: ...
    @property
    def on(self) -> Callable[..., Awaitable[bool]]: ...


def answer_cache(around: CacheSurroundings, lexicon: Lexicon, embedder: Embedder) -> CacheParts:
    """The parts over Redis, for one process."""
    shelf, keys = Shelf(around.redis), Keys(around.secret)

    async def enabled(tenant: str) -> bool:
        return await around.on(tenant, "answer_cache")

    async def by_meaning(tenant: str) -> bool:
        return await around.on(tenant, "answer_cache_by_meaning")

    figures = Figures(shelf, keys, "USD", around.registry)
    return CacheParts(
        shelf, Flights(shelf), keys, Likenesses(lexicon, embedder), figures, around.sources, enabled, by_meaning
    )
