"""Checkpoints: signed when due, refused for a changed log, countersigned by a new key, brought to every sink."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp.web
import asyncpg
import orjson
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry, generate_latest

from server.audit.checkpoint import open_note
from server.audit.courier import Courier, CourierSettings
from server.audit.log_metrics import LogMetrics, lag
from server.audit.notary import Keyring, Notary
from server.audit.sequencer import Sequencer
from server.audit.sinks import FileSink, SinkFailed, WebhookSink
from server.audit.tree_store import checkpoint_covering, latest_checkpoint
from server.db.pool import Database
from server.signing import SigningKey
from tests.support.audit_log import KEY, a_leaf, add, count, drained, sequencing, verified
from tests.support.stores import eventually

NEXT = SigningKey("tria-next", bytes(range(1, 33)))
QUICK = CourierSettings(batch=10, poll=0.01, backoff=0.01, backoff_max=0.05)


async def sealed(database: Database, size: int) -> None:
    async def covered() -> bool:
        async with database.connection() as connection:
            last = await latest_checkpoint(connection, "acme")
        return last is not None and last.size >= size

    await eventually(covered)


async def by_force(dsn: str, *statements: str) -> None:
    """As somebody who rules the database would: the triggers are taken off first."""
    connection = await asyncpg.connect(dsn)
    for table in ("audit_event", "audit_tile", "audit_tree", "audit_checkpoint"):
        await connection.execute(f"alter table {table} disable trigger user")
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def test_every_event_is_soon_under_a_checkpoint(database: Database, dsn: str) -> None:
    async with sequencing(dsn, Notary(Keyring(KEY), 0.2)):
        for number in range(4):
            await add(database, [a_leaf(number)])
            await sealed(database, number + 1)
            async with database.connection() as connection:
                found = await checkpoint_covering(connection, "acme", number)
            assert found is not None
            assert open_note(found.note, [KEY.public]).checkpoint.size == found.size == number + 1
    await verified(database)


async def test_no_more_than_one_an_interval_and_one_at_the_end(database: Database, dsn: str) -> None:
    notary = Notary(Keyring(KEY), 3600)
    async with sequencing(dsn, notary):
        for number in range(10):
            await add(database, [a_leaf(number)])
            await drained(database)
        assert notary.stats.signed <= 1
    assert notary.stats.signed <= 2
    async with database.connection() as connection:
        last = await latest_checkpoint(connection, "acme")
    assert last is not None
    assert last.size == 10


@pytest.mark.parametrize(
    "tampering",
    [
        "update audit_tree set frontier = sha256('x') || substr(frontier, 33), root = sha256('y')",
        "update audit_tile set root = sha256('x')",
        "update audit_event set leaf_hash = sha256('x') where seq = 299",
        "update audit_checkpoint set note = replace(note, E'\\n300\\n', E'\\n301\\n'), size = 301",
        "delete from audit_event where seq = 299",
    ],
)
async def test_a_log_that_was_changed_is_not_signed(database: Database, dsn: str, tampering: str) -> None:
    await add(database, [a_leaf(number) for number in range(300)])
    async with sequencing(dsn):
        await drained(database)
    await by_force(dsn, tampering)
    notary = Notary(Keyring(KEY), 0.0)
    async with sequencing(dsn, notary):
        await add(database, [a_leaf(tenant="acme"), a_leaf(tenant="other")])
        await drained(database)
        await eventually(lambda: _refused(notary))
    async with database.connection() as connection:
        last = await latest_checkpoint(connection, "acme")
        other = await latest_checkpoint(connection, "other")
    assert last is not None
    assert last.size in {300, 301}  # nothing new
    assert other is not None  # another tenant's log is signed all the same
    assert other.size == 1


async def _refused(notary: Notary) -> bool:
    return notary.stats.refused > 0


async def test_a_new_key_countersigns_and_goes_on(database: Database, dsn: str) -> None:
    await add(database, [a_leaf(number) for number in range(5)])
    async with sequencing(dsn, Notary(Keyring(KEY), 0.0)):
        await drained(database)
    async with sequencing(dsn, Notary(Keyring(NEXT, [KEY.public]), 0.0)):
        await eventually(lambda: _has(database, 2))
        await add(database, [a_leaf(number) for number in range(5)])
        await drained(database)
    async with sequencing(dsn, Notary(Keyring(NEXT, [KEY.public]), 0.0)):
        await drained(database)
    async with database.connection() as connection:
        notes = await connection.fetch("select size, key_id, note from audit_checkpoint order by size, signed_at")
    assert [(row["size"], row["key_id"]) for row in notes][:2] == [(5, KEY.public.id), (5, NEXT.public.id)]
    assert {row["key_id"] for row in notes if row["size"] > 5} == {NEXT.public.id}
    assert notes[-1]["size"] == 10
    both = open_note(notes[1]["note"], [KEY.public, NEXT.public])
    assert both.signers == (KEY.public, NEXT.public)
    await verified(database, [NEXT.public, KEY.public])


async def _has(database: Database, checkpoints: int) -> bool:
    return await count(database, "audit_checkpoint") >= checkpoints


async def test_a_key_that_does_not_know_the_old_one_signs_nothing(database: Database, dsn: str) -> None:
    await add(database, [a_leaf()])
    async with sequencing(dsn):
        await drained(database)
    notary = Notary(Keyring(NEXT), 0.0)
    async with sequencing(dsn, notary):
        await eventually(lambda: _refused(notary))
    assert await count(database, "audit_checkpoint") == 1


@dataclass
class Receiver:
    """A webhook that notes what it is sent; the next answers come from `answers`, then 204."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    taken: list[dict[str, object]] = field(default_factory=list)
    calls: int = 0

    async def take(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        self.calls += 1
        content = await request.read()
        status = self.answers.pop(0) if self.answers else 204
        if status == 204:
            self.taken += [orjson.loads(line) for line in content.splitlines()]
        return aiohttp.web.Response(status=status, headers={"location": self.url})


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    app = aiohttp.web.Application()
    app.router.add_post("/checkpoints", found.take)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/checkpoints"
    yield found
    await runner.cleanup()


async def signed(database: Database, dsn: str, last: int, *, first: int = 1) -> None:
    """Checkpoints of sizes `first` to `last`."""
    async with sequencing(dsn, Notary(Keyring(KEY), 0.0)):
        for size in range(first, last + 1):
            await add(database, [a_leaf()])
            await sealed(database, size)


async def test_the_file_gets_every_checkpoint_once(database: Database, dsn: str, tmp_path: Path) -> None:
    await signed(database, dsn, 5)
    path = tmp_path / "deeper" / "checkpoints.jsonl"
    courier = Courier(database, FileSink(path), asyncio.Event(), CourierSettings(batch=2))
    assert [await courier.push() for _ in range(4)] == [2, 2, 1, 0]
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["size"] for line in lines] == [1, 2, 3, 4, 5]
    for line in lines:
        checkpoint = open_note(line["note"], [KEY.public]).checkpoint
        assert (checkpoint.origin, checkpoint.size) == (f"tria/{line['tenant']}", line["size"])
    async with database.connection() as connection:
        assert await lag(connection, "file") == (0, 0.0)


