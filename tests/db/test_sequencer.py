"""The sequencer on a real database: numbers without holes, one writer, nothing in its way, nothing lost or doubled."""

from __future__ import annotations

import asyncio
import random
import re
import uuid
from collections.abc import Callable
from functools import partial

import asyncpg
import pytest

from server.audit import events, log_store, store, tree_store
from server.audit.actions import Action, Decision
from server.audit.events import Search
from server.audit.leaf import Leaf, decode, encode, leaf_hash
from server.audit.log_store import Overtaken
from server.audit.proofs import verify_consistency, verify_inclusion
from server.audit.sequencer import Sequencer, SequencerSettings
from server.audit.store import Entry
from server.db.pool import Database
from tests.support import naive_tree
from tests.support.audit_log import QUICK, a_leaf, add, count, drained, sequencing, verified
from tests.support.stores import eventually


async def test_leaves_of_many_tenants_get_their_numbers(database: Database, dsn: str) -> None:
    leaves = [a_leaf(number, f"t{number % 7}") for number in range(500)]
    async with sequencing(dsn) as sequencer:
        for start in range(0, len(leaves), 90):
            await add(database, leaves[start : start + 90])
        await drained(database)
    logs = await verified(database)
    assert {tenant: len(log) for tenant, log in logs.items()} == {
        f"t{number}": 72 - (number > 2) for number in range(7)
    }
    for tenant, log in logs.items():
        assert log == [encode(leaf) for leaf in leaves if leaf.tenant == tenant]
    assert sequencer.stats.leaves == 500
    assert await count(database, "audit_checkpoint") >= 7


@pytest.mark.parametrize("batch", [1, 97, 256, 2000])
async def test_proofs_come_from_the_tiles_whatever_the_batches_were(database: Database, dsn: str, batch: int) -> None:
    size = 66_000 if batch == 2000 else 600
    await add(database, [a_leaf(number) for number in range(size)])
    async with sequencing(dsn, settings=SequencerSettings(batch=batch, poll=0.05, linger=0.0)):
        await drained(database)
    async with database.connection() as connection:
        entries = [row["leaf"] for row in await connection.fetch("select leaf from audit_event order by seq")]
        head = await tree_store.head(connection, "acme")
        assert (head.size, head.root) == (size, naive_tree.mth(entries))
        for seq in (0, 255, 256, 511, 512, size - 1):
            for within in {seq + 1, 513, size} - set(range(seq + 1)):
                root = naive_tree.mth(entries[:within])
                proof = await tree_store.inclusion_proof(connection, "acme", seq, within)
                verify_inclusion(leaf_hash(entries[seq]), seq, within, proof, root)
                path = await tree_store.consistency_proof(connection, "acme", within, size)
                verify_consistency(within, size, root, head.root, path)
        many = await tree_store.inclusion_proofs(connection, "acme", [1, 300, size - 1], size)
        for seq, proof in many.items():
            verify_inclusion(leaf_hash(entries[seq]), seq, size, proof, head.root)
        with pytest.raises(ValueError, match="has no"):
            await tree_store.inclusion_proof(connection, "acme", 0, size + 300)


async def test_a_search_finds_by_every_column_and_pages_downwards(database: Database, dsn: str) -> None:
    leaves = [
        a_leaf(
            number,
            actor=f"a{number % 3}",
            action=(Action.DATA_READ, Action.ORDER_CREATE)[number % 2],
            targets=[f"orders/{number % 5}", f"products/{number % 4}", 'odd "name", {x}'][: number % 4],
            decision=(Decision.ALLOWED, Decision.DENIED, Decision.FAILED)[number % 3],
        )
        for number in range(120)
    ]
    await add(database, leaves)
    async with sequencing(dsn):
        await drained(database)
    searches: dict[Search, Callable[[Leaf], bool]] = {
        Search(): lambda _: True,
        Search(actor="a1"): lambda leaf: leaf.actor.id == "a1",
        Search(actions=(Action.ORDER_CREATE,)): lambda leaf: leaf.action is Action.ORDER_CREATE,
        Search(resource="orders/2"): lambda leaf: "orders/2" in leaf.targets,
        Search(resource="products/3"): lambda leaf: "products/3" in leaf.targets,
        Search(resource='odd "name", {x}'): lambda leaf: len(leaf.targets) == 3,
        Search(decision=Decision.DENIED): lambda leaf: leaf.decision is Decision.DENIED,
        Search(decision=Decision.ALLOWED): lambda leaf: leaf.decision is Decision.ALLOWED,
        Search(since=leaves[50].occurred_at, until=leaves[60].occurred_at): lambda leaf: (
            leaves[50].occurred_at <= leaf.occurred_at < leaves[60].occurred_at
        ),
        Search(actor="a2", decision=Decision.FAILED, resource="products/2"): lambda leaf: (
            leaf.actor.id == "a2" and leaf.decision is Decision.FAILED and "products/2" in leaf.targets
        ),
    }
    async with database.connection() as connection:
        for search, matches in searches.items():
            found: list[events.Event] = []
            while more := await events.page(
                connection, "acme", search, before=found[-1].seq if found else None, limit=7
            ):
                found += more
            assert [event.leaf for event in found] == [leaf for leaf in reversed(leaves) if matches(leaf)], search
        assert await events.page(connection, "other", Search(), limit=5) == []
        first = await events.find(connection, "acme", leaves[0].event_id)
        assert first is not None
        assert (first.seq, first.leaf, first.leaf_hash) == (0, leaves[0], leaf_hash(encode(leaves[0])))
        assert await events.find(connection, "other", leaves[0].event_id) is None
        assert [event.seq for event in await events.span(connection, "acme", 10, 20, 5)] == [10, 11, 12, 13, 14]


