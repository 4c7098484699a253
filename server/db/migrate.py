"""Plain-SQL, forward-only migrations: `migrations/NNNN_name.sql`, applied once each, in order, by whoever comes first.

There is no way down: a mistake is corrected by the next file. What has been applied is never edited (its SHA-256 is
compared), and every process may call `migrate` at its start, because one session-level advisory lock lets one apply
while the others wait and then find nothing to do.

Rolling back the *program* is possible when the migrations that the old program does not know are additive. The first
line of a file says so, and the answer is stored with the row, where the old program finds it:

    -- migrate: additive                  the previous release keeps working on the migrated database
    -- migrate: breaking                  it does not; going back means restoring a backup
    -- migrate: additive no-transaction   for CREATE INDEX CONCURRENTLY; statements separated by lines `-- next`

A file without that line counts as breaking. So `migrate` accepts a database that is ahead by additive migrations only
and refuses one that is ahead by a breaking one. A column is dropped in two releases: the first stops using it, the
second drops it, which the first then tolerates and may call additive.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

MIGRATIONS = Path(__file__).with_name("migrations")

_LOCK = 0x74726961_6D696772  # "triamigr"; advisory locks are per database
_FILE_NAME = re.compile(r"(\d{4,})_[a-z0-9_]+\.sql")
_HEADER = re.compile(r"-- migrate:((?: additive| breaking| no-transaction)+)\n")
_NEXT = re.compile(r"^-- next\s*$", re.MULTILINE)

_CREATE_TABLE = """
create table if not exists schema_migration (
    version bigint primary key,
    name text not null,
    sha256 text not null,
    additive boolean not null,
    applied_at timestamptz not null default now(),
    duration_ms integer not null,
    dirty boolean not null default false
)"""

_RECORD = """
insert into schema_migration (version, name, sha256, additive, duration_ms, dirty) values ($1, $2, $3, $4, $5, $6)"""

_FINISHED = "update schema_migration set dirty = false, duration_ms = $2 where version = $1"


class MigrationError(RuntimeError):
    """The database and the migration files do not fit together; the message names what to look at."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. `sha256` is of its text with LF line ends, so a checkout with CRLF is the same migration."""

    version: int
    name: str
    sql: str
    sha256: str
    additive: bool
    in_transaction: bool


def load(folder: Path) -> list[Migration]:
    """The migrations of `folder` in order of version; raises MigrationError for a bad name or a version used twice."""
    migrations = [_read(path) for path in sorted(folder.glob("*.sql"))]
    versions = [migration.version for migration in migrations]
    if len(set(versions)) != len(versions):
        raise MigrationError(f"a version number is used twice in {folder}: {versions}")
    return sorted(migrations, key=lambda migration: migration.version)


async def migrate(
    dsn: str,
    folder: Path = MIGRATIONS,
    *,
    progress: Callable[[str], None] = lambda _: None,
    lock_timeout: float = 5.0,
    patience: float = 120.0,
) -> list[str]:
    """Apply what is missing and return its names; `progress` is called with each name before it is applied.

    `lock_timeout` (s) bounds how long a statement may queue for a table lock, because everything else queues behind it;
    `patience` (s) bounds the wait for another process that migrates. Needs a direct connection: behind a pooler in
    transaction mode a session lock means nothing. Raises MigrationError, asyncpg.PostgresError, OSError.
    """
    migrations = load(folder)
    async with _session(dsn, lock_timeout) as connection:
        await _lock(connection, patience)
        await connection.execute(_CREATE_TABLE)
        missing = _missing(migrations, await _applied(connection))
        for migration in missing:
            progress(migration.name)
            await _apply(connection, migration)
    return [migration.name for migration in missing]


async def pending(dsn: str, folder: Path = MIGRATIONS) -> list[str]:
    """Names that `migrate` would apply; changes nothing. Raises MigrationError where `migrate` would refuse."""
    migrations = load(folder)
    async with _session(dsn, lock_timeout=5.0) as connection:
        return [migration.name for migration in _missing(migrations, await _applied(connection))]


