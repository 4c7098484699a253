"""What the cache did: counted in Redis for a tenant over all processes, and for Prometheus per process."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import cast

from prometheus_client import CollectorRegistry, Counter, Histogram

from server.chat.cache.keys import Key, Keys
from server.chat.cache.shelf import Shelf
from server.chat.redis_gate import Away

_TOGETHER = 0.3  # seconds in which counts are gathered
_SAMPLES = 200  # latencies of each kind that a median is taken of


class Outcome(StrEnum):
    """What became of one question: ALIKE is a hit by meaning, FOLLOWED one by waiting for somebody else's answer."""

    HIT = "hit"
    ALIKE = "alike"
    FOLLOWED = "followed"
    MISS = "miss"
    VETOED = "vetoed"

    @property
    def is_hit(self) -> bool:
        return self in {Outcome.HIT, Outcome.ALIKE, Outcome.FOLLOWED}


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """A tenant's figures since the counters began; latencies are median seconds, 0 while there are none. `fallback`
    while each process caches for itself, and then the figures are this process's."""

    hits: int
    misses: int
    vetoed: int
    entries: int
    saved_micros: int
    currency: str
    hit_latency: float
    miss_latency: float
    fallback: bool


@dataclass(slots=True)
class _Own:
    """What this process counted for a tenant."""

    counts: dict[str, int] = field(default_factory=dict)
    latencies: dict[str, deque[float]] = field(default_factory=dict)

    def add(self, kind: str, seconds: float, saved_micros: int) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if saved_micros:
            self.counts["saved"] = self.counts.get("saved", 0) + saved_micros
        self.latencies.setdefault(kind, deque(maxlen=_SAMPLES)).append(seconds)


class Figures:
    """Counts outcomes; what Redis cannot take is counted here only."""

    def __init__(self, shelf: Shelf, keys: Keys, currency: str, registry: CollectorRegistry | None = None) -> None:
        self._shelf = shelf
        self._keys = keys
        self._currency = currency
        self._own: dict[str, _Own] = {}
        self._fresh: dict[str, _Own] = {}  # not yet in Redis
        self._sending: asyncio.Task[None] | None = None
        registry = registry or CollectorRegistry()
        self._questions = Counter(
            "tria_cache_questions_total", "Questions by what the answer cache did.", ["outcome"], registry=registry
        )
        for outcome in Outcome:
            self._questions.labels(outcome.value)  # 0 from the start: shares are of all outcomes
        self._saved = Counter("tria_cache_saved_micros_total", "Money not spent, in micros.", registry=registry)
        self._seconds = Histogram(
            "tria_cache_answer_seconds",
            "Time of a whole answer by what the answer cache did.",
            ["outcome"],
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )

    def count(self, tenant: str, outcome: Outcome, seconds: float, saved_micros: int = 0) -> None:
        """One question of the tenant came to this."""
        self._questions.labels(outcome.value).inc()
        self._seconds.labels(outcome.value).observe(seconds)
        self._saved.inc(saved_micros)
        kind = "hit" if outcome.is_hit else outcome.value
        self._own.setdefault(tenant, _Own()).add(kind, seconds, saved_micros)
        fresh = self._fresh.setdefault(tenant, _Own())
        fresh.add(kind, seconds, saved_micros)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_soon(), name="cache-figures")

    async def close(self) -> None:
        """Brings the last counts to Redis; nothing is sent afterwards."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait({self._sending})
        await self.send()

    async def _send_soon(self) -> None:
        """Root of the task that brings what was counted to Redis: many questions are one message."""
        await asyncio.sleep(_TOGETHER)
        await self.send()

    async def send(self) -> None:
        """Brings what was counted to Redis; while it is away, what is counted stays with this process."""
        fresh, self._fresh = self._fresh, {}
        for tenant, counted in fresh.items():
            name = self._name(tenant)
            try:
                async with self._shelf.redis.pipeline(transaction=False) as pipeline:
                    for kind, count in counted.counts.items():
                        pipeline.hincrby(f"{name}:counts", kind, count)
                    for kind, latencies in counted.latencies.items():
                        pipeline.lpush(f"{name}:{kind}", *(f"{each:.6f}" for each in latencies))
                        pipeline.ltrim(f"{name}:{kind}", 0, _SAMPLES - 1)
                    await self._shelf.ask(pipeline.execute())
            except Away:
                continue

    async def kept(self, tenant: str, key: Key, seconds: float) -> None:
        """An answer is kept for so long."""
        name, now = self._name(tenant), time.time()
        try:
            async with self._shelf.redis.pipeline(transaction=False) as pipeline:
                pipeline.zadd(f"{name}:entries", {f"{key.partition}{key.question}": now + seconds})
                pipeline.zremrangebyscore(f"{name}:entries", "-inf", now)
                await self._shelf.ask(pipeline.execute())
        except Away:
            return

    async def of(self, tenant: str) -> CacheFigures:
        """The figures so far."""
        await self.send()
        name, redis = self._name(tenant), self._shelf.redis
        try:
            counts = await self._shelf.ask(cast("Awaitable[dict[bytes, bytes]]", redis.hgetall(f"{name}:counts")))
            entries = await self._shelf.ask(redis.zcount(f"{name}:entries", time.time(), "+inf"))
            hits = await self._shelf.ask(cast("Awaitable[list[bytes]]", redis.lrange(f"{name}:hit", 0, -1)))
            misses = await self._shelf.ask(cast("Awaitable[list[bytes]]", redis.lrange(f"{name}:miss", 0, -1)))
        except Away:
            own = self._own.get(tenant, _Own())
            latencies = {kind: list(values) for kind, values in own.latencies.items()}
            return self._figures(own.counts, self._shelf.held_locally, latencies, fallback=True)
        told = {kind.decode(): int(count) for kind, count in counts.items()}
        latencies = {"hit": [float(each) for each in hits], "miss": [float(each) for each in misses]}
        return self._figures(told, int(entries), latencies, fallback=False)

    def _figures(
        self, counts: dict[str, int], entries: int, latencies: dict[str, list[float]], *, fallback: bool
    ) -> CacheFigures:
        return CacheFigures(
            hits=counts.get("hit", 0),
            misses=counts.get("miss", 0),
            vetoed=counts.get("vetoed", 0),
            entries=entries,
            saved_micros=counts.get("saved", 0),
            currency=self._currency,
            hit_latency=median(latencies.get("hit") or [0.0]),
            miss_latency=median(latencies.get("miss") or [0.0]),
            fallback=fallback,
        )

    def _name(self, tenant: str) -> str:
        return f"tria:cache:{{figures-{self._keys.tenant(tenant)}}}"
