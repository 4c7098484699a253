"""What an operator needs to see of the work behind the calls: jobs, invoices, people who wait, answers and their cost.

Read from PostgreSQL by each worker, because these figures belong to the system and not to a process: over several
workers an alert takes the maximum. While PostgreSQL is away the last figures stay, and `tria_worker_connected` says so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final, LiteralString

from prometheus_client import CollectorRegistry, Counter, Gauge

from server.accounting.invoice_store import UNSETTLED
from server.db.pool import Connection, Database
from server.errors import AppError
from server.jobs import JobStats

log = logging.getLogger(__name__)

_INTERVAL = 5.0
_ALL_INVOICES = 300.0  # seconds between counts of the whole table, which only grows; what is on its way has an index

COUNT_JOBS: Final[LiteralString] = """
select count(*) filter (where status = 'queued' and execute_after <= now()) as queued,
       count(*) filter (where status = 'picked') as running,
       count(*) filter (where status = 'failed') as held,
       coalesce(max(extract(epoch from now() - execute_after))
                filter (where status = 'queued' and execute_after <= now()), 0)::float8 as oldest
from pgqueuer"""

COUNT_INVOICES: Final[LiteralString] = """
select state, count(*) as invoices from invoice group by state"""

COUNT_UNSETTLED: Final[LiteralString] = (
    "select state, count(*) as invoices from invoice where " + UNSETTLED + " group by state"
)

INVOICES_IN_TROUBLE: Final[LiteralString] = (
    """
select (select count(*) from invoice where failed_at is not null) as stopped,
       (select coalesce(max(extract(epoch from now() - create_time)), 0)::float8 from invoice where """
    + UNSETTLED
    + ") as oldest"
)

# By tenant, as the index on `run` has it.
ANSWERS: Final[LiteralString] = """
select coalesce(sum(ended.cost_micros), 0)::float8 as cost_micros,
       coalesce(sum(ended.lost), 0)::bigint as lost
from tenant
cross join lateral (
    select sum(cost_micros) as cost_micros,
           count(*) filter (where state in ('FAILED', 'INTERRUPTED')
                            and end_time > now() - interval '5 minutes') as lost
    from run
    where run.tenant = tenant.id and end_time is not null and end_time > now() - interval '1 hour'
) as ended"""

HAND_OFFS: Final[LiteralString] = """
select count(*) as waiting, count(*) filter (where due_time < now()) as overdue
from hand_off where close_time is null and take_time is null"""

_STATES: Final = (
    "NOT_CONNECTED", "QUEUED", "WAITING_BUDGET", "SENDING", "OUTCOME_UNKNOWN", "DRAFT", "AUTHORISED", "PAID", "VOIDED",
    "MISMATCH", "NEEDS_ATTENTION",
)  # fmt: skip
_ON_THEIR_WAY: Final = ("QUEUED", "WAITING_BUDGET", "SENDING", "OUTCOME_UNKNOWN")
_OUTCOMES: Final = ("succeeded", "retried", "postponed", "held")


class WorkMetrics:
    """Figures in the registry of one worker; `entrypoints` are the names of the jobs that it runs."""

    def __init__(self, registry: CollectorRegistry, entrypoints: Sequence[str]) -> None:
        def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        self._connected = gauge("tria_worker_connected", "1 while this worker has its jobs' PostgreSQL.")
        self._jobs = gauge("tria_jobs", "Jobs: queued and due, running, held for a person.", ["state"])
        self._oldest_job = gauge("tria_jobs_oldest_seconds", "For how long the oldest due job has waited.")
        self._invoices = gauge("tria_invoices", "Invoices by state; settled ones at most five minutes ago.", ["state"])
        self._stopped = gauge("tria_invoices_stopped", "Invoices that a person must look at (dead letters).")
        self._oldest_invoice = gauge("tria_invoices_oldest_seconds", "Age of the oldest invoice on its way.")
        self._cost = gauge("tria_answers_cost_micros_last_hour", "Millionths of a USD that answers cost.")
        self._lost = gauge("tria_answers_lost_last_5m", "Answers that failed or were interrupted.")
        self._waiting = gauge("tria_hand_offs_waiting", "Conversations that wait for a member of staff.")
        self._overdue = gauge("tria_hand_offs_overdue", "Of those, how many wait longer than promised.")
        self._ended = Counter(
            "tria_jobs_ended", "Attempts at jobs, by how they ended.", ["entrypoint", "outcome"], registry=registry
        )
        self._reconnects = Counter("tria_worker_reconnects", "Losses of the jobs' PostgreSQL.", registry=registry)
        self._counted: dict[tuple[str, str], int] = {}
        self._losses = 0
        self._entrypoints = tuple(entrypoints)
        self._count_all_at = 0.0

    async def keep_sampling(self, database: Database, stats: JobStats) -> None:
        """Samples until cancelled."""
        while True:
            self.count(stats)
            try:
                async with database.connection() as connection:
                    await self.sample(connection)
            except AppError as away:
                log.debug("the work is not measured: %s", away)
            except Exception:  # the root of a background task: figures are no reason to end what posts invoices
                log.exception("the work is not measured")
            await asyncio.sleep(_INTERVAL)

    def count(self, stats: JobStats) -> None:
        """What this worker has done; needs no database."""
        self._connected.set(stats.connected)
        self._reconnects.inc(stats.reconnects - self._losses)
        self._losses = stats.reconnects
        for outcome in _OUTCOMES:
            counts = getattr(stats, outcome)
            for entrypoint in self._entrypoints:
                seen = self._counted.get((entrypoint, outcome), 0)
                self._ended.labels(entrypoint, outcome).inc(counts[entrypoint] - seen)
                self._counted[entrypoint, outcome] = counts[entrypoint]

    async def sample(self, connection: Connection) -> None:
        """One look at the database."""
        jobs, invoices, answers, people = [
            dict(await connection.fetchrow(query) or {})
            for query in (COUNT_JOBS, INVOICES_IN_TROUBLE, ANSWERS, HAND_OFFS)
        ]
        for state in ("queued", "running", "held"):
            self._jobs.labels(state).set(jobs[state])
        self._oldest_job.set(jobs["oldest"])
        await self._sample_invoices(connection)
        self._stopped.set(invoices["stopped"])
        self._oldest_invoice.set(invoices["oldest"])
        self._cost.set(answers["cost_micros"])
        self._lost.set(answers["lost"])
        self._waiting.set(people["waiting"])
        self._overdue.set(people["overdue"])

    async def _sample_invoices(self, connection: Connection) -> None:
        everything = time.monotonic() >= self._count_all_at
        if everything:
            self._count_all_at = time.monotonic() + _ALL_INVOICES
        rows = await connection.fetch(COUNT_INVOICES if everything else COUNT_UNSETTLED)
        found = {row["state"]: row["invoices"] for row in rows}
        for state in _STATES if everything else _ON_THEIR_WAY:
            self._invoices.labels(state).set(found.get(state, 0))