async def schema_version(dsn: str) -> int:
    """The newest applied version, 0 for an empty database."""
    async with _session(dsn, lock_timeout=5.0) as connection:
        return max(await _applied(connection), default=0)


def _read(path: Path) -> Migration:
    name = _FILE_NAME.fullmatch(path.name)
    if not name:
        raise MigrationError(f"{path.name}: a migration is called NNNN_lower_case.sql")
    sql = path.read_bytes().decode().replace("\r\n", "\n")
    header = _HEADER.match(sql)
    flags = set(header[1].split()) if header else set()
    if {"additive", "breaking"} <= flags or (sql.startswith("-- migrate") and not header):
        raise MigrationError(f"{path.name}: the first line is not understood")
    return Migration(
        version=int(name[1]),
        name=path.name,
        sql=sql,
        sha256=hashlib.sha256(sql.encode()).hexdigest(),
        additive="additive" in flags,
        in_transaction="no-transaction" not in flags,
    )


@asynccontextmanager
async def _session(dsn: str, lock_timeout: float) -> AsyncIterator[asyncpg.Connection]:
    settings = {
        "application_name": "tria-migrate",
        "lock_timeout": f"{lock_timeout * 1000:.0f}",
        "statement_timeout": "0",
    }
    connection = await asyncpg.connect(dsn, timeout=30, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close()  # the end of the session releases the advisory lock, also after kill -9


async def _lock(connection: asyncpg.Connection, patience: float) -> None:
    # Polled: a session that blocks in pg_advisory_lock() holds a snapshot, and CREATE INDEX CONCURRENTLY waits for
    # every snapshot, so the one who migrates and those who wait would deadlock.
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while not await connection.fetchval("select pg_try_advisory_lock($1)", _LOCK):
        if loop.time() > deadline:
            raise MigrationError(f"another process has been migrating for more than {patience:.0f} s")
        await asyncio.sleep(0.2)


async def _applied(connection: asyncpg.Connection) -> dict[int, asyncpg.Record]:
    if await connection.fetchval("select to_regclass('schema_migration')") is None:
        return {}
    rows = await connection.fetch("select version, name, sha256, additive, dirty from schema_migration")
    return {row["version"]: row for row in rows}


def _missing(migrations: Sequence[Migration], applied: Mapping[int, asyncpg.Record]) -> list[Migration]:
    """What is left to apply; raises MigrationError when the past of the database is not the past of these files."""
    if dirty := [row["name"] for row in applied.values() if row["dirty"]]:
        raise MigrationError(f"stopped half-way and needs a person: {dirty}; finish it by hand, then set dirty = false")
    known = {migration.version for migration in migrations}
    ahead = [row for version, row in sorted(applied.items()) if version not in known]
    if breaking := [row["name"] for row in ahead if not row["additive"]]:
        raise MigrationError(f"the database is ahead of this program by {breaking}; run the newer release")
    for migration in migrations:
        row = applied.get(migration.version)
        if row and row["sha256"] != migration.sha256:
            raise MigrationError(f"{migration.name} was edited after it had been applied; add a new file instead")
    missing = [migration for migration in migrations if migration.version not in applied]
    if missing and applied and missing[0].version < max(applied):
        raise MigrationError(f"{missing[0].name} is older than the newest applied migration; give it the next number")
    return missing


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    row = (migration.version, migration.name, migration.sha256, migration.additive)
    if migration.in_transaction:
        async with connection.transaction():
            await connection.execute(migration.sql)  # simple protocol: many statements at once
            await connection.execute(_RECORD, *row, round((loop.time() - began) * 1000), False)
        return
    await connection.execute(_RECORD, *row, 0, True)
    for statement in _NEXT.split(migration.sql):  # one by one: several at once would be an implicit transaction
        await connection.execute(statement)
    await connection.execute(_FINISHED, migration.version, round((loop.time() - began) * 1000))
