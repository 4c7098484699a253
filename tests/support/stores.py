"""Real PostgreSQL, Valkey and Chroma for a test session, and a freshly migrated database for each test that asks.

The servers are the ones of `tria up` (server/embedded), in one temporary directory. Migrations run once, into a
template database; a test's own database is a copy of it (about 50 ms), so tests may commit, and never see each other.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio
import redis.asyncio

from server.db.migrate import migrate
from server.db.pool import Database, PoolSettings
from server.embedded.chroma import EmbeddedChroma
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.valkey import EmbeddedValkey

_TEMPLATE = "tria_template"
_numbers = itertools.count(1)


def with_database(dsn: str, name: str) -> str:
    """The same server and user, another database."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def eventually(condition: Callable[[], Awaitable[bool]], *, within: float = 20.0) -> None:
    """Poll `condition` until it holds; fails the test after `within` s."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while not await condition():
        if loop.time() > deadline:
            pytest.fail(f"not so within {within:.0f} s: {condition}")
        await asyncio.sleep(0.02)


@asynccontextmanager
async def _own_database(server: str, template: str) -> AsyncIterator[str]:
    name = f"test_{next(_numbers)}"
    admin = await asyncpg.connect(server)
    try:
        await admin.execute(f"create database {name} template {template}")
        yield with_database(server, name)
        await admin.execute(f"drop database {name} with (force)")
    finally:
        await admin.close()


@pytest.fixture(scope="session")
def stores_root() -> Iterator[Path]:
    """A directory that the PostgreSQL system user can enter too (pytest's own is 0700 all the way down)."""
    root = Path(tempfile.mkdtemp(prefix="tria-test-", dir="/tmp"))
    root.chmod(0o711)
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def postgres(stores_root: Path) -> Iterator[str]:
    """DSN of the session's PostgreSQL, with the migrated template database in it."""
    # A test server need not survive a power cut, only the kill of a process, which fsync does not matter for.
    server = EmbeddedPostgres(stores_root / "postgres", settings={"fsync": "off", "full_page_writes": "off"})

    async def prepare() -> str:
        dsn = await server.start()
        connection = await asyncpg.connect(dsn)
        await connection.execute(f"create database {_TEMPLATE}")
        await connection.close()
        await migrate(with_database(dsn, _TEMPLATE))
        return dsn

    yield asyncio.run(prepare())
    asyncio.run(server.stop())


@pytest_asyncio.fixture
async def empty_dsn(postgres: str) -> AsyncIterator[str]:
    """DSN of an empty database of this test's own."""
    async with _own_database(postgres, "template1") as dsn:
        yield dsn


@pytest_asyncio.fixture
async def dsn(postgres: str) -> AsyncIterator[str]:
    """DSN of a migrated database of this test's own."""
    async with _own_database(postgres, _TEMPLATE) as dsn:
        yield dsn


@pytest_asyncio.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """A small pool on a migrated database of this test's own."""
    async with Database(dsn, PoolSettings(min_size=1, max_size=5)) as database:
        yield database


@pytest.fixture(scope="session")
def valkey(stores_root: Path) -> Iterator[str]:
    """URL of the session's Valkey; what is in it belongs to everybody, see `redis_url`."""
    server = EmbeddedValkey(stores_root / "valkey")
    yield asyncio.run(server.start())
    asyncio.run(server.stop())


@pytest_asyncio.fixture
async def redis_url(valkey: str) -> str:
    """URL of the session's Valkey, emptied for this test."""
    client = redis.asyncio.Redis.from_url(valkey)
    await client.flushall()
    await client.aclose()
    return valkey


@pytest.fixture(scope="session")
def chroma_url(stores_root: Path) -> Iterator[str]:
    """URL of the session's Chroma; tests use collection names of their own."""
    server = EmbeddedChroma(stores_root / "chroma")
    yield asyncio.run(server.start())
    asyncio.run(server.stop())
