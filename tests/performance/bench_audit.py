"""What the audit log costs, and how fast it is written.

    python -m tests.performance.bench_audit [--leaves 60000] [--orders 400] [--calls 400] [--rounds 5]

- the sequencer: leaves a second out of audit_pending into the log, tree and checkpoints included; beside it, measured
  in the same run, how fast the same leaves were put into audit_pending;
- orders: the same use case with its change leaf and without, while a sequencer in a process of its own empties the
  queue;
- reads: calls whose leaf is durable before the answer, and calls that do not wait for it; the difference beside what
  one group commit takes.

Real PostgreSQL with fsync. Contenders take turns, figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path

import uvloop

from server.audit import store
from server.audit.actions import Action, Decision
from server.audit.changes import Author, operator
from server.audit.leaf import Leaf, Plain
from server.audit.notary import Keyring, Notary
from server.audit.recorder import AuditRecorder
from server.audit.sequencer import Sequencer
from server.audit.store import Entry
from server.caller import AuthMethod, Caller, Role
from server.db.migrate import migrate
from server.db.pool import Connection, Database, PoolSettings
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.valkey import EmbeddedValkey
from server.idempotency import Idempotency
from server.order.order import Order
from server.order.placing import Draft
from server.order.pricing import Wanted
from tests.support import probe
from tests.support.audit_log import KEY, a_leaf
from tests.support.calls import AccessLog, Keys, serving
from tests.support.orders import OUTLET, TENANT, desk_without_accounting, fill
from tests.support.stores import with_database

Round = Callable[[], Awaitable[float]]
_SEQUENCE = (
    "import asyncio, sys\n"
    "from server.audit.sequencer import Sequencer\n"
    "from tests.performance.bench_audit import notary\n"
    "asyncio.run(Sequencer(sys.argv[1], notary()).run())\n"
)


def notary() -> Notary:
    """Signs every ten seconds, as by default."""
    return Notary(Keyring(KEY), 10.0)


async def sequenced(dsn: str, database: Database, leaves: int) -> tuple[float, float]:
    """Leaves a second into audit_pending, and out of it into the log."""
    entries = [
        Entry.of(a_leaf(number, f"tenant-{number % 8}", actor=f"a{number % 50}", targets=[f"orders/{number % 999}"]))
        for number in range(leaves)
    ]
    began = time.perf_counter()
    for start in range(0, leaves, 1000):
        async with database.connection() as connection:
            await store.add(connection, entries[start : start + 1000])
    put = time.perf_counter() - began
    sequencer = Sequencer(dsn, notary())
    began = time.perf_counter()
    running = asyncio.create_task(sequencer.run())
    while sequencer.stats.leaves < leaves:  # noqa: ASYNC110  # a count, not an event, is waited for
        await asyncio.sleep(0.005)
    taken = time.perf_counter() - began
    sequencer.request_stop()
    await running
    return leaves / put, leaves / taken


class Silent(Author):
    """Leaves no record."""

    async def record(
        self,
        connection: Connection,
        action: Action,
        targets: Sequence[str],
        details: Mapping[str, Plain],
        *,
        decision: Decision = Decision.ALLOWED,
    ) -> Leaf:
        del connection, targets, details, decision
        return a_leaf(action=action)


async def ordered(dsn: str, orders: int, rounds: int) -> dict[str, float]:
    """Orders a second, by whether their changes are recorded."""
    caller = Caller(TENANT, "ann", frozenset({Role.STAFF}), AuthMethod.JWT, "")
    recording = replace(operator(TENANT), caller=caller)
    authors = {"with": recording, "without": Silent(recording.caller, recording.request, recording.shown)}
    async with Database(dsn, PoolSettings(min_size=8, max_size=8)) as database:
        await fill(database)
        desk = desk_without_accounting(database, dsn)
        draft = Draft(OUTLET, [Wanted("NP", Decimal(10)), Wanted("PB-12", Decimal(200))])

        def contender(author: Author) -> Round:
            async def order() -> None:
                key: Idempotency[Order] = Idempotency("create", str(uuid.uuid4()), b"", lambda made: made.name.encode())
                await desk.placing.create(author, draft, key)

            return lambda: per_second(order, orders, 8)

        return await by_turns({name: contender(author) for name, author in authors.items()}, rounds)


class Behind(AuditRecorder):
    """Does not wait until a leaf is durable."""

    async def record(self, leaf: Leaf) -> None:
        self.submit(leaf)


async def read(root: Path, dsn: str, redis_url: str, calls: int, rounds: int) -> dict[str, float]:
    """Median seconds of a call alone, by whether it waits for its leaf; and those of a commit of one leaf."""
    contenders: dict[str, Round] = {}
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(dsn))
        for name, kind in (("durable", AuditRecorder), ("behind", Behind)):
            folder = root / name
            folder.mkdir()
            keys = Keys(folder / "jwks.json")
            keys.add("k1")
            running = serving(keys, database, redis_url, AccessLog(), folder, recorder_type=kind)
            served = await stack.enter_async_context(running)
            stub = served.stub("Unary", "Bench")
            metadata = (("authorization", f"Bearer {keys.token()}"),)

            call = partial(stub, probe.Ask(name="orders/o1"), metadata=metadata)
            contenders[name] = partial(median_seconds, call, calls)

        async def commit() -> None:
            async with database.connection() as connection:
                await store.add(connection, [Entry.of(a_leaf())])

        contenders["commit"] = partial(median_seconds, commit, calls)
        return await by_turns(contenders, rounds)


async def by_turns(contenders: Mapping[str, Round], rounds: int) -> dict[str, float]:
    """The median of each; the first round warms up."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            figure = await contender()
            if number:
                found[name].append(figure)
    return {name: statistics.median(figures) for name, figures in found.items()}


