"""Background jobs: PgQueuer on PostgreSQL, run by `tria worker`.

A job is a row, so it is enqueued by the transaction whose consequence it is and exists exactly when that commits. It
runs at least once: a worker that is killed stops sending heartbeats and another one picks the job up again, so
handlers must be idempotent. A handler that fails is tried again after an exponential back-off with full jitter; one
that has used up its attempts, or takes its worker down with it, is *held* (status `failed`) for a person to look at,
never dropped.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import cast

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.core.executors import EntrypointExecutor, EntrypointExecutorParameters
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.domain.errors import FailingListenerError, RetryRequested
from pgqueuer.domain.models import Context, Job, Schedule
from pgqueuer.queries import Queries
from pgqueuer.types import JobId

from server.db.errors import AWAY
from server.db.pool import Connection
from server.waiting import within

log = logging.getLogger(__name__)

_BACKOFF_MAX = 10.0  # seconds between two attempts to reach PostgreSQL

_LOST = (*AWAY, asyncpg.PostgresError, asyncpg.InterfaceError, FailingListenerError)

# Picks without a matching 'queued' row (written by enqueue, retry and requeue) are picks whose worker died: PgQueuer
# itself counts only attempts that ended. Counted anew after a person has requeued a held job.
_CRASHES = """
select count(*) filter (where status = 'picked') - count(*) filter (where status = 'queued')
from pgqueuer_log
where job_id = $1
  and id > coalesce((select max(id) from pgqueuer_log where job_id = $1 and status = 'failed'), 0)"""

# PgQueuer adds one to `attempts` whenever it puts a job back.
_UNCOUNT = "update pgqueuer set attempts = attempts - 1 where id = $1 returning attempts"

_REACHABLE = "select 1"

_PRUNE_LOG = """
delete from pgqueuer_log where id in (
    select id from pgqueuer_log as old
    where created < now() - $1::interval and not exists (select from pgqueuer where pgqueuer.id = old.job_id)
    limit 10000)"""

_PRUNE_STATISTICS = "delete from pgqueuer_statistics where created < now() - $1::interval"


class Postpone(Exception):
    """Raised by a handler that must wait (a budget, a window): run it again after `delay` s; costs no attempt."""

    def __init__(self, delay: float, reason: str) -> None:
        super().__init__(reason)
        self.delay = delay


class Hold(Exception):
    """Raised by a handler for which another attempt is pointless: hold the job for a person."""


@dataclass(frozen=True, slots=True)
class Entrypoint:
    """One kind of job: `handler(payload)` runs it, at most `concurrency` at once over all workers (0: no limit).

    A failing job is executed `max_attempts` times in all. The n-th pause is drawn from 0 to
    min(`max_delay`, `first_delay` * 2^n) seconds. `max_crashes` is how many workers it may take down before it is held.
    """

    name: str
    handler: Callable[[bytes], Awaitable[None]]
    concurrency: int = 0
    max_attempts: int = 8
    first_delay: float = 1.0
    max_delay: float = 300.0
    max_crashes: int = 3


@dataclass(frozen=True, slots=True)
class Periodic:
    """Work by the clock: `handler()` at each tick of `cron` (five fields, UTC), once over all workers."""

    name: str
    cron: str
    handler: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Times in seconds. `heartbeat` is the silence after which a job is taken from its worker.

    `grace` is what running jobs get to finish at shutdown; what is left then is put back and started again elsewhere.
    `poll` is the longest a job waits if its notification was lost. `keep_log` is how long finished jobs are remembered.
    """

    heartbeat: float = 30.0
    poll: float = 5.0
    grace: float = 20.0
    batch: int = 10
    concurrency: int = 40
    keep_log: float = 30 * 86400.0


@dataclass(slots=True)
class JobStats:
    """What this worker has done since it started, by entrypoint; `reconnects` counts losses of PostgreSQL."""

    succeeded: Counter[str] = field(default_factory=Counter)
    retried: Counter[str] = field(default_factory=Counter)
    postponed: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    reconnects: int = 0
    connected: bool = False


