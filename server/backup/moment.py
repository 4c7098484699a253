"""What is read from the database for a backup, in one snapshot, and from a restored one to compare it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString
from uuid import UUID

import asyncpg

from server.backup.manifest import LogState

_PATIENCE = 30.0  # seconds for the connection


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL server and the size of the database there."""

    version: str
    major: int
    database_bytes: int
    now: datetime


@dataclass(frozen=True, slots=True)
class Moment:
    """A snapshot that other sessions may take part in by its `id`, as long as the connection lives."""

    connection: asyncpg.Connection
    id: str
    server: Server


@asynccontextmanager
async def session(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of its own, for statements that may take as long as they need."""
    settings = {"application_name": "tria-backup", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
    connection = await asyncpg.connect(dsn, timeout=_PATIENCE, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close()


SNAPSHOT: Final[LiteralString] = "select pg_export_snapshot()"


@asynccontextmanager
async def moment(dsn: str) -> AsyncIterator[Moment]:
    """Everything read on its connection is of one moment."""
    async with session(dsn) as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        yield Moment(connection, await connection.fetchval(SNAPSHOT), await server_of(connection))


SERVER: Final[LiteralString] = """
select current_setting('server_version') as version, current_setting('server_version_num')::int / 10000 as major,
       pg_database_size(current_database()) as database_bytes, now() as now"""


async def server_of(connection: asyncpg.Connection) -> Server:
    row = await connection.fetchrow(SERVER)
    if row is None:
        raise RuntimeError("a select without a row")
    return Server(**row)


NEEDED: Final[LiteralString] = """
select table_name as missing
from unnest(array['audit_checkpoint', 'audit_pending', 'audit_tree', 'schema_migration', 'subject_key']) as table_name
where to_regclass(table_name) is null
order by 1"""


async def missing_of(connection: asyncpg.Connection) -> list[str]:
    """Which of the tables that a backup reads are not there: migrations make them before any release runs."""
    return [row["missing"] for row in await connection.fetch(NEEDED)]


MIGRATION: Final[LiteralString] = "select max(version) from schema_migration where not dirty"


async def migration_of(connection: asyncpg.Connection) -> int:
    """The newest migration."""
    version: int = await connection.fetchval(MIGRATION)
    return version


LOGS: Final[LiteralString] = """
select tree.tenant, tree.size, coalesce(signed.size, 0) as signed, coalesce(signed.note, '') as note
from audit_tree as tree
left join lateral (
    select size, note from audit_checkpoint where audit_checkpoint.tenant = tree.tenant
    order by size desc, signed_at desc limit 1
) as signed on true
order by tree.tenant"""


async def logs_of(connection: asyncpg.Connection) -> dict[str, LogState]:
    """Every tenant's audit log."""
    return {row["tenant"]: LogState(row["size"], row["signed"], row["note"]) for row in await connection.fetch(LOGS)}


PENDING: Final[LiteralString] = "select count(*) from audit_pending"


async def pending_of(connection: asyncpg.Connection) -> int:
    """Audit records that wait for their place."""
    count: int = await connection.fetchval(PENDING)
    return count


WRAPPED: Final[LiteralString] = """
select distinct on (1) convert_from(substring(wrapped from 3 for get_byte(wrapped, 1)), 'UTF8') as master, tenant,
       key_id, wrapped
from subject_key where wrapped is not null"""


async def wrapped_keys(connection: asyncpg.Connection) -> dict[str, tuple[str, UUID, bytes]]:
    """For each master key in use one key of a person that it seals: (tenant, id, the box)."""
    rows = await connection.fetch(WRAPPED)
    return {row["master"]: (row["tenant"], row["key_id"], row["wrapped"]) for row in rows}


TABLES: Final[LiteralString] = """
select format('%I.%I', pg_namespace.nspname, pg_class.relname) as name
from pg_class join pg_namespace on pg_namespace.oid = pg_class.relnamespace
where pg_class.relkind = 'r' and pg_namespace.nspname <> 'information_schema' and pg_namespace.nspname !~ '^pg_'
order by 1"""


async def tables_of(connection: asyncpg.Connection) -> list[str]:
    """Names of the tables, quoted where they need it."""
    return [row["name"] for row in await connection.fetch(TABLES)]


async def count_rows(connection: asyncpg.Connection, told: Callable[[int, int], None]) -> Mapping[str, int]:
    """Rows of every table; `told` hears how many tables are done, and of how many."""
    names = await tables_of(connection)
    counts: dict[str, int] = {}
    for number, name in enumerate(names):
        counts[name] = await connection.fetchval(f"select count(*) from {name}")
        told(number + 1, len(names))
    return counts


EXISTS: Final[LiteralString] = "select exists (select from pg_database where datname = $1)"


async def database_exists(connection: asyncpg.Connection, name: str) -> bool:
    """Whether the server has a database of that name."""
    found: bool = await connection.fetchval(EXISTS, name)
    return found


OBJECTS: Final[LiteralString] = """
select format('%I.%I', pg_namespace.nspname, pg_class.relname) as name
from pg_class join pg_namespace on pg_namespace.oid = pg_class.relnamespace
where pg_namespace.nspname <> 'information_schema' and pg_namespace.nspname !~ '^pg_'
order by 1 limit 3"""


async def occupied_by(connection: asyncpg.Connection) -> list[str]:
    """Some of what is in the database; nothing when it is empty."""
    return [row["name"] for row in await connection.fetch(OBJECTS)]