async def per_second(work: Callable[[], Awaitable[None]], times: int, concurrency: int) -> float:
    """How often a second it is done by so many at once."""
    left = iter(range(times))

    async def some() -> None:
        for _ in left:
            await work()

    began = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(concurrency)))
    return times / (time.perf_counter() - began)


async def median_seconds(work: Callable[[], Awaitable[object]], times: int) -> float:
    """How long it takes, one after another."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


@asynccontextmanager
async def sequencer_beside(dsn: str) -> AsyncIterator[None]:
    """A sequencer in a process of its own, as a worker is."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", _SEQUENCE, dsn)
    try:
        yield
    finally:
        child.kill()
        await child.wait()


@contextmanager
def directory() -> Iterator[Path]:
    """A temporary directory that the PostgreSQL system user may enter."""
    root = Path(tempfile.mkdtemp(prefix="tria-bench-", dir="/tmp"))
    root.chmod(0o711)
    try:
        yield root
    finally:
        shutil.rmtree(root)


async def main(root: Path, options: argparse.Namespace) -> None:
    """Runs everything and prints the figures."""
    async with AsyncExitStack() as stack:
        postgres, valkey = EmbeddedPostgres(root / "postgres"), EmbeddedValkey(root / "valkey")
        server = await postgres.start()
        stack.push_async_callback(postgres.stop)
        redis_url = await valkey.start()
        stack.push_async_callback(valkey.stop)
        dsns = [with_database(server, name) for name in ("sequenced", "ordered", "read")]
        async with Database(server) as database, database.connection() as connection:
            for dsn in dsns:
                await connection.execute(f"create database {dsn.rpartition('/')[2].partition('?')[0]}")
        for dsn in dsns:
            await migrate(dsn)
        async with Database(dsns[0]) as database:
            rates = [await sequenced(dsns[0], database, options.leaves) for _ in range(3)]
        put, taken = (statistics.median(column) for column in zip(*rates, strict=True))
        print(f"sequencer  {taken:9.0f} leaves/s into the log; put into audit_pending at {put:9.0f} leaves/s")
        async with sequencer_beside(dsns[1]):
            orders = await ordered(dsns[1], options.orders, options.rounds)
        print(f"orders     {orders['with']:9.0f} /s with their leaf, {orders['without']:9.0f} /s without", end="")
        print(f": ratio {orders['with'] / orders['without']:.2f}")
        async with sequencer_beside(dsns[2]):
            found = await read(root, dsns[2], redis_url, options.calls, options.rounds)
        reads = {name: seconds * 1e6 for name, seconds in found.items()}
        added = reads["durable"] - reads["behind"]
        print(f"reads      {reads['durable']:9.0f} µs durable, {reads['behind']:9.0f} µs not waiting", end="")
        print(f": {added:.0f} µs added; a commit of a leaf alone takes {reads['commit']:.0f} µs")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leaves", type=int, default=60_000)
    parser.add_argument("--orders", type=int, default=400)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    with directory() as made:
        uvloop.run(main(made, parser.parse_args()))