async def enqueue(
    connection: Connection | asyncpg.Connection,
    entrypoint: str,
    payload: bytes,
    dedupe_key: str | None = None,
    *,
    delay: float = 0.0,
    priority: int = 0,
    headers: Mapping[str, str] | None = None,
) -> int | None:
    """Add a job on `connection`, in its transaction if one is open; it may start `delay` s after the commit. Of the
    jobs that may start, those of higher `priority` do first.

    Returns the job's id, or None when a job with `dedupe_key` is already queued or running (the transaction stays
    usable). Raises the driver's errors: call it inside `Database.transaction()`, which translates them.
    """
    queries = Queries(AsyncpgDriver(cast("asyncpg.Connection", connection)))
    (job_id,) = await queries.enqueue(
        entrypoint,
        payload,
        priority,
        execute_after=timedelta(seconds=delay),
        dedupe_key=dedupe_key,
        headers=dict(headers) if headers else None,
        on_conflict="skip",
    )
    return job_id


async def requeue(connection: Connection | asyncpg.Connection, job_ids: Sequence[int]) -> None:
    """Release held jobs: they start again with all their attempts. Ids of jobs that are not held are ignored."""
    queries = Queries(AsyncpgDriver(cast("asyncpg.Connection", connection)))
    await queries.requeue_jobs([JobId(job_id) for job_id in job_ids])


