"""What a session behind a pooler really has: found out on a real PostgreSQL that this test may change the role of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio

from server.db.pool import Database, PoolSettings
from server.db.timeouts import missing_timeouts
from server.embedded.postgres import EmbeddedPostgres
from tests.support.stores import eventually

BEHIND = PoolSettings(min_size=1, max_size=2, pooled=True)


@pytest_asyncio.fixture
async def own_dsn(stores_root: Path, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    server = EmbeddedPostgres(stores_root / f"timeouts-{request.node.name}", settings={"fsync": "off"})
    yield await server.start()
    await server.stop()


async def missing(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        return await missing_timeouts(connection, BEHIND.timeouts)
    finally:
        await connection.close()


async def execute(dsn: str, statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


async def test_what_it_says_mends_it(own_dsn: str) -> None:
    await execute(own_dsn, "alter role current_user set lock_timeout = '10min'")
    said = await missing(own_dsn)
    assert "statement_timeout is off" in said
    assert "lock_timeout is 600000 ms" in said
    await execute(own_dsn, said.partition("): ")[2].partition("; then")[0])
    assert await missing(own_dsn) == ""


async def test_a_shorter_one_is_no_mistake(own_dsn: str) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    await execute(own_dsn, ";".join(f"alter role current_user set {name} = '1s'" for name in names))
    assert await missing(own_dsn) == ""


async def test_a_server_behind_a_pooler_says_so_and_serves(own_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "server.db.pool"):
        async with Database(own_dsn, BEHIND) as database:
            assert database.available
        (said,) = (record.getMessage() for record in caplog.records)
        assert "alter role" in said
        caplog.clear()
        async with Database(own_dsn, PoolSettings(min_size=1)):  # asks for its own
            assert not caplog.records


async def test_what_it_says_mends_a_role_whose_name_needs_quotes(own_dsn: str) -> None:
    await execute(own_dsn, """create role "Tria-App" login superuser password 'tria-app'""")
    parts = urlsplit(own_dsn)
    dsn = urlunsplit(parts._replace(netloc=f"Tria-App:tria-app@{parts.netloc.rpartition('@')[2]}"))
    said = await missing(dsn)
    await execute(own_dsn, said.partition("): ")[2].partition("; then")[0])
    assert await missing(dsn) == ""


async def test_a_pooler_that_takes_the_login_and_does_not_answer_is_not_waited_for(own_dsn: str) -> None:
    other = await asyncpg.connect(own_dsn)

    async def available() -> bool:
        return database.available

    try:
        await other.execute("begin; lock table pg_catalog.pg_settings")
        async with asyncio.timeout(20), Database(own_dsn, replace(BEHIND, connect_timeout=0.5)) as database:
            assert not database.available
            await other.execute("rollback")
            await eventually(available)
    finally:
        await other.close()
