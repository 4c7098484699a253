"""How many calls the books allow, shared by all processes through Redis: a minute, a day, and so many at once.

Each call takes a place by one Lua call and gives it back with what the books' headers said; a holder that dies loses
its place when the lease ends. Without Redis a process falls back to a share of its own, small and fixed, which the
shared count never hands out: together they stay within the limits whoever sees Redis and whoever does not. Where there
are as many processes as places the share is nothing, and no call is made until Redis is back.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from redis.asyncio import Redis
from redis.exceptions import RedisError

from server.accounting.books import Throttled
from server.accounting.budget_script import GIVE_BACK, PEEK, TAKE

log = logging.getLogger(__name__)

_PATIENCE = 1.0  # seconds that one question to Redis may take
_AWAY = 1.0  # seconds without asking Redis after it failed
_MINUTE, _DAY = 60.0, 86_400.0
_MOST_OWED = 1000  # the rest ends with its lease
_SPREAD = 0.2  # what a delay is stretched by at most, so that those who were held back do not return as one herd


class Lane(StrEnum):
    """Who a call is for. Jobs leave a part of the day to people."""

    PEOPLE = "PEOPLE"
    JOBS = "JOBS"


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """What the books allow one organisation; `processes` share it. Times are seconds: `lease` is the longest that a
    call may run."""

    minute: int = 60
    day: int = 5000
    concurrency: int = 5
    people_reserve: int = 500
    processes: int = 1
    lease: float = 90.0

    @property
    def local(self) -> BudgetLimits:
        """What one process may do by itself while Redis is away."""
        alone = 1 if self.processes < self.concurrency else 0
        return BudgetLimits(
            self.minute // 10 // self.processes * alone, self.day // 10 // self.processes * alone, alone, 0, 1
        )

    @property
    def shared(self) -> BudgetLimits:
        """What is handed out through Redis: all but the local shares."""
        local, count = self.local, self.processes
        return BudgetLimits(
            self.minute - local.minute * count,
            self.day - local.day * count,
            self.concurrency - local.concurrency * count,
            self.people_reserve,
            count,
            self.lease,
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Leave to make one call."""

    tenant: str
    token: str
    local: bool


@dataclass(frozen=True, slots=True)
class Spent:
    """How a call went: `sent` False when nothing can have reached the books; what their headers leave, where they say
    so; and for how many seconds they want nothing more, by which limit."""

    sent: bool = True
    minute_left: int | None = None
    day_left: int | None = None
    block: float = 0.0
    limit: str = ""


@dataclass(frozen=True, slots=True)
class BudgetView:
    """What is left; the day is counted backwards from now. Times are seconds until something frees up."""

    limits: BudgetLimits
    minute_left: int
    day_left: int
    running: int
    degraded: bool
    minute_free_in: float
    day_free_in: float
    blocked_for: float

    def eta(self, calls: int) -> float:
        """When so many more calls of jobs will have been made, as far as can be known now."""
        if calls <= 0:
            return 0.0
        if calls > self.day_left - self.limits.people_reserve:
            return max(self.blocked_for, self.day_free_in)
        over = calls - self.minute_left
        if over <= 0:
            return self.blocked_for
        return self.blocked_for + max(self.minute_free_in, over / max(1, self.limits.minute) * _MINUTE)


@dataclass(slots=True)
class _Own:
    """What this process knows of a tenant by itself. Times are of `time.monotonic`."""

    blocked_until: float = 0.0
    blocked_by: str = ""
    running: int = 0
    ended: deque[float] = field(default_factory=deque)  # local calls of the last day


