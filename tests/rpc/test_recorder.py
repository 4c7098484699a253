"""No audit leaf is lost: PostgreSQL away, disk away, kill -9, torn files, duplicates, cancelled callers."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path

import asyncpg
import pytest

from server.audit.actions import Action, Decision, LeafKind
from server.audit.file import AuditFile
from server.audit.leaf import Actor, Leaf, decode, encode
from server.audit.recorder import AuditRecorder, RecorderSettings
from server.audit.spool import Spool
from server.audit.store import CHANNEL
from server.caller import AuthMethod, Caller, Role
from server.db.migrate import migrate
from server.db.pool import Database, PoolSettings
from server.embedded.postgres import EmbeddedPostgres
from server.errors import AppError, Reason
from tests.support.stores import eventually


def a_leaf(number: int = 0, request_id: str = "") -> Leaf:
    actor, details = Actor("STAFF", "ada", "JWT"), {"n": number}
    return Leaf(
        "acme", Action.DATA_READ, actor, Decision.ALLOWED, LeafKind.ACCESS, details=details, request_id=request_id
    )


async def stored(database: Database) -> list[Leaf]:
    async with database.connection() as connection:
        rows = await connection.fetch("select leaf from audit_pending order by id")
    return [decode(row["leaf"]) for row in rows]


async def hide_the_table(database: Database, *, away: bool) -> None:
    names = ("audit_pending", "audit_hidden") if away else ("audit_hidden", "audit_pending")
    async with database.connection() as connection:
        await connection.execute(f"alter table {names[0]} rename to {names[1]}")


async def test_a_recorded_leaf_is_in_postgresql_and_in_the_file(database: Database, tmp_path: Path) -> None:
    async with AuditRecorder(database, Spool(tmp_path / "spool"), AuditFile(tmp_path / "a.jsonl")) as recorder:
        leaves = [a_leaf(number) for number in range(300)]
        await asyncio.gather(*(recorder.record(leaf) for leaf in leaves))
        found = await stored(database)
        assert {encode(leaf) for leaf in found} == {encode(leaf) for leaf in leaves}
        assert recorder.stats().written == 300
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines()
    assert set(lines) == {encode(leaf) for leaf in leaves}
    assert len(lines) == 300


async def test_the_columns_repeat_what_the_log_is_searched_by(database: Database, tmp_path: Path) -> None:
    leaf = a_leaf(request_id="req\x00\n1")
    async with AuditRecorder(database, Spool(tmp_path), None) as recorder:
        await recorder.record(leaf)
        async with database.connection() as connection:
            row = await connection.fetchrow("select * from audit_pending")
    assert row is not None
    assert (row["tenant"], str(row["event_id"]), row["occurred_at"]) == ("acme", leaf.event_id, leaf.occurred_at)
    assert (row["action"], row["actor"], row["decision"]) == ("DATA_READ", "ada", "ALLOWED")
    assert row["request_id"] == json.loads(row["leaf"])["request_id"] == "req1"


async def test_an_unwritable_table_sends_leaves_to_the_spool_and_back(database: Database, tmp_path: Path) -> None:
    async with AuditRecorder(database, Spool(tmp_path), None) as recorder:
        await hide_the_table(database, away=True)
        leaves = [a_leaf(number) for number in range(50)]
        await asyncio.gather(*(recorder.record(leaf) for leaf in leaves))
        assert recorder.stats().spooled == 50
        await hide_the_table(database, away=False)

        async def replayed() -> bool:
            return recorder.stats().replayed == 50

        await eventually(replayed)
        assert Counter(leaf.event_id for leaf in await stored(database)) == Counter(leaf.event_id for leaf in leaves)
        assert (recorder.stats().lost, recorder.stats().spool_pending) == (0, 0)
        assert Spool(tmp_path).claim() is None


async def test_postgresql_stops_and_comes_back(stores_root: Path, tmp_path: Path) -> None:
    server = EmbeddedPostgres(stores_root / "postgres-audit", settings={"fsync": "off"})
    dsn = await server.start()
    try:
        await migrate(dsn)
        async with (
            Database(dsn, PoolSettings(min_size=1, max_size=2)) as database,
            AuditRecorder(database, Spool(tmp_path), None) as recorder,
        ):
            leaves = [a_leaf(number) for number in range(3)]
            await recorder.record(leaves[0])
            await server.stop()
            await recorder.record(leaves[1])
            assert recorder.stats().spooled == 1
            await server.start()
            await recorder.record(leaves[2])

            async def replayed() -> bool:
                return recorder.stats().spool_pending == 0

            await eventually(replayed, within=30)
            assert Counter(leaf.event_id for leaf in await stored(database)) == Counter(x.event_id for x in leaves)
            assert recorder.stats().lost == 0
    finally:
        await server.stop()


async def test_only_when_table_and_disk_both_fail_a_leaf_is_lost_and_said_to_be(
    database: Database, tmp_path: Path
) -> None:
    blocked = tmp_path / "spool"
    blocked.write_text("a file where the directory should be")
    async with AuditRecorder(database, Spool(blocked), None) as recorder:
        recorder.check()
        await hide_the_table(database, away=True)
        with pytest.raises(AppError) as refused:
            await recorder.record(a_leaf())
        assert refused.value.reason is Reason.AUDIT_UNAVAILABLE
        assert recorder.stats().lost == 1
        with pytest.raises(AppError):
            recorder.check()
        blocked.unlink()
        await recorder.record(a_leaf())
        recorder.check()
        assert recorder.stats().lost == 1


async def test_writable_is_said_without_leaving_a_leaf(database: Database, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    async with AuditRecorder(database, Spool(spool), None) as recorder:
        assert await recorder.writable()
        await hide_the_table(database, away=True)
        assert await recorder.writable()  # the disk takes them
        for path in spool.iterdir():
            path.unlink()
        await asyncio.to_thread(recorder._spool.close)
        spool.rmdir()
        spool.write_text("in the way")
        assert not await recorder.writable()
        await hide_the_table(database, away=False)
        assert await recorder.writable()
        assert await stored(database) == []


async def test_the_sequencer_is_told_but_not_for_every_leaf(database: Database, dsn: str, tmp_path: Path) -> None:
    told: list[object] = []
    listening = await asyncpg.connect(dsn)
    await listening.add_listener(CHANNEL, lambda *_: told.append(1))
    settings = RecorderSettings(wake_interval=3600)
    async with AuditRecorder(database, Spool(tmp_path), None, settings) as recorder:
        for number in range(20):
            await recorder.record(a_leaf(number))

        async def heard() -> bool:
            return bool(told)

        await eventually(heard)
    await listening.close()
    assert len(told) == 1


async def test_a_cancelled_caller_s_leaf_is_written(database: Database, tmp_path: Path) -> None:
    async with AuditRecorder(database, Spool(tmp_path), None) as recorder:
        leaf = a_leaf()
        task = asyncio.create_task(recorder.record(leaf))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [found.event_id for found in await stored(database)] == [leaf.event_id]


async def test_closing_writes_what_is_queued(database: Database, tmp_path: Path) -> None:
    recorder = AuditRecorder(database, Spool(tmp_path), None)
    await recorder.start()
    for number in range(2500):
        recorder.submit(a_leaf(number))
    await recorder.close()
    assert len(await stored(database)) == 2500


async def test_a_change_and_its_leaf_commit_together_or_not_at_all(database: Database, tmp_path: Path) -> None:
    caller = Caller("acme", "ada@example.com", frozenset({Role.STAFF}), AuthMethod.JWT)
    async with AuditRecorder(database, Spool(tmp_path), None) as recorder:

        async def fail_after_recording() -> None:
            async with database.transaction() as connection:
                await recorder.record_change(connection, caller, None, Action.ORDER_CREATE, ["orders/1"], {"n": 1})
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail_after_recording()
        assert await stored(database) == []
        async with database.transaction() as connection:
            await recorder.record_change(connection, caller, None, Action.ORDER_CREATE, ["orders/2"], {"n": 2})
    [leaf] = await stored(database)
    assert (leaf.kind, leaf.targets, leaf.actor.kind) == (LeafKind.CHANGE, ("orders/2",), "STAFF")
    assert "example.com" not in leaf.actor.id


_CHILD = """
import asyncio, sys
from pathlib import Path
from server.audit.recorder import AuditRecorder
from server.audit.spool import Spool
from server.db.pool import Database
from tests.rpc.test_recorder import a_leaf

