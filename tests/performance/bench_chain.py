"""What the whole chain costs: the same handler bare and behind it, interleaved in one run, given as a ratio.

    python -m tests.performance.bench_chain [--calls 2000] [--concurrency 16] [--rounds 5]

Client and server share a process, so the ratio understates what the server alone would show; CPU seconds per call are
of both. Real PostgreSQL and Valkey, every call audited durably before its answer.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import uvloop

from server.db.migrate import migrate
from server.db.pool import Database
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.valkey import EmbeddedValkey
from tests.support import probe
from tests.support.calls import AccessLog, Keys, serving

Call = Callable[[], Awaitable[object]]


@asynccontextmanager
async def bare() -> AsyncIterator[Call]:
    """The probe without any interceptor."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(tuple(probe.Handlers().generic_handlers()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = channel.unary_unary(
            probe.path("Unary", "Bench"),
            request_serializer=probe.Ask.SerializeToString,
            response_deserializer=probe.Reply.FromString,
        )
        ask = probe.Ask(name="orders/o1")
        yield lambda: stub(ask)
    await server.stop(0)


@asynccontextmanager
async def chained(root: Path, dsn: str, redis_url: str) -> AsyncIterator[Call]:
    """The probe behind the whole chain."""
    keys = Keys(root / "jwks.json")
    keys.add("k1")
    async with Database(dsn) as database, serving(keys, database, redis_url, AccessLog(), root) as served:
        stub, ask = served.stub("Unary", "Bench"), probe.Ask(name="orders/o1")
        metadata = (("authorization", f"Bearer {keys.token()}"),)
        yield lambda: stub(ask, metadata=metadata)


async def measure(call: Call, calls: int, concurrency: int) -> tuple[float, float]:
    """Wall and CPU microseconds per call."""
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            await call()

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return (time.perf_counter() - wall) / calls * 1e6, (time.process_time() - cpu) / calls * 1e6


async def main() -> None:
    """Runs the rounds and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    root = await asyncio.to_thread(_directory)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, root)
        postgres, valkey = EmbeddedPostgres(root / "postgres"), EmbeddedValkey(root / "valkey")
        dsn = await postgres.start()
        stack.push_async_callback(postgres.stop)
        await migrate(dsn)
        redis_url = await valkey.start()
        stack.push_async_callback(valkey.stop)
        contenders = {
            "bare": await stack.enter_async_context(bare()),
            "chain": await stack.enter_async_context(chained(root, dsn, redis_url)),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
        for number in range(options.rounds + 1):
            for name, call in contenders.items():
                figures = await measure(call, options.calls, options.concurrency)
                if number:  # the first round warms up
                    found[name].append(figures)
        report(found)


def _directory() -> Path:
    """A temporary directory that the PostgreSQL system user may enter."""
    root = Path(tempfile.mkdtemp(prefix="tria-bench-", dir="/tmp"))
    root.chmod(0o711)
    return root


def report(found: dict[str, list[tuple[float, float]]]) -> None:
    """Medians, and the ratio of chain to bare."""
    wall = {name: statistics.median(figure[0] for figure in figures) for name, figures in found.items()}
    cpu = {name: statistics.median(figure[1] for figure in figures) for name, figures in found.items()}
    for name in found:
        print(f"{name:6} {wall[name]:8.0f} µs wall {cpu[name]:8.0f} µs CPU per call {1e6 / wall[name]:8.0f} calls/s")
    print(f"ratio  {wall['chain'] / wall['bare']:8.2f}         {cpu['chain'] / cpu['bare']:8.2f}")


if __name__ == "__main__":
    uvloop.run(main())
