"""A log to test with: leaves, a sequencer on a test's database, and what the log says, verified the slow way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from server.audit import store
from server.audit.actions import Action, Decision, LeafKind
from server.audit.checkpoint import open_note
from server.audit.leaf import Actor, Leaf
from server.audit.notary import Keyring, Notary
from server.audit.sequencer import Sequencer, SequencerSettings
from server.audit.store import Entry
from server.db.pool import Database
from server.signing import PublicKey, SigningKey
from tests.support import naive_tree
from tests.support.stores import eventually

KEY = SigningKey("tria-test", bytes(range(32)))
QUICK = SequencerSettings(poll=0.05, standby=0.05, backoff=0.05, linger=0.0)


def a_leaf(
    number: int = 0,
    tenant: str = "acme",
    *,
    actor: str = "ada",
    action: Action = Action.DATA_READ,
    targets: Sequence[str] = (),
    decision: Decision = Decision.ALLOWED,
) -> Leaf:
    return Leaf(
        tenant,
        action,
        Actor("STAFF", actor, "JWT"),
        decision,
        LeafKind.ACCESS,
        targets=tuple(targets),
        details={"n": number},
    )


async def add(database: Database, leaves: Sequence[Leaf]) -> None:
    async with database.connection() as connection:
        await store.add(connection, [Entry.of(leaf) for leaf in leaves])


async def count(database: Database, table: str) -> int:
    async with database.connection() as connection:
        found: int = await connection.fetchval(f"select count(*) from {table}")
    return found


async def drained(database: Database) -> None:
    """Waits until nothing is pending any more."""

    async def empty() -> bool:
        return await count(database, "audit_pending") == 0

    await eventually(empty)


@asynccontextmanager
async def sequencing(
    dsn: str, notary: Notary | None = None, settings: SequencerSettings = QUICK
) -> AsyncIterator[Sequencer]:
    """A sequencer that runs, and at the end has signed what it wrote."""
    sequencer = Sequencer(dsn, notary or Notary(Keyring(KEY), 0.0), settings)
    running = asyncio.create_task(sequencer.run())
    try:
        yield sequencer
    finally:
        sequencer.request_stop()
        await running


async def verified(
    database: Database, keys: Sequence[PublicKey] = (KEY.public,), *, sample: int = 1000
) -> dict[str, list[bytes]]:
    """The leaves of every tenant, in order, after each claim of the log has been recomputed from them naively.

    Of the checkpoints only `sample`, drawn at random.
    """
    async with database.connection() as connection:
        rows = await connection.fetch("select tenant, seq, leaf from audit_event order by tenant, seq")
        trees = await connection.fetch("select tenant, size, root from audit_tree")
        notes = await connection.fetch("select tenant, size, root, note from audit_checkpoint")
    logs: dict[str, list[bytes]] = {}
    for row in rows:
        leaves = logs.setdefault(row["tenant"], [])
        assert row["seq"] == len(leaves), "a gap"
        leaves.append(row["leaf"])
    assert {row["tenant"]: row["size"] for row in trees} == {tenant: len(leaves) for tenant, leaves in logs.items()}
    for row in trees:
        assert row["root"] == naive_tree.mth(logs[row["tenant"]])
    for row in random.sample(notes, min(len(notes), sample)):
        checkpoint = open_note(row["note"], keys).checkpoint
        assert (checkpoint.origin, checkpoint.size) == (f"tria/{row['tenant']}", row["size"])
        assert checkpoint.root == row["root"] == naive_tree.mth(logs[row["tenant"]][: row["size"]])
    return logs
