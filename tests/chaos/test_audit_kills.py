"""Server, workers and PostgreSQL are killed again and again under load; afterwards the log is whole, and it is true.

`make chaos-audit ROUNDS=50` kills more often than the six times of a normal run.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from server.audit.checkpoint import open_note
from server.db.pool import Database, PoolSettings
from server.signing import SigningKey
from tests.support import naive_tree
from tests.support.audit_log import count, verified
from tests.support.killable import VICTIMS, Killable, killable
from tests.support.orders import TENANT, fill
from tests.support.stores import eventually

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "6"))
KEY = SigningKey("test", b"a" * 32)  # of tests/support/app.py


@dataclass
class Load:
    """What the callers of tests/support/order_load.py were told."""

    system: Killable
    created: dict[str, str] = field(default_factory=dict)  # request id: order, acknowledged
    answered: set[str] = field(default_factory=set)  # request ids of calls that ended with an answer of the server
    codes: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Until cancelled; then what is under way is waited for."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.order_load", str(self.system.port), str(self.system.folder / "issuer"),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert child.stdout is not None
        reading = asyncio.create_task(self._read(child.stdout))
        try:
            await asyncio.shield(reading)
        finally:
            child.terminate()
            await reading
            await child.wait()

    async def _read(self, told: asyncio.StreamReader) -> None:
        async for text in told:
            outcome = json.loads(text)
            self.codes[outcome["code"]] += 1
            if outcome["code"] in {"OK", "PERMISSION_DENIED"}:
                self.answered.add(outcome["id"])
            if outcome["order"]:
                self.created[outcome["id"]] = outcome["order"]

    async def goes_on(self) -> None:
        """Waits until the callers were answered some more times."""
        wanted = len(self.answered) + 30
        await eventually(partial(_reached, self.answered, wanted), within=60)


async def _reached(found: set[str], wanted: int) -> bool:
    return len(found) >= wanted


async def _fill(dsn: str) -> None:
    async with Database(dsn, PoolSettings(min_size=1, max_size=2)) as database:
        await fill(database)


async def torment(system: Killable, load: Load, rounds: int) -> Counter[str]:
    """So many rounds of killing somebody under load, and starting him again."""
    killed: Counter[str] = Counter()
    for number in range(rounds):
        await load.goes_on()
        first = VICTIMS[number] if number < len(VICTIMS) else random.choice(VICTIMS)
        victims = {first, random.choice(VICTIMS)} if number % 3 == 2 else {first}
        for victim in victims:
            await asyncio.sleep(random.uniform(0.0, 0.3))  # at any moment of what goes on
            await system.kill(victim)
            killed[victim] += 1
        await asyncio.sleep(random.uniform(0.0, 1.0))
        await system.revive()
    await load.goes_on()
    return killed


async def settled(system: Killable, database: Database) -> None:
    """Waits until nothing is on its way any more: no spool, nothing pending, everything under a checkpoint, all out."""

    async def nothing_waits() -> bool:
        spool = [path for path in (system.folder / "audit-spool").glob("*.leaves") if path.stat().st_size]
        return not spool and await count(database, "audit_pending") == 0 and await count(database, _UNSEALED) == 0

    await eventually(nothing_waits, within=60)


_UNSEALED = """(
    select tenant from audit_tree as tree where not exists (
        select from audit_checkpoint_push as push where push.tenant = tree.tenant and push.size = tree.size)
) as unsealed"""


@pytest.mark.timeout(120 + 40 * ROUNDS)
async def test_nothing_is_lost_or_doubled_whoever_is_killed(stores_root: Path, tmp_path: Path, valkey: str) -> None:
    place = stores_root / "kills"
    place.mkdir(mode=0o711)
    settings = {"TRIA_AUDIT_CHECKPOINT_INTERVAL": "2"}
    async with (
        killable(place, tmp_path, valkey, _fill, settings) as system,
        Database(system.dsn, PoolSettings(min_size=1, max_size=3)) as database,
    ):
        load = Load(system)
        calling = asyncio.create_task(load.run())
        killed = await torment(system, load, ROUNDS)
        calling.cancel()
        await asyncio.wait({calling})
        await settled(system, database)
        logs = await verified(database, [KEY.public], sample=20)
        orders = await _orders(database)
        assert await count(database, "audit_quarantine") == 0
    assert set(VICTIMS) <= set(killed)
    _compare(load, {tenant: [orjson.loads(leaf) for leaf in log] for tenant, log in logs.items()}, orders)
    _check_file(tmp_path / "checkpoints.jsonl", logs)
    events = sum(map(len, logs.values()))
    print(f"killed {dict(killed)}; {events} events, {len(orders)} orders, {len(load.created)} acknowledged", end=" ")  # noqa: T201


async def _orders(database: Database) -> set[str]:
    async with database.connection() as connection:
        rows = await connection.fetch("select id from customer_order where tenant = $1", TENANT)
    return {f"orders/{row['id']}" for row in rows}


def _compare(load: Load, logs: dict[str, list[dict[str, Any]]], orders: set[str]) -> None:
    """What callers were told, what is stored and what the log says are one and the same."""
    events = [event for log in logs.values() for event in log]
    assert max(Counter(event["event_id"] for event in events).values()) == 1
    changes = Counter(event["targets"][0] for event in events if event["kind"] == "CHANGE" and event["rpc"])
    assert set(changes) == orders, "a change without its leaf, or a leaf without its change"
    assert max(changes.values()) == 1
    recorded = {event["request_id"]: event["targets"][0] for event in events if event["kind"] == "CHANGE"}
    assert load.created.items() <= recorded.items()
    calls = Counter(event["request_id"] for event in events if event["kind"] == "ACCESS")
    assert load.answered <= set(calls)
    assert max(calls.values()) == 1
    assert len(load.created) > 10
    assert load.codes["PERMISSION_DENIED"] > 0


def _check_file(path: Path, logs: dict[str, list[bytes]]) -> None:
    """Every checkpoint that left the database is still a past of the log."""
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    assert {line["tenant"] for line in lines} == set(logs)
    for line_ in random.sample(lines, min(len(lines), 20)):
        checkpoint = open_note(line_["note"], [KEY.public]).checkpoint
        assert checkpoint.root == naive_tree.mth(logs[line_["tenant"]][: checkpoint.size])