class JobRuntime:
    """Runs jobs until told to stop, whatever happens to PostgreSQL meanwhile. Makes its own small pool from `dsn`."""

    def __init__(
        self,
        dsn: str,
        entrypoints: Sequence[Entrypoint],
        periodics: Sequence[Periodic] = (),
        settings: JobSettings | None = None,
    ) -> None:
        self._dsn = dsn
        self._entrypoints = tuple(entrypoints)
        self._periodics = tuple(periodics)
        self._settings = settings or JobSettings()
        self._stopping = asyncio.Event()
        self.stats = JobStats()

    def request_stop(self) -> None:
        """Take no more jobs and make `run()` return when the running ones have ended. For a signal handler."""
        self._stopping.set()

    async def run(self) -> None:
        """Root of the worker. Raises RuntimeError when the queue's tables are missing (run the migrations first).

        Cancelling it is a shutdown without the grace: running jobs are put back in the queue.
        """
        backoff = 0.1
        while not self._stopping.is_set():
            try:
                await self._serve()
            except _LOST as lost:
                if self.stats.connected:
                    backoff = 0.1
                self.stats.connected = False
                self.stats.reconnects += 1
                log.warning("the job queue is not reachable (%s); trying again", type(lost).__name__)
                await within(self._stopping, backoff * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                backoff = min(backoff * 2, _BACKOFF_MAX)

    async def _serve(self) -> None:
        """Work until a stop is asked for or PostgreSQL is lost; jobs that run are always brought to an end first."""
        pool = await asyncpg.create_pool(
            self._dsn,
            min_size=2,
            max_size=6,
            timeout=5,
            command_timeout=60,
            server_settings={"application_name": "tria-worker"},
        )
        try:
            await self._run_managers(self._build(pool))
        finally:
            self.stats.connected = False
            pool.terminate()  # nothing is in use any more, and the listener's connection would be waited for

    def _build(self, pool: asyncpg.Pool) -> PgQueuer:
        queue = PgQueuer(AsyncpgPoolDriver(pool))
        for entrypoint in self._entrypoints:
            queue.qm.register_executor(entrypoint.name, _executor(entrypoint, pool, self.stats))
        for periodic in (*self._periodics, self._pruning(pool)):
            queue.schedule(periodic.name, periodic.cron)(_scheduled(periodic))
        return queue

    async def _run_managers(self, queue: PgQueuer) -> None:
        # Not PgQueuer.run(): when its scheduler fails it cancels the jobs that run, and PgQueuer *deletes* a cancelled
        # job. Here the failure of one manager only asks the other to finish.
        settings = self._settings
        await queue.qm.verify_structure()
        self.stats.connected = True
        jobs = asyncio.create_task(
            queue.qm.run(
                dequeue_timeout=timedelta(seconds=settings.poll),
                batch_size=settings.batch,
                max_concurrent_tasks=settings.concurrency,
                shutdown_on_listener_failure=True,
                heartbeat_timeout=timedelta(seconds=settings.heartbeat),
            ),
            name="job-queue",
        )
        clock = asyncio.create_task(queue.sm.run(), name="job-clock")
        stop = asyncio.create_task(self._stopping.wait(), name="job-stop")
        patience = 1.0  # seconds; if this is cancelled, what runs is put back almost at once
        try:
            await asyncio.wait({jobs, clock, stop}, return_when=asyncio.FIRST_COMPLETED)
            patience = settings.grace
        finally:
            stop.cancel()
            queue.shutdown.set()
            await _wind_down({jobs, clock}, patience)
        ended = [manager.exception() for manager in (jobs, clock) if not manager.cancelled()]
        failures = [failure for failure in ended if failure is not None]
        if failures:
            raise min(failures, key=lambda failure: isinstance(failure, _LOST))  # a defect before a lost connection

    def _pruning(self, pool: asyncpg.Pool) -> Periodic:
        keep = timedelta(seconds=self._settings.keep_log)

        async def prune() -> None:
            deleted = "DELETE 10000"
            while deleted == "DELETE 10000":  # in portions, each its own transaction
                deleted = await pool.execute(_PRUNE_LOG, keep)
            await pool.execute(_PRUNE_STATISTICS, keep)

        return Periodic("prune_job_log", "17 * * * *", prune)


async def _wind_down(managers: set[asyncio.Task[None]], patience: float) -> None:
    """Let the managers end by themselves for `patience` s, then cancel what they run until they have ended."""
    try:
        await asyncio.wait(managers, timeout=patience)
    finally:
        running = {manager for manager in managers if not manager.done()}
        while running:
            # Repeated, because PgQueuer passes a cancellation on to its jobs only while it waits for them.
            for manager in running:
                manager.cancel()
            _, running = await asyncio.wait(running, timeout=5.0)


def _scheduled(periodic: Periodic) -> Callable[[Schedule], Awaitable[None]]:
    async def tick(_: Schedule) -> None:
        await periodic.handler()

    return tick


def _executor(entrypoint: Entrypoint, pool: asyncpg.Pool, stats: JobStats) -> _Guarded:
    async def handle(job: Job) -> None:
        await entrypoint.handler(job.payload or b"")

    parameters = EntrypointExecutorParameters(func=handle, concurrency_limit=entrypoint.concurrency, on_failure="hold")
    return _Guarded(parameters, entrypoint, pool, stats)


@dataclass
class _Guarded(EntrypointExecutor):
    """Decides what a failure means: another attempt later, a pause that costs nothing, or held for a person.

    What leaves `execute` other than RetryRequested is logged by PgQueuer, with its traceback, and holds the job.
    """

    rules: Entrypoint
    pool: asyncpg.Pool
    stats: JobStats

    async def execute(self, job: Job, context: Context) -> None:
        name = self.rules.name
        try:
            await self._attempt(job, context)
        except RetryRequested:
            raise
        except Exception:  # counted only; PgQueuer logs it
            self.stats.held[name] += 1
            raise
        self.stats.succeeded[name] += 1

    async def _attempt(self, job: Job, context: Context) -> None:
        try:
            await self._refuse_poison(job)
            await super().execute(job, context)
        except Hold:
            raise
        except Postpone as wait:
            self.stats.postponed[self.rules.name] += 1
            await self._ask(_UNCOUNT, job.id)
            raise RetryRequested(timedelta(seconds=wait.delay), str(wait)) from wait
        except asyncio.CancelledError as stopped:
            # The one place where a cancellation is turned into something else: PgQueuer would record the job as
            # "canceled" and delete it, and a worker that is asked to hurry must not lose work.
            raise RetryRequested(timedelta(0), "the worker stopped") from stopped
        except Exception as failure:  # the root of a background task: whatever a handler raises costs an attempt
            if job.attempts + 1 >= self.rules.max_attempts:
                raise
            self.stats.retried[self.rules.name] += 1
            await self._ask(_REACHABLE)
            raise RetryRequested(self._delay(job.attempts), type(failure).__name__) from failure

    async def _refuse_poison(self, job: Job) -> None:
        crashes = await self._ask(_CRASHES, job.id)
        if crashes >= self.rules.max_crashes:
            raise Hold(f"{crashes} workers ended while they ran this job")

    async def _ask(self, sql: str, *arguments: object) -> int:
        """Query the queue, waiting for PostgreSQL while it is away.

        PgQueuer holds a job whose bookkeeping fails; a job that did nothing wrong must not end that way because
        PostgreSQL was restarted at that moment.
        """
        pause = 0.1
        while True:
            try:
                answer: int = await self.pool.fetchval(sql, *arguments)
            except (*AWAY, asyncpg.InterfaceError):  # the latter: lost between the pool and the query
                await asyncio.sleep(pause)
                pause = min(pause * 2, _BACKOFF_MAX)
            else:
                return answer

    def _delay(self, attempts: int) -> timedelta:
        """Full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015)."""
        ceiling = min(self.rules.max_delay, self.rules.first_delay * 2 ** min(attempts, 30))
        return timedelta(seconds=random.uniform(0, ceiling))  # noqa: S311 - jitter, not a secret