async def test_rows_that_become_visible_late_are_not_passed_over(database: Database, dsn: str) -> None:
    async with sequencing(dsn), database.connection() as late:
        transaction = late.transaction()
        await transaction.start()
        await store.add(late, [Entry.of(a_leaf(1))])  # has the smaller id, commits last
        await add(database, [a_leaf(2)])
        await eventually(lambda: _size_is(database, 1))
        await transaction.commit()
        await eventually(lambda: _size_is(database, 2))
    assert [decode(leaf).details["n"] for leaf in (await verified(database))["acme"]] == [2, 1]


async def _size_is(database: Database, size: int) -> bool:
    return await count(database, "audit_event") == size


async def test_what_is_no_leaf_is_set_aside_and_holds_nothing_up(database: Database, dsn: str) -> None:
    poison = [
        b"not json",
        b'{"v":1}',
        b"\xff\x00",
        encode(a_leaf(tenant="another")),  # a leaf, in a row of somebody else's
        encode(a_leaf()).replace(b'"targets":[]', b'"targets":[7]'),
        re.sub(rb'"occurred_at":\d+', b'"occurred_at":9007199254740991', encode(a_leaf())),
    ]
    ids = [uuid.uuid4() for _ in poison]
    async with database.connection() as connection:
        for id, leaf in zip(ids, poison, strict=True):
            await connection.execute(
                "insert into audit_pending (tenant, event_id, occurred_at, leaf, action, actor, decision) "
                "values ('acme', $1, now(), $2, '', '', '')",
                id,
                leaf,
            )
            await store.add(connection, [Entry.of(a_leaf())])
    unstorable = a_leaf(tenant=random.randbytes(4000).hex())  # only PostgreSQL finds out: no index takes that
    await add(database, [a_leaf(), unstorable, a_leaf()])
    async with sequencing(dsn) as sequencer:
        await drained(database)
    logs = await verified(database)
    assert {tenant: len(log) for tenant, log in logs.items()} == {"acme": len(poison) + 2}
    assert sequencer.stats.set_aside == len(poison) + 1
    async with database.connection() as connection:
        kept = await connection.fetch("select event_id, leaf, reason from audit_quarantine")
    expected = {**dict(zip(ids, poison, strict=True)), uuid.UUID(unstorable.event_id): encode(unstorable)}
    assert {row["event_id"]: row["leaf"] for row in kept} == expected
    assert all(row["reason"] for row in kept)


async def test_very_long_names_are_found_too(database: Database, dsn: str) -> None:
    long = "orders/" + random.randbytes(3000).hex()
    await add(database, [a_leaf(actor=long, targets=[long, long])])
    async with sequencing(dsn):
        await drained(database)
    async with database.connection() as connection:
        for search in (Search(actor=long), Search(resource=long)):
            [found] = await events.page(connection, "acme", search, limit=5)
            assert found.leaf.targets == (long, long)


async def test_a_leaf_that_comes_again_is_not_appended_again(database: Database, dsn: str) -> None:
    leaf = a_leaf(1)
    async with sequencing(dsn) as sequencer:
        await add(database, [leaf])
        await drained(database)
        await add(database, [leaf, a_leaf(2)])
        await drained(database)
        forged = Entry(leaf, encode(leaf).replace(b'"n":1', b'"n":9'))
        async with database.connection() as connection:
            await store.add(connection, [forged])
        await drained(database)
    assert sequencer.stats.doubled == 2
    assert [decode(encoded).details["n"] for encoded in (await verified(database))["acme"]] == [1, 2]
    async with database.connection() as connection:
        kept = await connection.fetch("select leaf, reason from audit_quarantine")
    assert [(row["leaf"], row["reason"]) for row in kept] == [(forged.encoded, "another event has this id")]


