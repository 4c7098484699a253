"""The pool against a real PostgreSQL that is busy, killed, absent, or silent."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from server.db.errors import ConstraintViolated, translate_errors
from server.db.pool import Database, PoolSettings
from server.embedded.postgres import EmbeddedPostgres
from server.errors import AppError, Code, Reason
from tests.support.stores import eventually

SMALL = PoolSettings(min_size=1, max_size=2, probe_interval=0.2)


@pytest_asyncio.fixture
async def own_server(stores_root: Path, request: pytest.FixtureRequest) -> AsyncIterator[EmbeddedPostgres]:
    """A PostgreSQL that this test may kill; not started."""
    server = EmbeddedPostgres(stores_root / f"pool-{request.node.name}", settings={"fsync": "off"})
    yield server
    await server.stop()


async def refused(database: Database, timeout: float = 5.0) -> AppError:
    with pytest.raises(AppError) as error:
        async with database.connection(timeout=timeout):
            pass
    assert error.value.code is Code.UNAVAILABLE
    assert error.value.retry_after
    return error.value


async def test_waiting_for_a_connection_ends_with_the_deadline_of_the_call(dsn: str) -> None:
    async with Database(dsn, SMALL) as database, database.connection(), database.connection():
        assert database.stats().in_use == 2
        loop = asyncio.get_running_loop()
        began = loop.time()
        waiter = asyncio.create_task(refused(database, timeout=0.2))
        await eventually(lambda: _holds(database.stats().waiting == 1))
        assert (await waiter).reason is Reason.STORE_BUSY
        assert 0.15 < loop.time() - began < 2
        assert database.stats().waiting == 0
        assert await database.ping()  # a busy pool is not a dead store


async def test_a_waiter_gets_the_connection_that_comes_free(dsn: str) -> None:
    async with Database(dsn, PoolSettings(min_size=1, max_size=1)) as database:

        async def answer() -> int:
            async with database.connection(timeout=10) as connection:
                return int(await connection.fetchval("select 42"))

        async with database.connection():
            waiter = asyncio.create_task(answer())
            await eventually(lambda: _holds(database.stats().waiting == 1))
        assert await waiter == 42


async def test_postgres_killed_and_back(own_server: EmbeddedPostgres) -> None:
    async with Database(await own_server.start(), SMALL) as database:
        async with database.transaction() as connection:
            await connection.execute("create table kept (id int)")
        assert own_server.pid
        with pytest.raises(AppError) as lost:  # noqa: PT012 - the whole transaction is under test
            async with database.transaction() as connection:
                await connection.execute("insert into kept values (1)")
                os.kill(own_server.pid, signal.SIGKILL)
                await own_server.wait_exit()
                while True:  # until the loss is felt
                    await connection.fetchval("select count(*) from kept")
        assert (lost.value.code, lost.value.reason) == (Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE)
        await eventually(lambda: _holds(not database.available))
        assert not await database.ping()
        assert (await refused(database)).reason is Reason.STORE_UNAVAILABLE
        assert database.stats().outages == 1
        await own_server.start()
        await eventually(lambda: _holds(database.available))
        async with database.connection() as connection:
            assert await connection.fetchval("select count(*) from kept") == 0


async def test_starts_without_postgres_and_finds_it_later(own_server: EmbeddedPostgres) -> None:
    dsn = await own_server.start()
    await own_server.stop()
    async with Database(dsn, SMALL) as database:
        assert not database.available
        assert not await database.ping()
        assert (await refused(database)).reason is Reason.STORE_UNAVAILABLE
        await own_server.start()
        await eventually(lambda: _holds(database.available))
        async with database.connection() as connection:
            assert await connection.fetchval("select 1") == 1


async def test_a_silent_postgres_is_noticed_and_does_not_hold_calls(own_server: EmbeddedPostgres) -> None:
    settings = PoolSettings(min_size=1, max_size=2, probe_interval=0.2, probe_timeout=0.3, connect_timeout=0.5)
    async with Database(await own_server.start(), settings) as database:
        stopped = all_backends(own_server)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            await eventually(lambda: _holds(not database.available))
            assert (await refused(database)).reason is Reason.STORE_UNAVAILABLE
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        await eventually(lambda: _holds(database.available))
        assert await backend(database)


async def test_a_connection_that_died_while_idle_is_replaced_before_it_is_handed_out(dsn: str) -> None:
    settings = PoolSettings(min_size=1, max_size=1, idle_check=0.0)
    async with Database(dsn, settings) as database:
        first = await backend(database)
        os.kill(first, signal.SIGSTOP)  # the socket stays open, but nobody answers: as behind a firewall that forgot
        try:
            async with database.connection(timeout=10) as connection:
                assert await connection.fetchval("select pg_backend_pid()") != first
        finally:
            os.kill(first, signal.SIGCONT)


async def test_connections_are_recycled(dsn: str) -> None:
    settings = PoolSettings(min_size=1, max_size=1, recycle=0.0, probe_interval=0.05)
    async with Database(dsn, settings) as database:
        first = await backend(database)
        await eventually(lambda: _differs(database, first))


async def test_a_tiny_deadline_does_not_cost_the_pool_its_connection(dsn: str) -> None:
    async with Database(dsn, PoolSettings(min_size=1, max_size=1)) as database:
        first = await backend(database)
        async with database.connection(timeout=0.05):
            os.kill(first, signal.SIGSTOP)  # the session reset now takes longer than that deadline
            asyncio.get_running_loop().call_later(0.3, os.kill, first, signal.SIGCONT)
        assert await backend(database) == first


async def test_a_cancelled_call_gives_its_connection_back(dsn: str) -> None:
    async with Database(dsn, PoolSettings(min_size=1, max_size=1)) as database:

        async def slow() -> None:
            async with database.connection() as connection:
                await connection.execute("select pg_sleep(60)")

        call = asyncio.create_task(slow())
        await eventually(lambda: _holds(database.stats().in_use == 1))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert database.stats().in_use == 0
        assert await backend(database)


async def test_session_settings(dsn: str) -> None:
    async with Database(dsn, PoolSettings(min_size=1, statement_timeout=0.1)) as database:
        with pytest.raises(AppError) as slow:  # noqa: PT012 - the whole block is under test
            async with database.connection() as connection:
                assert await connection.fetchval("show lock_timeout") == "5s"
                await connection.execute("select pg_sleep(30)")
        assert slow.value.reason is Reason.STORE_BUSY


async def test_a_collision_is_aborted(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("create table counter (n int); insert into counter values (0)")
    with pytest.raises(AppError) as collision:  # noqa: PT012 - the whole transaction is under test
        async with database.transaction(isolation="repeatable_read") as one:
            await one.fetchval("select n from counter")
            async with database.transaction() as two:
                await two.execute("update counter set n = 1")
            await one.execute("update counter set n = 2")
    assert collision.value.code is Code.ABORTED


async def test_a_violated_constraint_keeps_its_name_and_can_be_caught_inside(database: Database) -> None:
    insert = "insert into tenant (id, name) values ('acme', 'Acme')"
    async with database.transaction() as connection:
        await connection.execute(insert)
        with pytest.raises(ConstraintViolated) as violated:
            async with translate_errors(), connection.transaction():
                await connection.execute(insert)
        assert violated.value.constraint == "tenant_pkey"
        assert await connection.fetchval("select count(*) from tenant") == 1
    with pytest.raises(ConstraintViolated, match="tenant_pkey"):
        async with database.transaction() as connection:
            await connection.execute(insert)


async def test_a_defect_is_not_dressed_up_as_an_outage(database: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        async with database.connection() as connection:
            await connection.execute("select * from no_such_table")
    with pytest.raises(asyncpg.InterfaceError, match="expects 0 arguments"):
        async with database.connection() as connection:
            await connection.fetch("select 1", "too many")
    assert database.available


async def _holds(condition: bool) -> bool:
    return condition


async def _differs(database: Database, first: int) -> bool:
    return await backend(database) != first


async def backend(database: Database) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval("select pg_backend_pid()"))


def all_backends(server: EmbeddedPostgres) -> list[int]:
    """The postmaster and its children: what has to be stopped for PostgreSQL to fall silent."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
    return [pid for pid in (server.pid, *map(int, children.split())) if pid]
