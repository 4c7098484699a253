"""Retention drops months and nothing else, never what is unsealed, and no proof is lost by it."""

from __future__ import annotations

from datetime import UTC, datetime

import asyncpg
import pytest

from server.audit import events, tree_store
from server.audit.proofs import verify_consistency, verify_inclusion
from server.db.pool import Database
from tests.support.audit_log import a_leaf, add, count, drained, sequencing
from tests.support.stores import eventually


async def aged(dsn: str, month: str) -> None:
    """Makes what is in the log as old as that month, as if the clock had stood there when it was recorded."""
    connection = await asyncpg.connect(dsn)
    partition = await connection.fetchval("select audit_partition($1)", datetime.fromisoformat(f"{month}-15T00:00:00Z"))
    await connection.execute("alter table audit_event disable trigger user")
    await connection.execute("update audit_event set recorded_at = $1", datetime.fromisoformat(f"{month}-20T00:00:00Z"))
    await connection.execute("alter table audit_event enable always trigger append_only")
    assert await connection.fetchval(f"select count(*) from {partition}") > 0
    await connection.close()


@pytest.mark.parametrize("size", [256, 300, 700])
async def test_what_is_left_is_still_proven(database: Database, dsn: str, size: int) -> None:
    await add(database, [a_leaf(number) for number in range(size)])
    async with sequencing(dsn):
        await drained(database)
    async with database.connection() as connection:
        before = await tree_store.head(connection, "acme")
        old = [event.leaf_hash for event in await events.span(connection, "acme", 0, size, size)]
    await aged(dsn, "2024-03")
    async with database.connection() as connection:
        assert await connection.fetch("select * from audit_retire('2024-03-31T00:00:00Z')") == []
        [dropped] = await connection.fetch("select * from audit_retire('2024-04-01T00:00:00Z')")
        assert (dropped["tenant"], dropped["first"], dropped["last"]) == ("acme", 0, size - 1)
        assert dropped["partition"] == "audit_event_2024_03"
        assert await events.first_kept(connection, "acme") == size
        assert await events.get(connection, "acme", 0) is None
    async with sequencing(dsn):
        await add(database, [a_leaf(number) for number in range(300)])
        await drained(database)
    async with database.connection() as connection:
        after = await tree_store.head(connection, "acme")
        assert after.size == size + 300
        path = await tree_store.consistency_proof(connection, "acme", size, after.size)
        verify_consistency(size, after.size, before.root, after.root, path)
        for seq in (0, size - 1):  # whoever kept a copy of a dropped event can still prove it
            proof = await tree_store.inclusion_proof(connection, "acme", seq, after.size)
            verify_inclusion(old[seq], seq, after.size, proof, after.root)
        [first] = await events.span(connection, "acme", size, size + 1, 1)
        proof = await tree_store.inclusion_proof(connection, "acme", size, after.size)
        verify_inclusion(first.leaf_hash, size, after.size, proof, after.root)


async def test_what_no_checkpoint_covers_stays(database: Database, dsn: str) -> None:
    await add(database, [a_leaf()])
    async with sequencing(dsn):
        await drained(database)
    await aged(dsn, "2024-03")
    connection = await asyncpg.connect(dsn)
    await connection.execute("alter table audit_checkpoint disable trigger user; delete from audit_checkpoint")
    with pytest.raises(asyncpg.RaiseError, match="no checkpoint covers"):
        await connection.execute("select audit_retire(now())")
    await connection.close()
    assert await count(database, "audit_event") == 1


async def test_this_month_cannot_be_dropped(database: Database, dsn: str) -> None:
    await add(database, [a_leaf()])
    async with sequencing(dsn):
        await drained(database)
    async with database.connection() as connection:
        assert await connection.fetch("select * from audit_retire('infinity')") == []
    assert await count(database, "audit_event") == 1


async def test_a_month_has_its_partition_when_it_begins(database: Database, dsn: str) -> None:
    async with sequencing(dsn):
        await add(database, [a_leaf()])
        await drained(database)

    async def names() -> set[str]:
        async with database.connection() as connection:
            rows = await connection.fetch(
                "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'audit_event'::regclass"
            )
        return {row["name"] for row in rows}

    now = datetime.now(UTC)
    after = now.replace(year=now.year + now.month // 12, month=now.month % 12 + 1, day=1)

    async def there() -> bool:
        return {f"audit_event_{now:%Y_%m}", f"audit_event_{after:%Y_%m}"} <= await names()

    await eventually(there)
    async with database.connection() as connection:
        assert await connection.fetchval("select audit_partition('2031-12-31T23:59:59Z')") == "audit_event_2031_12"
        assert await connection.fetchval("select audit_partition('2031-12-31T23:59:59Z')") == "audit_event_2031_12"