async def test_a_file_that_cannot_be_written_is_a_failure(database: Database, dsn: str, tmp_path: Path) -> None:
    await signed(database, dsn, 1)
    (tmp_path / "file").write_text("in the way")
    courier = Courier(database, FileSink(tmp_path / "file" / "checkpoints.jsonl"), asyncio.Event())
    with pytest.raises(SinkFailed, match="cannot be written"):
        await courier.push()


async def test_a_file_that_fills_up_keeps_no_half_of_a_checkpoint(database: Database, dsn: str, tmp_path: Path) -> None:
    """Cut by a limit on the size of files, which the kernel answers first with a short write and then with an error."""
    await signed(database, dsn, 3)
    path = tmp_path / "checkpoints.jsonl"
    one = Courier(database, FileSink(path), asyncio.Event(), CourierSettings(batch=1))
    assert await one.push() == 1
    before = path.read_bytes()
    rest = Courier(database, FileSink(path), asyncio.Event())
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + len(before) // 2, hard))
    try:
        with pytest.raises(SinkFailed, match="cannot be written"):
            await rest.push()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == before
    assert await rest.push() == 2
    assert len(path.read_bytes().splitlines()) == 3


async def test_the_webhook_is_asked_until_it_takes_them(database: Database, dsn: str, receiver: Receiver) -> None:
    await signed(database, dsn, 3)
    receiver.answers = [500, 503, 302, 404]  # a redirect is not followed
    leads = asyncio.Event()
    courier = Courier(database, WebhookSink(receiver.url), leads, QUICK)
    pushing = asyncio.create_task(courier.keep_pushing())
    await asyncio.sleep(0)
    assert receiver.calls == 0  # only the leader pushes
    leads.set()
    await eventually(lambda: _taken(receiver, 3))
    await signed(database, dsn, 5, first=4)
    await eventually(lambda: _taken(receiver, 5))
    pushing.cancel()
    await asyncio.wait({pushing})
    assert [line["size"] for line in receiver.taken] == [1, 2, 3, 4, 5]
    assert courier.stats.failures == 4


async def _taken(receiver: Receiver, number: int) -> bool:
    return len(receiver.taken) >= number


async def test_a_webhook_that_is_away_holds_up_no_other_sink(database: Database, dsn: str, tmp_path: Path) -> None:
    await signed(database, dsn, 2)
    away = Courier(database, WebhookSink("http://127.0.0.1:1/"), asyncio.Event())
    with pytest.raises(SinkFailed, match="does not answer"):
        await away.push()
    assert await Courier(database, FileSink(tmp_path / "c.jsonl"), asyncio.Event()).push() == 2
    async with database.connection() as connection:
        waiting, age = await lag(connection, "webhook")
    assert waiting == 2
    assert age > 0


async def test_the_figures_say_what_waits(database: Database, dsn: str) -> None:
    await signed(database, dsn, 2)
    registry = CollectorRegistry()
    metrics, notary = LogMetrics(registry), Notary(Keyring(KEY), 3600)
    courier = Courier(database, WebhookSink("http://127.0.0.1:1/"), asyncio.Event())
    await metrics.sample(database, Sequencer(dsn, notary), notary, [courier])
    figures = generate_latest(registry).decode()
    assert "tria_audit_backlog 0.0" in figures
    assert "tria_audit_leader 0.0" in figures
    assert 'tria_audit_sink_waiting{sink="webhook"} 2.0' in figures
    await by_force(dsn, "delete from audit_checkpoint where size = 2")
    await add(database, [a_leaf() for _ in range(3)])
    await metrics.sample(database, Sequencer(dsn, notary), notary, [courier])
    figures = generate_latest(registry).decode()
    assert "tria_audit_backlog 3.0" in figures
    ages = {
        line.split()[0]: float(line.split()[1])
        for line in figures.splitlines()
        if "age_seconds " in line and line[0] != "#"
    }
    assert ages["tria_audit_backlog_age_seconds"] > 0
    assert ages["tria_audit_unsealed_age_seconds"] > 0
