"""What each tenant's answers cost in the running hour, and how much they may cost.

The rows of runs are the truth. Redis holds their sum for the hour, so that asking is cheap: whoever finds none there
reads it from the rows, and every answer adds its cost as it ends. Without Redis the rows are read again every few
seconds. Concurrent answers are not reserved for: an hour may end above its limit by what was going on.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from redis.asyncio import Redis

from server.chat.redis_gate import Away, RedisGate
from server.db.pool import Database
from server.errors import AppError

log = logging.getLogger(__name__)

_READ_AGAIN = 5.0  # seconds that a sum from the rows is good for
_HOUR = 3600
_MICROS = 1_000_000


class Level(StrEnum):
    """How much of the hour's money is spent."""

    WITHIN = "WITHIN"
    SOFT = "SOFT"
    HARD = "HARD"


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits per tenant and hour in the currency of the price table; 0 means none."""

    soft: Decimal = Decimal(0)
    hard: Decimal = Decimal(0)

    @property
    def limits(self) -> bool:
        return bool(self.soft or self.hard)

    def level(self, micros: int) -> Level:
        """What `micros` spent in an hour mean."""
        if self.hard and micros >= self.hard * _MICROS:
            return Level.HARD
        return Level.SOFT if self.soft and micros >= self.soft * _MICROS else Level.WITHIN


SPENT_SINCE_HOUR = """
select coalesce(sum(cost_micros), 0)::bigint from run
where tenant = $1 and end_time >= to_timestamp($2) and end_time is not null
"""

# Without a sum to add to there is none: whoever asks next begins it from the rows.
_ADD = "if redis.call('EXISTS', KEYS[1]) == 1 then return redis.call('INCRBY', KEYS[1], ARGV[1]) end return 0"


class Spending:
    """The running hour's costs, as one process sees them."""

    def __init__(self, redis: Redis, database: Database, budget: Budget, *, prefix: str = "tria:spent") -> None:
        self._redis = redis
        self._database = database
        self._budget = budget
        self._add = redis.register_script(_ADD)
        self._prefix = prefix
        self._rows: dict[tuple[str, int], tuple[float, int]] = {}
        self._gate = RedisGate("spending is read from the database")

    async def level(self, tenant: str) -> Level:
        """Where the tenant stands. When neither store answers it is within: money is lost slower than customers."""
        if not self._budget.limits or not tenant:
            return Level.WITHIN
        return self._budget.level(await self.spent(tenant))

    async def spent(self, tenant: str) -> int:
        """Micros of this hour."""
        hour = int(time.time()) // _HOUR
        try:
            held = await self._gate.ask(self._redis.get(self._key(tenant, hour)))
            if held is not None:
                return int(held)
            known = await self._from_rows(tenant, hour)
            await self._gate.ask(self._redis.set(self._key(tenant, hour), known, ex=2 * _HOUR, nx=True))
        except Away:
            return await self._from_rows(tenant, hour)
        return known

    async def add(self, tenant: str, micros: int) -> None:
        """An answer ended and cost so much. Never fails: the rows know it anyway."""
        if micros <= 0 or not tenant or not self._budget.limits:
            return
        hour = int(time.time()) // _HOUR
        until, known = self._rows.get((tenant, hour), (0.0, 0))
        self._rows[tenant, hour] = (until, known + micros)
        try:
            await self._gate.ask(self._add(keys=[self._key(tenant, hour)], args=[micros]))
        except Away:
            return

    async def _from_rows(self, tenant: str, hour: int) -> int:
        until, known = self._rows.get((tenant, hour), (0.0, 0))
        if time.monotonic() < until:
            return known
        try:
            async with self._database.connection() as connection:
                stored: int = await connection.fetchval(SPENT_SINCE_HOUR, tenant, hour * _HOUR)
        except AppError as away:
            log.debug("spending as it was", extra={"reason": away.reason})
            return known
        self._rows = {held: value for held, value in self._rows.items() if held[1] >= hour}
        self._rows[tenant, hour] = (time.monotonic() + _READ_AGAIN, max(stored, 0))
        return stored

    def _key(self, tenant: str, hour: int) -> str:
        return f"{self._prefix}:{{{hashlib.sha256(tenant.encode()).hexdigest()[:16]}}}:{hour}"
