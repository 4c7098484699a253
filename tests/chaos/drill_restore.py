"""A rehearsal: the system is backed up under load, its database is destroyed, and what comes back is compared with what
callers were told. `make restore-drill` runs it and prints how long it took and what was lost; `make test` does not.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from server.db.pool import Database, PoolSettings
from tests.chaos.test_audit_kills import KEY, Load, _fill, _orders, settled
from tests.rpc.test_knowledge_commands import tria
from tests.support.audit_log import verified
from tests.support.killable import COMMANDS, Killable, killable

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Drill:
    """What was acknowledged before the backup began, before it ended, and in the end; and how long it took."""

    before: frozenset[str]
    meanwhile: frozenset[str]
    load: Load
    seconds: float


async def _command(system: Killable, *arguments: str | Path) -> dict[str, Any]:
    code, output, errors = await tria(*arguments, "--json", environ=dict(system.variables))
    assert code == 0, f"{output}{errors}"
    found: dict[str, Any] = json.loads(output)
    return found


async def _backed_up_under_load(system: Killable, folder: Path) -> Drill:
    """Callers never stop while the backup is made; afterwards they go on, and what they did then will be lost."""
    load = Load(system)
    calling = asyncio.create_task(load.run())
    await load.goes_on()
    await load.goes_on()
    before = frozenset(load.created.values())
    began = time.perf_counter()
    await _command(system, "backup", folder)
    seconds, meanwhile = time.perf_counter() - began, frozenset(load.created.values())
    await load.goes_on()
    calling.cancel()
    await asyncio.wait({calling})
    return Drill(before, meanwhile, load, seconds)


async def _destroy(system: Killable) -> None:
    """Everybody is killed, and the database's directory is gone."""
    for name in (*COMMANDS, "postgres"):
        await system.kill(name)
    await system.postgres.stop()
    shutil.rmtree(system.postgres.state / "data")
    await system.postgres.start()


async def test_a_destroyed_database_comes_back(stores_root: Path, tmp_path: Path, valkey: str) -> None:
    place = stores_root / "drill"
    place.mkdir(mode=0o711)
    settings = {"TRIA_AUDIT_CHECKPOINT_INTERVAL": "0.2"}
    async with killable(place, tmp_path, valkey, _fill, settings) as system:
        folder, kept = tmp_path / "backup", tmp_path / "checkpoints.jsonl"
        drill = await _backed_up_under_load(system, folder)
        async with Database(system.dsn, PoolSettings(min_size=1, max_size=2)) as database:
            await settled(system, database)
            logs_before = await verified(database, [KEY.public], sample=5)
        began = time.perf_counter()
        await _destroy(system)
        restored = await _command(system, "restore", folder, "--checkpoints", kept)
        kept.rename(kept.with_suffix(".lost"))
        await system.revive()
        seconds = time.perf_counter() - began
        await _goes_on(system, drill, restored, logs_before)
    lost = set(drill.load.created.values()) - drill.before
    print(  # noqa: T201  # the figures of the rehearsal
        f"\nbacked up under load in {drill.seconds:.1f} s; destroyed, restored in"
        f" {sum(restored['seconds'].values()):.1f} s ({restored['seconds']}), serving again after {seconds:.1f} s;"
        f" lost: {restored['lost_at_least']} signed audit records of {sum(map(len, logs_before.values()))},"
        f" at most {len(lost)} of {len(drill.load.created)} acknowledged orders;"
        f" the backup was {restored['age_seconds']:.1f} s old",
        end=" ",
    )


async def _goes_on(system: Killable, drill: Drill, restored: dict[str, Any], before: dict[str, list[bytes]]) -> None:
    """The restored system takes orders again, and its log is the beginning of the old one and then the restore."""
    async with Database(system.dsn, PoolSettings(min_size=1, max_size=2)) as database:
        assert drill.before <= await _orders(database), "what was acknowledged before the backup began"
        gone = set(drill.load.created.values()) - await _orders(database)
        assert gone, "what came after the backup was to be lost, or this shows nothing"
        assert not gone & drill.before
        load = Load(system)
        calling = asyncio.create_task(load.run())
        await load.goes_on()
        calling.cancel()
        await asyncio.wait({calling})
        await settled(system, database)
        logs = await verified(database, [KEY.public], sample=5)
        assert set(load.created.values()) <= await _orders(database)
    sizes = {log["tenant"]: log["size"] for log in restored["logs"]}
    for tenant, size in sizes.items():
        assert logs[tenant][:size] == before[tenant][:size]
        assert b"ADMIN_COMMAND" in _first_of_action(logs[tenant][size:])
    assert restored["lost_at_least"] == sum(len(before[tenant]) - size for tenant, size in sizes.items())


def _first_of_action(leaves: Iterable[bytes]) -> bytes:
    return next((leaf for leaf in leaves if b'"ADMIN_COMMAND"' in leaf), b"")