async def main() -> None:
    async with (Database("postgresql://nobody@127.0.0.1:1/none") as database,
                AuditRecorder(database, Spool(Path(sys.argv[1])), None) as recorder):
        for number in range(1_000_000):
            leaf = a_leaf(number)
            await recorder.record(leaf)
            print(leaf.event_id, flush=True)

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_kill_9(database: Database, tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CHILD, tmp_path, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": _PATH}
    )
    assert child.stdout is not None
    acknowledged = [(await child.stdout.readline()).decode().strip() for _ in range(100)]
    child.kill()
    acknowledged += [line.decode().strip() async for line in child.stdout]
    await child.wait()
    async with AuditRecorder(database, Spool(tmp_path), None) as recorder:

        async def replayed() -> bool:
            return recorder.stats().replayed >= len(acknowledged)

        await eventually(replayed)
    found = Counter(leaf.event_id for leaf in await stored(database))
    assert set(acknowledged) <= set(found)
    assert max(found.values()) == 1


_PATH = os.pathsep.join(path for path in sys.path if path) + os.pathsep + str(Path(__file__).parents[2])


def test_a_torn_line_was_never_acknowledged_and_is_dropped(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    whole = [encode(a_leaf(number)) for number in range(3)]
    spool.append(whole)
    [path] = tmp_path.glob("*.leaves")
    spool.close()
    with path.open("ab") as file:
        file.write(encode(a_leaf())[:40])
    segment = Spool(tmp_path).claim()
    assert segment is not None
    assert list(segment.leaves) == whole
    segment.release()


def test_a_segment_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    writing, other = Spool(tmp_path), Spool(tmp_path)
    writing.append([encode(a_leaf())])
    assert other.claim() is None
    claimed = writing.claim()
    assert claimed is not None
    assert other.claim() is None
    claimed.remove()
    assert other.claim() is None
    assert writing.claim() is None


async def test_a_leaf_that_postgresql_refuses_does_not_hold_up_the_others(database: Database, tmp_path: Path) -> None:
    good = [a_leaf(number) for number in range(5)]
    spool = Spool(tmp_path)
    spool.append([encode(good[0]), b'{"not":"a leaf"}', *(encode(leaf) for leaf in good[1:]), encode(good[0])])
    spool.close()
    async with AuditRecorder(database, Spool(tmp_path), None) as recorder:

        async def replayed() -> bool:
            return recorder.stats().replayed == 7

        await eventually(replayed)
        assert recorder.stats().rejected == 1
    assert Counter(leaf.event_id for leaf in await stored(database)) == Counter(leaf.event_id for leaf in good)
    assert (tmp_path / "rejected.jsonl").read_bytes() == b'{"not":"a leaf"}\n'


def test_the_file_is_rotated_by_size(tmp_path: Path) -> None:
    file = AuditFile(tmp_path / "audit.jsonl", rotate_bytes=1000, keep=100)
    for number in range(20):
        file.append([encode(a_leaf(number))])
    file.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) > 2
    numbers = [json.loads(line)["details"]["n"] for path in files for line in path.read_bytes().splitlines()]
    assert sorted(numbers) == list(range(20))


def test_the_newest_files_stay_and_those_of_others_too(tmp_path: Path) -> None:
    other = tmp_path / "audit.1.jsonl.20260101T000000.000000Z"
    other.write_text("of another process")
    file = AuditFile(tmp_path / "audit.0.jsonl", rotate_bytes=1000, keep=2)
    for number in range(20):
        file.append([encode(a_leaf(number))])
    file.close()
    assert other.exists()
    rotated = sorted(tmp_path.glob("audit.0.jsonl.*"))
    assert len(rotated) == 2
    numbers = [json.loads(line)["details"]["n"] for path in rotated for line in path.read_bytes().splitlines()]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert numbers[-1] >= 16