class Budget:
    """The budgets of all tenants, as one process sees them."""

    def __init__(self, redis: Redis, limits: BudgetLimits, *, prefix: str = "tria:books") -> None:
        self._redis = redis
        self._limits = limits
        self._shared = limits.shared
        self._share = limits.local
        self._prefix = prefix
        self._take, self._give_back, self._peek = (redis.register_script(text) for text in (TAKE, GIVE_BACK, PEEK))
        self._own: dict[str, _Own] = {}
        self._away_until = 0.0
        # Places that Redis may still count as ours: given back when it was away, or taken by a question whose answer
        # never came.
        self._owed: deque[tuple[Place, Spent]] = deque(maxlen=_MOST_OWED)

    async def take(self, tenant: str, lane: Lane, wait: float) -> Place:
        """A place, waited for at most `wait` seconds. Raises Throttled with the delay when that would not do."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            place, delay, limit = await self._ask(tenant, lane)
            if place is not None:
                return place
            if loop.time() + delay > deadline:
                # Each way out is a job that comes back later: not all in the same moment.
                raise Throttled(limit, delay * (1 + random.uniform(0, _SPREAD)))  # noqa: S311 - a spread, not a secret
            await asyncio.sleep(delay)

    async def give_back(self, place: Place, spent: Spent) -> None:
        """Ends the use of a place. Never fails: a place that cannot be given back ends with its lease."""
        own = self._own.setdefault(place.tenant, _Own())
        if spent.block > 0:
            own.blocked_until = max(own.blocked_until, time.monotonic() + spent.block)
            own.blocked_by = spent.limit
        if place.local:
            own.running -= 1
            if spent.sent:
                own.ended.append(time.monotonic())
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._settle(place, spent)
        except (RedisError, OSError) as gone:  # TimeoutError is an OSError
            self._owed.append((place, spent))
            self._went_away(gone)

    async def peek(self, tenant: str) -> BudgetView:
        """What is left, without taking anything."""
        own = self._own.get(tenant, _Own())
        blocked = max(0.0, own.blocked_until - time.monotonic())
        if time.monotonic() >= self._away_until:
            try:
                async with asyncio.timeout(_PATIENCE):
                    seen = [int(each) for each in await self._peek(keys=self._keys(tenant), args=[])]
            except (RedisError, OSError) as gone:
                self._went_away(gone)
            else:
                minute, day, running, held, minute_free, day_free = seen
                return BudgetView(
                    limits=self._shared,
                    minute_left=max(0, self._shared.minute - minute),
                    day_left=max(0, self._shared.day - day),
                    running=running,
                    degraded=False,
                    minute_free_in=minute_free / 1000,
                    day_free_in=day_free / 1000,
                    blocked_for=max(blocked, held / 1000),
                )
        minute_left, minute_free_in = self._left(own, self._share.minute, _MINUTE)
        day_left, day_free_in = self._left(own, self._share.day, _DAY)
        return BudgetView(self._share, minute_left, day_left, own.running, True, minute_free_in, day_free_in, blocked)

    async def _ask(self, tenant: str, lane: Lane) -> tuple[Place | None, float, str]:
        """A place, or how long to wait and for which limit."""
        own = self._own.setdefault(tenant, _Own())
        now = time.monotonic()
        if now < own.blocked_until:
            return None, own.blocked_until - now, own.blocked_by
        if now < self._away_until:
            return self._local(tenant, own)
        limits, token = self._shared, secrets.token_hex(8)
        day = limits.day - (limits.people_reserve if lane is Lane.JOBS else 0)
        arguments: list[str | float] = [token, limits.minute, day, limits.concurrency, int(limits.lease * 1000)]
        place = Place(tenant, token, local=False)
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._settle_owed()
                taken, delay, limit = await self._take(keys=self._keys(tenant), args=arguments)
        except (RedisError, OSError) as gone:
            self._owed.append((place, Spent(sent=False)))
            self._went_away(gone)
            return self._local(tenant, own)
        except asyncio.CancelledError:
            self._owed.append((place, Spent(sent=False)))
            raise
        if taken:
            return place, 0.0, ""
        return None, max(0.001, int(delay) / 1000), limit.decode() if isinstance(limit, bytes) else str(limit)

    async def _settle_owed(self) -> None:
        while self._owed:
            owed = self._owed.popleft()
            try:
                await self._settle(*owed)
            except (RedisError, OSError, asyncio.CancelledError):
                self._owed.append(owed)
                raise

    async def _settle(self, place: Place, spent: Spent) -> None:
        # What is set aside for the time without Redis is not ours to use, whatever the books would still allow.
        minute_aside, day_aside = self._limits.minute - self._shared.minute, self._limits.day - self._shared.day
        arguments: list[str | float] = [
            place.token,
            int(spent.sent),
            -1 if spent.minute_left is None else max(0, spent.minute_left - minute_aside),
            -1 if spent.day_left is None else max(0, spent.day_left - day_aside),
            self._shared.minute,
            self._shared.day,
            int(spent.block * 1000),
            spent.limit,
        ]
        await self._give_back(keys=self._keys(place.tenant), args=arguments)

    def _local(self, tenant: str, own: _Own) -> tuple[Place | None, float, str]:
        if own.running >= self._share.concurrency:
            return None, 0.25 if self._share.concurrency else _AWAY, "concurrent"
        for limit, most, window in (("day", self._share.day, _DAY), ("minute", self._share.minute, _MINUTE)):
            left, free_in = self._left(own, most, window)
            if left <= 0:
                return None, min(max(free_in, 0.1), _MINUTE), limit  # Redis may be back long before the day is over
        own.running += 1
        return Place(tenant, "", local=True), 0.0, ""

    @staticmethod
    def _left(own: _Own, most: int, window: float) -> tuple[int, float]:
        """What is left of a local share, and the seconds until one call more is."""
        now = time.monotonic()
        while own.ended and own.ended[0] <= now - _DAY:
            own.ended.popleft()
        recent = [at for at in own.ended if at > now - window]
        return most - own.running - len(recent), (recent[0] + window - now) if recent else _MINUTE

    def _went_away(self, why: Exception) -> None:
        if time.monotonic() >= self._away_until:
            log.warning("the shared budget of calls is away (%s): each process keeps to its share", type(why).__name__)
        self._away_until = time.monotonic() + _AWAY

    def _keys(self, tenant: str) -> list[str]:
        return [f"{self._prefix}:{{{tenant}}}:{part}" for part in ("minute", "leases", "day", "blocked")]
