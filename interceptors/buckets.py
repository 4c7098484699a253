"""Token buckets shared by all processes through Redis, without a Redis round trip per call.

A bucket is one number in Redis, the "theoretical arrival time" of GCRA: the moment at which the bucket will be full
again (ITU-T I.371, the virtual scheduling form). A process takes a few tokens at a time by one Lua call and spends them
from memory; it asks for the next ones before they are used up. Requests for many buckets that come together travel in
one pipeline. The sum over all processes never passes the limit, except while Redis is away: then each process limits by
itself, at the full rate for reading and chatting, at half of it for other changes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any, Self

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from interceptors.policy import Rate
from server.owned_tasks import end

log = logging.getLogger(__name__)

_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local period, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local want, unused = tonumber(ARGV[3]), tonumber(ARGV[4])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or '0') - unused * period, now)
local free = math.floor((now + burst * period - full_at) / period)
local taken = math.max(0, math.min(want, free))
full_at = full_at + taken * period
redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000) + 1000)
if taken > 0 then return {taken, 0} end
return {0, math.ceil(full_at + period - now - burst * period)}
"""
"""KEYS: the bucket. ARGV: µs per token, burst, tokens wanted, tokens given back. Returns taken, µs to the next."""

_KEEP = 5.0  # seconds that a process may sit on tokens before it gives them back
_PATIENCE = 0.25  # seconds that a call waits for Redis; a busy loop alone may take some tens of milliseconds
_BREAK = 1.0  # seconds without asking Redis after it failed
_BUCKETS = 20_000


@dataclass(slots=True)
class _Bucket:
    """One caller's use of one method in this process. Times are of `time.monotonic`."""

    key: str
    period: float  # seconds per token
    burst: int
    tokens: int = 0
    taken_at: float = 0.0
    share: int = 1
    refused_until: float = 0.0
    local_full_at: float = 0.0
    asked: asyncio.Future[None] | None = None
    unused: int = field(default=0)


class Buckets:
    """The buckets of one process. Use as `async with` or with `start()` and `close()`."""

    def __init__(self, redis: Redis, *, prefix: str = "tria:rate") -> None:
        self._redis = redis
        self._prefix = prefix
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._wanted: deque[_Bucket] = deque()
        self._arrived = asyncio.Event()
        self._away_until = 0.0
        self._sha = ""
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Starts the task that talks to Redis; Redis need not be there."""
        self._task = asyncio.create_task(self._keep_asking(), name="rate-buckets")

    async def close(self) -> None:
        """Ends the task; tokens still held come back by themselves as the bucket refills."""
        if self._task is not None:
            await end({self._task})
            self._task = None

    async def take(self, caller: str, method: str, rate: Rate, *, strict: bool) -> float:
        """Takes one token; returns 0, or the seconds until one is there.

        `strict` halves what this process allows by itself while Redis is away.
        """
        bucket = self._bucket(f"{method}:{caller}", rate)
        now = time.monotonic()
        if bucket.tokens and now - bucket.taken_at > _KEEP:
            bucket.unused, bucket.tokens, bucket.share = bucket.tokens, 0, 1
        if not bucket.tokens:
            if now < bucket.refused_until:
                return bucket.refused_until - now
            if not await self._filled(bucket, now):
                return self._local(bucket, now, strict=strict)
        if not bucket.tokens:
            return max(bucket.refused_until - now, 0.001)
        bucket.tokens -= 1
        if bucket.tokens * 2 < bucket.share and bucket.share > 1:
            self._ask(bucket)  # settled in the background: the next call finds tokens
        return 0.0

    def _bucket(self, name: str, rate: Rate) -> _Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            # The name is hashed by a Redis cluster as a whole; nothing in it spans two keys.
            bucket = _Bucket(f"{self._prefix}:{name}", 60.0 / rate.per_minute, rate.burst)
            self._buckets[name] = bucket
            if len(self._buckets) > _BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(name)
        return bucket

    async def _filled(self, bucket: _Bucket, now: float) -> bool:
        """Waits for Redis to fill an empty bucket (or to refuse); False when Redis is away."""
        if now < self._away_until:
            return False
        try:
            async with asyncio.timeout(_PATIENCE):
                while not bucket.tokens and time.monotonic() >= bucket.refused_until:
                    await asyncio.shield(self._ask(bucket))
        except (RedisError, OSError):  # TimeoutError is an OSError
            self._went_away()
            return False
        return True

    def _ask(self, bucket: _Bucket) -> asyncio.Future[None]:
        if bucket.asked is None or bucket.asked.done():
            bucket.asked = asyncio.get_running_loop().create_future()
            # Whoever asks in the background does not wait; a failure then shows at the next call.
            bucket.asked.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
            self._wanted.append(bucket)
            self._arrived.set()
        return bucket.asked

    def _local(self, bucket: _Bucket, now: float, *, strict: bool) -> float:
        """The same algorithm in memory, for one process."""
        period = bucket.period * (2 if strict else 1)
        burst = max(1, bucket.burst // (2 if strict else 1))
        full_at = max(bucket.local_full_at, now)
        wait = full_at + period - now - burst * period
        if wait > 0:
            return wait
        bucket.local_full_at = full_at + period
        return 0.0

    def _went_away(self) -> None:
        if time.monotonic() >= self._away_until:
            log.warning("rate limits are kept per process: Redis does not answer")
        self._away_until = time.monotonic() + _BREAK

    async def _keep_asking(self) -> None:
        """Root of the task: one pipeline at a time for all buckets that want tokens."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            batch = list(self._wanted)
            self._wanted.clear()
            try:
                answers = await self._exchange(batch)
            except (RedisError, OSError) as problem:
                self._went_away()
                for bucket in batch:
                    _fail(bucket, problem)
                continue
            for bucket, (taken, wait) in zip(batch, answers, strict=True):
                _fill(bucket, int(taken), int(wait))

    async def _exchange(self, batch: list[_Bucket]) -> list[Any]:
        if not self._sha:
            self._sha = await self._redis.script_load(_TAKE)
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for bucket in batch:
                    pipeline.execute_command(  # not evalsha(), which a cluster's pipeline does not have
                        "EVALSHA",
                        self._sha,
                        1,
                        bucket.key,
                        round(bucket.period * 1e6),
                        bucket.burst,
                        bucket.share,
                        bucket.unused,
                    )
                return list(await pipeline.execute())
        except NoScriptError:  # Redis was restarted or flushed; the next attempt loads it again
            self._sha = ""
            return await self._exchange(batch)


def _fill(bucket: _Bucket, taken: int, wait_us: int) -> None:
    now = time.monotonic()
    if taken:
        # Who comes back quickly gets more at a time, up to half of the burst: the rest is for the other processes.
        quick = now - bucket.taken_at < 1.0
        bucket.share = min(bucket.share * 2, max(1, bucket.burst // 2)) if quick else 1
        bucket.tokens += taken
        bucket.taken_at = now
    else:
        bucket.refused_until = now + wait_us / 1e6
        bucket.share = 1
    bucket.unused = 0
    if bucket.asked is not None and not bucket.asked.done():
        bucket.asked.set_result(None)


def _fail(bucket: _Bucket, problem: Exception) -> None:
    if bucket.asked is not None and not bucket.asked.done():
        bucket.asked.set_exception(problem)
