"""What an operator needs to see of the log: what waits, whether anybody leads, what is signed and what has arrived."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

from prometheus_client import CollectorRegistry, Counter, Gauge

from server.audit.courier import Courier
from server.audit.notary import Notary
from server.audit.sequencer import Sequencer
from server.db.pool import Connection, Database
from server.errors import AppError

log = logging.getLogger(__name__)

_INTERVAL = 2.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """Counts, and ages in seconds (0 when nothing waits)."""

    pending: int
    pending_age: float
    quarantined: int
    unsealed_age: float


_BACKLOG: LiteralString = """
    select (select count(*) from audit_pending) as pending,
           (select coalesce(extract(epoch from now() - min(occurred_at)), 0)::float8 from audit_pending) as pending_age,
           (select count(*) from audit_quarantine) as quarantined,
           (select coalesce(max(extract(epoch from now() - event.recorded_at)), 0)::float8
            from audit_tree as tree
            cross join lateral (select coalesce(max(size), 0) as size from audit_checkpoint as checkpoint
                                where checkpoint.tenant = tree.tenant) as sealed
            join audit_event as event on event.tenant = tree.tenant and event.seq = sealed.size
            where tree.size > sealed.size) as unsealed_age
"""


async def backlog(connection: Connection) -> Backlog:
    """What waits to be appended, and since when events wait for a checkpoint."""
    row = await connection.fetchrow(_BACKLOG)
    assert row is not None  # noqa: S101  # a select without a from has one row
    return Backlog(**row)


_LAG: LiteralString = """
    select count(*) as waiting, coalesce(extract(epoch from now() - min(signed_at)), 0)::float8 as age
    from audit_checkpoint as checkpoint
    where signed_at >= coalesce((select max(signed_at) from audit_checkpoint_push where sink = $1), '-infinity')
      and not exists (
        select from audit_checkpoint_push as push
        where push.sink = $1 and push.tenant = checkpoint.tenant and push.size = checkpoint.size
          and push.key_id = checkpoint.key_id)
"""


async def lag(connection: Connection, sink: str) -> tuple[int, float]:
    """How many checkpoints wait for the sink, and for how many seconds the oldest."""
    row = await connection.fetchrow(_LAG, sink)
    return (row["waiting"], row["age"]) if row else (0, 0.0)


class LogMetrics:
    """Figures of the log in the registry of one worker. Gauges of the database are the same in every worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        self._pending = gauge("tria_audit_backlog", "Audit leaves that wait for their place in the log.")
        self._pending_age = gauge("tria_audit_backlog_age_seconds", "Age of the oldest of them.")
        self._quarantined = gauge("tria_audit_quarantined", "Rows set aside as no leaves; a person must look at them.")
        self._unsealed = gauge("tria_audit_unsealed_age_seconds", "Age of the oldest event under no checkpoint.")
        self._leader = gauge("tria_audit_leader", "1 while this process leads the log; over all workers it must be 1.")
        self._lag = gauge("tria_audit_sink_waiting", "Checkpoints that a sink does not have.", ["sink"])
        self._lag_age = gauge("tria_audit_sink_lag_seconds", "Age of the oldest of them.", ["sink"])
        self._counters = {
            name: Counter(f"tria_audit_{name}", text, registry=registry)
            for name, text in (
                ("leaves", "Leaves appended to the log."),
                ("batches", "Batches appended to the log."),
                ("doubled_leaves", "Leaves that came again and were in the log already."),
                ("sequencer_failures", "Batches that failed for another reason than a lost database."),
                ("checkpoints", "Checkpoints signed."),
                ("checkpoints_refused", "Trees that do not continue what was signed: tampering. Must stay 0."),
            )
        }
        self._failures = Counter("tria_audit_sink_failures", "Pushes that failed.", ["sink"], registry=registry)
        self._counted: dict[tuple[str, str], int] = {}

    async def keep_sampling(
        self, database: Database, sequencer: Sequencer, notary: Notary, couriers: Sequence[Courier]
    ) -> None:
        """Samples until cancelled."""
        while True:
            try:
                await self.sample(database, sequencer, notary, couriers)
            except AppError as away:
                log.debug("the audit log is not measured: %s", away)
            await asyncio.sleep(_INTERVAL)

    async def sample(
        self, database: Database, sequencer: Sequencer, notary: Notary, couriers: Sequence[Courier]
    ) -> None:
        """One look. Raises AppError while the database is away; what needs none is set before."""
        stats = sequencer.stats
        self._leader.set(stats.leading)
        for name, count in (
            ("leaves", stats.leaves),
            ("batches", stats.batches),
            ("doubled_leaves", stats.doubled),
            ("sequencer_failures", stats.failures),
            ("checkpoints", notary.stats.signed),
            ("checkpoints_refused", notary.stats.refused),
        ):
            self._add(self._counters[name], (name, ""), count)
        for courier in couriers:
            self._add(self._failures.labels(courier.sink), ("sink", courier.sink), courier.stats.failures)
        async with database.connection() as connection:
            waiting = await backlog(connection)
            lags = {courier.sink: await lag(connection, courier.sink) for courier in couriers}
        self._pending.set(waiting.pending)
        self._pending_age.set(waiting.pending_age)
        self._quarantined.set(waiting.quarantined)
        self._unsealed.set(waiting.unsealed_age)
        for sink, (count, age) in lags.items():
            self._lag.labels(sink).set(count)
            self._lag_age.labels(sink).set(age)

    def _add(self, counter: Counter, name: tuple[str, str], count: int) -> None:
        counter.inc(count - self._counted.get(name, 0))
        self._counted[name] = count
