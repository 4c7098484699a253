"""Where answers are kept: in Redis for all processes, or in this process, bounded, while Redis is away."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
from redis.asyncio import Redis

from server.chat.cache.entry import Entry
from server.chat.cache.keys import Key
from server.chat.redis_gate import Away, RedisGate
from server.knowledge.embedding import Vectors

T = TypeVar("T")

_MOST_ALIKE = 16  # questions about the same things that are compared by meaning
NOT_SHARED = b"-"  # stands where an answer was made that may not be shared


@dataclass(frozen=True, slots=True)
class ShelfLimits:
    """`keep` and `keep_abstention` are seconds; `local` is the most answers that a process keeps by itself."""

    keep: float = 1800.0
    keep_abstention: float = 60.0
    local: int = 2000


class Shelf:
    """The kept answers, as one process sees them. Nothing here raises because Redis is away, except what says so."""

    def __init__(self, redis: Redis, limits: ShelfLimits | None = None) -> None:
        self.redis = redis
        self.limits = limits or ShelfLimits()
        self._asking: dict[str, asyncio.Task[bytes | None]] = {}
        self._local: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._gate = RedisGate("answers are kept per process")

    @property
    def away(self) -> bool:
        """True for a moment after Redis failed: this process keeps answers for itself."""
        return self._gate.away

    async def get(self, key: Key) -> bytes | None:
        """An encoded entry, NOT_SHARED, or None."""
        asking = self._asking.get(key.entry)
        if asking is None:  # a crowd that asks the same asks Redis once
            asking = self._asking[key.entry] = asyncio.create_task(self._get(key), name="cache-get")
            asking.add_done_callback(lambda _: self._asking.pop(key.entry, None))
        return await asyncio.shield(asking)

    async def put(self, key: Key, value: bytes, seconds: float) -> bool:
        """Keeps it; True when all processes have it."""
        try:
            await self.ask(self.redis.set(key.entry, value, px=max(1, round(seconds * 1000))))
        except Away:
            self._put_local(key, value, seconds)
            return False
        return True

    async def alike(self, likes: str) -> dict[str, Vectors]:
        """The vectors of questions that ask about the same things, by question."""
        try:
            held = await self.ask(cast("Awaitable[dict[bytes, bytes]]", self.redis.hgetall(likes)))
        except Away:
            return {}
        return {name.decode(): np.frombuffer(vector, np.float16).astype(np.float32) for name, vector in held.items()}

    async def liken(self, likes: str, key: Key, vector: Vectors) -> None:
        """Makes a kept answer findable by meaning. A full place is emptied: it holds what nobody has asked lately."""
        try:
            if await self.ask(self.redis.hlen(likes)) >= _MOST_ALIKE:
                await self.ask(self.redis.delete(likes))
            async with self.redis.pipeline(transaction=False) as pipeline:
                pipeline.hset(likes, key.question, vector.astype(np.float16).tobytes())
                pipeline.pexpire(likes, round(self.limits.keep * 1000))
                await self.ask(pipeline.execute())
        except Away:
            return

    async def unlike(self, likes: str, question: str) -> None:
        """Forgets a question whose answer has gone."""
        try:
            await self.ask(self.redis.hdel(likes, question))
        except Away:
            return

    async def ask(self, question: Awaitable[T]) -> T:
        """What Redis answers. Raises Away."""
        return await self._gate.ask(question)

    @property
    def held_locally(self) -> int:
        return len(self._local)

    async def _get(self, key: Key) -> bytes | None:
        try:
            return cast("bytes | None", await self.ask(self.redis.get(key.entry)))
        except Away:
            return self._get_local(key)

    def _get_local(self, key: Key) -> bytes | None:
        until, value = self._local.get(key.entry, (0.0, b""))
        return value if time.monotonic() < until else None

    def _put_local(self, key: Key, value: bytes, seconds: float) -> None:
        self._local[key.entry] = (time.monotonic() + seconds, value)
        self._local.move_to_end(key.entry)
        while len(self._local) > self.limits.local:
            self._local.popitem(last=False)


def entry_of(value: bytes | None) -> Entry | None:
    """The entry, or None for nothing, for NOT_SHARED, and for what another version wrote."""
    if value is None or value == NOT_SHARED:
        return None
    try:
        return Entry.decode(value)
    except ValueError:
        return None
