"""Jobs on a real PostgreSQL: exactly with their transaction, again after a kill, held when they are poison."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from server.db.migrate import migrate
from server.db.pool import Database, PoolSettings
from server.embedded.postgres import EmbeddedPostgres
from server.jobs import Entrypoint, Hold, JobRuntime, JobStats, Periodic, Postpone, _executor, enqueue, requeue
from tests.support.stores import eventually
from tests.support.worker import CREATE_RAN, QUICK, entrypoints

REPOSITORY = Path(__file__).parents[2]


@pytest_asyncio.fixture
async def queue(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a migrated database with the table that jobs write to."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(CREATE_RAN)
    yield connection
    await connection.close()


@pytest.fixture
def workers(dsn: str) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts worker processes, which end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-m", "tests.support.worker", dsn], cwd=REPOSITORY)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@asynccontextmanager
async def running(runtime: JobRuntime) -> AsyncIterator[JobRuntime]:
    task = asyncio.create_task(runtime.run())
    try:
        yield runtime
    finally:
        runtime.request_stop()
        await asyncio.wait_for(task, 20)


async def ran(queue: asyncpg.Connection, what: str = "end") -> list[str]:
    rows = await queue.fetch("select entrypoint || ':' || payload as job from ran where what = $1 order by id", what)
    return [row["job"] for row in rows]


async def left(queue: asyncpg.Connection) -> list[tuple[str, str]]:
    rows = await queue.fetch("select entrypoint, status::text from pgqueuer order by id")
    return [(row["entrypoint"], row["status"]) for row in rows]


async def when(queue: asyncpg.Connection, *, status: str, entrypoint: str) -> None:
    async def so() -> bool:
        return (entrypoint, status) in await left(queue)

    await eventually(so)


async def drained(queue: asyncpg.Connection) -> None:
    async def so() -> bool:
        return not await left(queue)

    await eventually(so)


async def test_a_job_exists_exactly_when_its_transaction_commits(
    dsn: str, database: Database, queue: asyncpg.Connection
) -> None:
    async with database.transaction() as connection:
        assert await enqueue(connection, "quick", b"committed")
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the whole transaction is under test
        async with database.transaction() as connection:
            await enqueue(connection, "quick", b"rolled-back")
            raise ZeroDivisionError
    assert await left(queue) == [("quick", "queued")]
    async with running(JobRuntime(dsn, entrypoints(dsn), settings=QUICK)) as runtime:
        await drained(queue)
    assert await ran(queue) == ["quick:committed"]
    assert runtime.stats.succeeded["quick"] == 1


async def test_a_dedupe_key_lets_one_job_wait_and_leaves_the_transaction_usable(
    database: Database, queue: asyncpg.Connection
) -> None:
    async with database.transaction() as connection:
        assert await enqueue(connection, "quick", b"1", "invoice-7")
        assert await enqueue(connection, "quick", b"2", "invoice-7") is None
        assert await enqueue(connection, "quick", b"3", "invoice-8")
    assert len(await left(queue)) == 2


async def test_a_job_of_a_killed_worker_is_run_again(
    queue: asyncpg.Connection, workers: Callable[[], subprocess.Popen[bytes]]
) -> None:
    await enqueue(queue, "slow", b"3.0")
    victim = workers()

    async def started() -> bool:
        return await ran(queue, "start") == ["slow:3.0"]

    await eventually(started)
    victim.send_signal(signal.SIGKILL)
    workers()
    await drained(queue)
    assert await ran(queue, "start") == ["slow:3.0", "slow:3.0"]
    assert await ran(queue) == ["slow:3.0"]


async def test_poison_is_held_after_it_has_taken_down_two_workers_and_again_after_a_requeue(
    queue: asyncpg.Connection, workers: Callable[[], subprocess.Popen[bytes]]
) -> None:
    job_id = await enqueue(queue, "poison", b"")
    assert job_id
    for runs in (2, 4):
        for _ in range(2):
            assert await asyncio.to_thread(workers().wait, 20) == 9
        survivor = workers()
        await when(queue, entrypoint="poison", status="failed")
        assert survivor.poll() is None
        survivor.kill()
        assert len(await ran(queue, "start")) == runs
        await requeue(queue, [job_id])


async def test_sigterm_lets_a_short_job_finish_and_puts_a_long_one_back(
    queue: asyncpg.Connection, workers: Callable[[], subprocess.Popen[bytes]]
) -> None:
    await enqueue(queue, "slow", b"0.3")
    await enqueue(queue, "slow", b"60")
    worker = workers()

    async def started() -> bool:
        return len(await ran(queue, "start")) == 2

    await eventually(started)
    worker.terminate()
    assert await asyncio.to_thread(worker.wait, 10) == 0
    assert await ran(queue) == ["slow:0.3"]
    assert await left(queue) == [("slow", "queued")]


async def test_a_cancelled_runtime_loses_no_job(dsn: str, queue: asyncpg.Connection) -> None:
    await enqueue(queue, "slow", b"60")
    task = asyncio.create_task(JobRuntime(dsn, entrypoints(dsn), settings=QUICK).run())
    await when(queue, entrypoint="slow", status="picked")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await left(queue) == [("slow", "queued")]


async def test_failures_are_tried_again_and_then_held(dsn: str, queue: asyncpg.Connection) -> None:
    attempts: list[bytes] = []

    async def fail(payload: bytes) -> None:
        attempts.append(payload)
        if payload == b"twice" and attempts.count(payload) == 3:
            return
        raise ValueError(payload)

    await enqueue(queue, "fail", b"twice")
    await enqueue(queue, "fail", b"always")
    kind = Entrypoint("fail", fail, max_attempts=3, first_delay=0.02)
    async with running(JobRuntime(dsn, [kind], settings=QUICK)) as runtime:
        await when(queue, entrypoint="fail", status="failed")
        await eventually(lambda: _so(len(attempts) == 6))
    assert sorted(attempts) == [b"always"] * 3 + [b"twice"] * 3
    assert await left(queue) == [("fail", "failed")]
    assert (runtime.stats.retried["fail"], runtime.stats.held["fail"], runtime.stats.succeeded["fail"]) == (4, 1, 1)


async def test_postponing_costs_no_attempt_and_is_no_crash(dsn: str, queue: asyncpg.Connection) -> None:
    runs = 0

    async def wait(_: bytes) -> None:
        nonlocal runs
        runs += 1
        if runs <= 5:
            raise Postpone(0.01, "the budget of this minute is used up")
        if runs == 6:
            raise ValueError  # the first of two attempts

    await enqueue(queue, "wait", b"")
    kind = Entrypoint("wait", wait, max_attempts=2, max_crashes=1)
    async with running(JobRuntime(dsn, [kind], settings=QUICK)) as runtime:
        await drained(queue)
    assert runs == 7
    assert (runtime.stats.postponed["wait"], runtime.stats.held["wait"]) == (5, 0)


async def test_hold_skips_the_remaining_attempts(dsn: str, queue: asyncpg.Connection) -> None:
    async def refuse(_: bytes) -> None:
        raise Hold("the order has no tax code")

    await enqueue(queue, "refuse", b"")
    async with running(JobRuntime(dsn, [Entrypoint("refuse", refuse)], settings=QUICK)) as runtime:
        await when(queue, entrypoint="refuse", status="failed")
    assert (runtime.stats.retried["refuse"], runtime.stats.held["refuse"]) == (0, 1)


async def test_survives_postgres_killed_in_the_middle_of_a_job(stores_root: Path) -> None:
    server = EmbeddedPostgres(stores_root / "jobs", settings={"fsync": "off"})
    dsn = await server.start()
    try:
        await migrate(dsn)
        finished: list[bytes] = []
        started, gate = asyncio.Event(), asyncio.Event()

        async def work(payload: bytes) -> None:
            started.set()
            await gate.wait()
            finished.append(payload)

        async with (
            Database(dsn, PoolSettings(min_size=1, max_size=2)) as database,
            running(JobRuntime(dsn, [Entrypoint("work", work)], settings=QUICK)) as runtime,
        ):
            async with database.transaction() as connection:
                await enqueue(connection, "work", b"before")
            # Begun, not only picked: a job that is still looked at for poison would wait for PostgreSQL to come back.
            await asyncio.wait_for(started.wait(), 20)
            assert server.pid
            os.kill(server.pid, signal.SIGKILL)
            await server.wait_exit()
            gate.set()
            await eventually(lambda: _so(runtime.stats.reconnects > 0))
            await server.start()
            await eventually(lambda: _so(database.available and runtime.stats.connected), within=60)
            async with database.transaction() as connection:
                await enqueue(connection, "work", b"after")
            await eventually(lambda: _empty(database), within=60)
            assert set(finished) == {b"before", b"after"}
            assert runtime.stats.held["work"] == 0
    finally:
        await server.stop()


async def test_a_job_that_fails_while_postgres_is_away_is_retried_not_held(stores_root: Path) -> None:
    server = EmbeddedPostgres(stores_root / "jobs-away", settings={"fsync": "off"})
    dsn = await server.start()
    try:
        await migrate(dsn)
        runs = 0
        back = asyncio.Event()

        async def work(payload: bytes) -> None:
            nonlocal runs
            if payload == b"keeps the worker busy until PostgreSQL is back":
                await back.wait()
                return
            runs += 1
            if runs == 1:
                assert server.pid
                os.kill(server.pid, signal.SIGKILL)
                await server.wait_exit()
                raise ConnectionError

        kind = Entrypoint("work", work, first_delay=0.01)
        async with (
            Database(dsn, PoolSettings(min_size=1, max_size=2)) as database,
            running(JobRuntime(dsn, [kind], settings=QUICK)) as runtime,
        ):
            async with database.transaction() as connection:
                await enqueue(connection, "work", b"keeps the worker busy until PostgreSQL is back")
                await enqueue(connection, "work", b"")
            await eventually(lambda: _so(runs == 1 and server.pid is None))
            await server.start()
            await eventually(lambda: _so(database.available))
            await eventually(lambda: _noticed(database))
            back.set()
            await eventually(lambda: _empty(database))
            assert runs >= 2
            assert runtime.stats.held["work"] == 0
    finally:
        await server.stop()


async def test_jobs_go_on_after_every_connection_was_cut(dsn: str, queue: asyncpg.Connection) -> None:
    """Its listener is among them: until PgQueuer notices (it looks every 10 s), jobs are found by polling."""
    async with running(JobRuntime(dsn, entrypoints(dsn), settings=QUICK)) as runtime:
        await enqueue(queue, "slow", b"1.0")
        await when(queue, entrypoint="slow", status="picked")
        cut = await queue.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'tria-worker' and datname = current_database()"
        )
        assert len(cut) >= 2
        await enqueue(queue, "quick", b"later")
        await drained(queue)
    assert {"quick:later", "slow:1.0"} <= set(await ran(queue))
    assert runtime.stats.held.total() == 0


async def test_concurrency_is_limited_over_all_workers(dsn: str, queue: asyncpg.Connection) -> None:
    now = most = 0

    async def work(_: bytes) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1

    for _ in range(20):
        await enqueue(queue, "work", b"")
    kinds = [Entrypoint("work", work, concurrency=2)]
    async with running(JobRuntime(dsn, kinds, settings=QUICK)), running(JobRuntime(dsn, kinds, settings=QUICK)):
        await drained(queue)
    assert most == 2


async def test_old_log_rows_are_pruned_but_not_those_of_live_jobs(dsn: str, queue: asyncpg.Connection) -> None:
    await enqueue(queue, "other", b"", delay=3600)  # live: its log row decides about crashes
    await enqueue(queue, "quick", b"")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        ticks += 1

    runtime = JobRuntime(dsn, entrypoints(dsn), [Periodic("tick", "* * * * *", tick)], QUICK)
    async with running(runtime):
        await eventually(lambda: _finished(queue))
        await queue.execute("update pgqueuer_log set created = now() - interval '31 days'")
        await queue.execute(
            "insert into pgqueuer_statistics (created, count, priority, status, entrypoint)"
            " values (now() - interval '31 days', 1, 0, 'successful', 'quick')"
        )
        await queue.execute("update pgqueuer_schedules set next_run = now()")
        async with running(JobRuntime(dsn, entrypoints(dsn), [Periodic("tick", "* * * * *", tick)], QUICK)):
            await eventually(lambda: _so(ticks > 0))
            await eventually(lambda: _pruned(queue))
    assert [row["entrypoint"] for row in await queue.fetch("select entrypoint from pgqueuer_log")] == ["other"]


async def test_missing_tables_are_said_and_not_waited_for(empty_dsn: str) -> None:
    with pytest.raises(RuntimeError, match="pgqueuer"):
        await JobRuntime(empty_dsn, [], settings=QUICK).run()


@pytest.mark.parametrize(("attempts", "ceiling"), [(0, 1.0), (3, 8.0), (20, 60.0), (5000, 60.0)])
async def test_pauses_have_full_jitter_below_an_exponential_ceiling(dsn: str, attempts: int, ceiling: float) -> None:
    async def work(_: bytes) -> None:
        """Never called."""

    kind = Entrypoint("work", work, first_delay=1.0, max_delay=60.0)
    async with asyncpg.create_pool(dsn, min_size=0, max_size=1) as pool:
        guarded = _executor(kind, pool, JobStats())
    drawn = [guarded._delay(attempts).total_seconds() for _ in range(500)]
    assert 0 <= min(drawn) < 0.1 * ceiling
    assert 0.9 * ceiling < max(drawn) <= ceiling


async def _so(condition: bool) -> bool:
    return condition


async def _noticed(database: Database) -> bool:
    """The failed job was put back (or, wrongly, held) while the worker still waits for the other one."""
    async with database.connection() as connection:
        return bool(await connection.fetchval("select count(*) from pgqueuer where status <> 'picked'"))


async def _empty(database: Database) -> bool:
    async with database.connection() as connection:
        return not await connection.fetchval("select count(*) from pgqueuer")


async def _finished(queue: asyncpg.Connection) -> bool:
    return bool(await queue.fetchval("select count(*) from pgqueuer_log where status = 'successful'"))


async def _pruned(queue: asyncpg.Connection) -> bool:
    old = "select count(*) from pgqueuer_statistics where created < now() - interval '30 days'"
    return not await queue.fetchval(f"select (select count(*) from pgqueuer_log where entrypoint = 'quick') + ({old})")