async def test_one_leads_and_another_takes_over(database: Database, dsn: str) -> None:
    async with sequencing(dsn) as first, sequencing(dsn) as second:

        async def one_thinks_so() -> bool:  # the one that was cut off finds out a moment later
            return [first.stats.leading, second.stats.leading].count(True) <= 1

        for round_ in range(6):
            await add(database, [a_leaf(round_ * 10 + number) for number in range(10)])
            await drained(database)
            await eventually(one_thinks_so)
            async with database.connection() as connection:  # the leader's connection is cut
                await connection.execute(
                    "select pg_terminate_backend(pid) from pg_locks join pg_stat_activity using (pid) "
                    "where locktype = 'advisory' and granted and application_name = 'tria-sequencer' "
                    "and datname = current_database()"
                )
        await add(database, [a_leaf()])
        await drained(database)
    assert len((await verified(database))["acme"]) == 61


async def test_each_loss_costs_the_same_pause(database: Database, dsn: str) -> None:
    """Whoever has led begins with the first pause again, however often the connection was lost before."""
    loop, pauses = asyncio.get_running_loop(), []
    settings = SequencerSettings(poll=0.05, standby=0.05, backoff=0.1, backoff_max=60.0)
    async with sequencing(dsn, settings=settings) as sequencer:
        await asyncio.wait_for(sequencer.leads.wait(), 20)
        for _ in range(7):
            since = loop.time()
            async with database.connection() as connection:
                await connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where application_name = 'tria-sequencer' and datname = current_database()"
                )

            async def stepped_down() -> bool:
                return not sequencer.leads.is_set()

            await eventually(stepped_down)
            await asyncio.wait_for(sequencer.leads.wait(), 60)
            pauses.append(loop.time() - since)
    assert min(pauses[-2:]) < 10 * max(pauses[:2]), pauses


async def test_an_overtaken_leader_can_append_no_more(database: Database, dsn: str) -> None:
    async with database.connection() as connection:
        old = await log_store.take_over(connection, "old")
        new = await log_store.take_over(connection, "new")
        async with connection.transaction():
            await log_store.fence(connection, new)
        with pytest.raises(Overtaken):
            await log_store.fence(connection, old)


async def test_writers_under_load_while_sequencers_come_and_go(database: Database, dsn: str) -> None:
    stop = asyncio.Event()
    written: list[str] = []

    async def write(tenant: str) -> None:
        while not stop.is_set():
            leaves = [a_leaf(number, tenant) for number in range(random.randint(1, 40))]
            await add(database, leaves)
            written.extend(leaf.event_id for leaf in leaves)

    writers = [asyncio.create_task(write(f"w{number}")) for number in range(3)]
    for _ in range(5):
        async with sequencing(dsn) as sequencer:
            await eventually(partial(_wrote, sequencer, 200))
    stop.set()
    await asyncio.gather(*writers)
    async with sequencing(dsn):
        await drained(database)
    logs = await verified(database)
    found = [decode(leaf).event_id for log in logs.values() for leaf in log]
    assert sorted(found) == sorted(written)


async def _wrote(sequencer: Sequencer, leaves: int) -> bool:
    return sequencer.stats.leaves >= leaves


@pytest.mark.parametrize(
    "statement",
    [
        "update audit_event set leaf = ''",
        "delete from audit_event",
        "truncate audit_event",
        "delete from audit_tile",
        "update audit_tile set root = hashes",
        "delete from audit_event_id",
        "update audit_checkpoint set note = ''",
        "delete from audit_checkpoint",
        "truncate audit_checkpoint cascade",
        "update audit_tree set size = size - 1",
        "update audit_tree set root = sha256('')",
        "delete from audit_tree",
        "truncate audit_tree",
        "update audit_pending set leaf = ''",
        "set session_replication_role = replica; delete from audit_event",
    ],
)
async def test_the_log_is_append_only(database: Database, dsn: str, statement: str) -> None:
    await add(database, [a_leaf(number) for number in range(300)])
    async with sequencing(dsn):
        await drained(database)
    await add(database, [a_leaf()])
    connection = await asyncpg.connect(dsn)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await connection.execute(statement)
    partition = await connection.fetchval("select audit_partition(now())")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(f"truncate {partition}")
    await connection.close()
    assert await count(database, "audit_event") == 300


async def test_the_database_lost_in_the_middle_is_only_a_pause(database: Database, dsn: str) -> None:
    async with sequencing(dsn, settings=QUICK) as sequencer:
        await asyncio.wait_for(sequencer.leads.wait(), 20)
        await add(database, [a_leaf(number) for number in range(100)])
        async with database.connection() as connection:
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'tria-sequencer' and datname = current_database()"
            )
        await drained(database)
    assert len((await verified(database))["acme"]) == 100
