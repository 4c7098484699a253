"""Brings each checkpoint to each sink, in order, again and again until the sink has taken it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

from server.audit.sinks import Sink, SinkFailed
from server.audit.tree_store import SignedHead
from server.db.pool import Connection, Database
from server.errors import AppError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CourierSettings:
    """Times in seconds: `poll` between looks, `backoff` after the first failure, doubled up to `backoff_max`."""

    batch: int = 100
    poll: float = 0.5
    backoff: float = 0.5
    backoff_max: float = 60.0


@dataclass(slots=True)
class CourierStats:
    """Counts since the start."""

    pushed: int = 0
    failures: int = 0


class Courier:
    """Serves one sink while this process leads the log (`leads` is set)."""

    def __init__(
        self, database: Database, sink: Sink, leads: asyncio.Event, settings: CourierSettings | None = None
    ) -> None:
        self._database = database
        self._sink = sink
        self._leads = leads
        self._settings = settings or CourierSettings()
        self.stats = CourierStats()

    @property
    def sink(self) -> str:
        """The sink's name."""
        return self._sink.name

    async def keep_pushing(self) -> None:
        """Root of the courier; until cancelled."""
        backoff = self._settings.backoff
        while True:
            await self._leads.wait()
            try:
                pushed = await self.push()
            except asyncio.CancelledError:
                raise
            except (SinkFailed, AppError) as failed:
                log.warning("checkpoints wait for the sink %s: %s", self.sink, failed)
            except Exception:  # the root of the courier: the next attempt may succeed, and the lag is measured
                log.exception("audit courier")
            else:
                backoff = self._settings.backoff
                if pushed < self._settings.batch:
                    await asyncio.sleep(self._settings.poll)
                continue
            self.stats.failures += 1
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            backoff = min(backoff * 2, self._settings.backoff_max)

    async def push(self) -> int:
        """Brings the next checkpoints over; how many. Raises SinkFailed and AppError."""
        async with self._database.connection() as connection:
            waiting = await _waiting(connection, self.sink, self._settings.batch)
        if waiting:
            await self._sink.push(waiting)
            async with self._database.connection() as connection:
                await _arrived(connection, self.sink, waiting)
            self.stats.pushed += len(waiting)
        return len(waiting)


_WAITING: LiteralString = """
    select tenant, size, root, note, key_id, signed_at from audit_checkpoint as checkpoint
    where signed_at >= coalesce((select max(signed_at) from audit_checkpoint_push where sink = $1), '-infinity')
      and not exists (
        select from audit_checkpoint_push as push
        where push.sink = $1 and push.tenant = checkpoint.tenant and push.size = checkpoint.size
          and push.key_id = checkpoint.key_id)
    order by signed_at, tenant, size limit $2
"""


async def _waiting(connection: Connection, sink: str, limit: int) -> list[SignedHead]:
    """The oldest checkpoints that the sink does not have."""
    return [SignedHead(**row) for row in await connection.fetch(_WAITING, sink, limit)]


_ARRIVED: LiteralString = """
    insert into audit_checkpoint_push (sink, tenant, size, key_id, signed_at)
    select $1, * from unnest($2::text[], $3::bigint[], $4::text[], $5::timestamptz[])
    on conflict do nothing
"""


async def _arrived(connection: Connection, sink: str, checkpoints: Sequence[SignedHead]) -> None:
    """Remembers that the sink has them."""
    await connection.execute(
        _ARRIVED,
        sink,
        [item.tenant for item in checkpoints],
        [item.size for item in checkpoints],
        [item.key_id for item in checkpoints],
        [item.signed_at for item in checkpoints],
    )
