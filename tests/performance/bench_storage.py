"""What an audit leaf, an order and an answered message take on disk, and how long a backup and its proof take of it.

    python -m tests.performance.bench_storage [--leaves 40000] [--orders 1000] [--answers 100]

Bytes are what the database grew by, indexes and all, after a VACUUM, divided by how many were written; the leaves of
calls and changes are counted apart. Real PostgreSQL with fsync, Valkey and Chroma; the offline assistant answers.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path

import asyncpg
import redis.asyncio

from server.audit import store
from server.audit.changes import operator
from server.audit.store import Entry
from server.backup.restoring import Restoring
from server.backup.saving import Saving
from server.db.migrate import migrate
from server.db.pool import Database, PoolSettings
from server.embedded.chroma import EmbeddedChroma
from server.embedded.issuer import Issuer
from server.embedded.pgfiles import installation
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.valkey import EmbeddedValkey
from server.envelope import MasterKey, MasterKeys
from server.idempotency import Idempotency
from server.order.order import Order
from server.order.placing import Draft
from server.order.pricing import Wanted
from tests.support.app import configuration, fill, running_desk
from tests.support.audit_log import KEY, a_leaf, drained, sequencing
from tests.support.orders import OUTLET, TENANT, desk_without_accounting
from tests.support.orders import fill as fill_orders

MASTERS = MasterKeys((MasterKey("test", b"k" * 32),))
_SIZES = """
    select sum(bytes) filter (where relname like 'audit%')::bigint as audit,
           sum(bytes) filter (where relname not like 'audit%')::bigint as rest
    from pg_class, lateral (select pg_total_relation_size(pg_class.oid) as bytes) as size
    where relkind = 'r' and relnamespace = 'public'::regnamespace
"""


async def sizes(dsn: str) -> tuple[int, int]:
    """Bytes of the audit log's tables and of all others."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("vacuum")
        row = await connection.fetchrow(_SIZES)
        assert row is not None
    finally:
        await connection.close()
    return row["audit"], row["rest"]


async def grown(dsn: str, work: Callable[[], Awaitable[None]]) -> tuple[int, int, float]:
    """What the database grew by (audit log, rest), and the seconds that the work took."""
    before = await sizes(dsn)
    began = time.perf_counter()
    await work()
    seconds = time.perf_counter() - began
    after = await sizes(dsn)
    return after[0] - before[0], after[1] - before[1], seconds


async def write_leaves(dsn: str, count: int) -> None:
    async with Database(dsn, PoolSettings(min_size=1, max_size=2)) as database, sequencing(dsn):
        for start in range(0, count, 1000):
            leaves = [
                a_leaf(number, actor=f"a{number % 50}", targets=[f"orders/{uuid.uuid4()}"])
                for number in range(start, min(start + 1000, count))
            ]
            async with database.connection() as connection:
                await store.add(connection, [Entry.of(leaf) for leaf in leaves])
        await drained(database)


async def write_orders(dsn: str, count: int) -> None:
    async with Database(dsn, PoolSettings(min_size=8, max_size=8)) as database:
        desk = desk_without_accounting(database, dsn)
        draft = Draft(OUTLET, [Wanted("NP", Decimal(10)), Wanted("PB-12", Decimal(200))])

        async def some(each: int) -> None:
            for _ in range(each):
                key: Idempotency[Order] = Idempotency("create", str(uuid.uuid4()), b"", lambda made: made.name.encode())
                await desk.placing.create(operator(TENANT), draft, key)

        await asyncio.gather(*(some(count // 8) for _ in range(8)))


async def chats(stack: AsyncExitStack, root: Path, dsn: str, count: int) -> None:
    """Bytes and CPU of an answered message, through the whole server."""
    valkey, chroma = EmbeddedValkey(root / "valkey"), EmbeddedChroma(root / "chroma")
    redis_url, chroma_url = await valkey.start(), await chroma.start()
    stack.push_async_callback(valkey.stop)
    stack.push_async_callback(chroma.stop)
    issuer = Issuer(root / "issuer")
    issuer.prepare()
    urls = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": chroma_url}
    await fill(configuration(root, issuer, urls))
    async with running_desk(root, dsn, redis_url, chroma_url) as desk:
        await desk.say("When do you deliver?")

        async def ask() -> None:
            for number in range(count):
                await desk.say(f"When do you deliver to outlet number {number}, and what does it cost on Sentosa?")

        waiting = await value(dsn, "select count(*) from audit_pending")
        began = time.process_time()
        _, rest, _ = await grown(dsn, ask)
        used = time.process_time() - began
        leaves = await value(dsn, "select count(*) from audit_pending") - waiting
    held = await held_of_runs(redis_url)
    print(
        f"answer      {rest / count:8.0f} bytes, {leaves / count:.1f} leaves, {held:.0f} bytes in Valkey for a while; "
        f"{used / count * 1000:.1f} ms CPU, caller included"
    )


async def value(dsn: str, sql: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        found: int = await connection.fetchval(sql)
    finally:
        await connection.close()
    return found


async def held_of_runs(redis_url: str) -> float:
    """Bytes that Valkey holds for the log of one run, its key included."""
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        keys = [key async for key in client.scan_iter(match="run:{*")]
        held = [int(await client.memory_usage(key) or 0) for key in keys]
    return sum(held) / max(1, len(held))


async def measure(root: Path, dsn: str, args: argparse.Namespace) -> None:
    await migrate(dsn)
    async with Database(dsn, PoolSettings(min_size=1, max_size=1)) as database:
        await fill_orders(database)
    audit, _, seconds = await grown(dsn, lambda: write_leaves(dsn, args.leaves))
    print(f"leaf        {audit / args.leaves:8.0f} bytes; {args.leaves / seconds:.0f} a second into the log")
    orders = args.orders // 8 * 8
    _, rest, seconds = await grown(dsn, lambda: write_orders(dsn, orders))
    print(f"order       {rest / orders:8.0f} bytes; {orders / seconds:.0f} a second")
    saving = Saving(dsn, KEY, "bench", [installation()], lambda *_: None)
    began = time.perf_counter()
    made = await saving.dump(root / "backup")
    seconds = time.perf_counter() - began
    size = sum(file.bytes for file in made.files.values())
    print(f"backup      {size / made.database_bytes:8.2f} of the database's bytes; "
          f"{made.database_bytes / seconds / 1e6:.0f} MB of database a second")  # fmt: skip
    restoring = Restoring(dsn, (KEY.public,), MASTERS, [installation()], lambda *_: None)
    restored = await restoring.restore_into("bench_restored", root / "backup", {})
    took = restored.seconds
    print(f"restore     {made.database_bytes / took['restoring'] / 1e6:8.0f} MB of database a second; "
          f"{sum(log.proven for log in restored.logs) / took['verifying']:.0f} records proven a second")  # fmt: skip


async def main(root: Path, args: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        postgres = EmbeddedPostgres(root / "postgres")
        dsn = await postgres.start()
        stack.push_async_callback(postgres.stop)
        await measure(root, dsn, args)
        if args.answers:
            await chats(stack, root, dsn, args.answers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--leaves", type=int, default=40_000)
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--answers", type=int, default=100)
    folder = Path(tempfile.mkdtemp(prefix="tria-bench-"))
    folder.chmod(0o711)
    try:
        asyncio.run(main(folder, parser.parse_args()))
    finally:
        shutil.rmtree(folder)
