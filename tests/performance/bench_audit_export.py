"""How fast a trail leaves the database as a proven export, and how fast it is verified.

    python -m tests.performance.bench_audit_export [--records 100000]

Real PostgreSQL; the export in this process, the verifier as the program that a customer runs.
"""

from __future__ import annotations

import asyncio
import math
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import click
import uvloop

from server.audit import store
from server.audit.exporting import Exporting, FormatName, format_of
from server.audit.notary import Keyring, Notary
from server.audit.sequencer import Sequencer
from server.audit.store import Entry
from server.db.migrate import migrate
from server.db.pool import Database, PoolSettings
from server.embedded.postgres import EmbeddedPostgres
from tests.support.exports import KEY
from tests.support.stores import eventually
from tests.support.trail import TENANT, some_event

_AT_ONCE = 2000


async def _fill(dsn: str, records: int) -> None:
    connection = await asyncpg.connect(dsn)
    for start in range(0, records, _AT_ONCE):
        entries = [Entry.of(some_event(number)) for number in range(start, min(records, start + _AT_ONCE))]
        await store.add(connection, entries)  # type: ignore[arg-type]  # a connection of no pool has the same methods
    sequencer = Sequencer(dsn, Notary(Keyring(KEY), 0.1))
    running = asyncio.create_task(sequencer.run())

    async def signed() -> bool:
        size: int | None = await connection.fetchval("select max(size) from audit_checkpoint")
        return size == records

    await eventually(signed, within=600)
    sequencer.request_stop()
    await running
    await connection.close()


async def _export(database: Database, name: FormatName, out: Path) -> float:
    began = time.perf_counter()
    exporting = Exporting(database, [KEY.public], math.inf)
    plan = await exporting.plan(TENANT, 0, None)
    with out.open("wb") as file:
        async for piece in exporting.export(plan, format_of(name, plan)):
            file.write(piece)
    return time.perf_counter() - began


async def _exports(folder: Path, records: int) -> None:
    server = EmbeddedPostgres(folder / "postgres")
    try:
        dsn = await server.start()
        await migrate(dsn)
        await _fill(dsn, records)
        async with Database(dsn, PoolSettings(min_size=1, max_size=2)) as database:
            for name in FormatName:
                before = _peak()
                out = folder / f"export.{name}"
                took = await _export(database, name, out)
                size = out.stat().st_size / 1e6  # nobody waits for this loop
                print(
                    f"export {name:<7} {took:6.2f} s  {records / took:9,.0f} records/s  {size:7.1f} MB, "
                    f"{_peak() - before:.0f} MB of memory more than before"
                )
    finally:
        await server.stop()


def _verify(out: Path, records: int) -> None:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "server", "audit", "verify", out], stdout=subprocess.DEVNULL, check=True)
    took = time.perf_counter() - began
    print(f"verify ndjson  {took:6.2f} s  {records / took:9,.0f} records/s, the program's start included")


def _peak() -> float:
    """This process's largest memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@click.command()
@click.option("--records", default=100_000, show_default=True)
def main(records: int) -> None:
    """Print the figures."""
    folder = Path(tempfile.mkdtemp(prefix="tria-bench-", dir="/tmp"))  # PostgreSQL's own user must be able to enter it
    folder.chmod(0o711)
    try:
        uvloop.run(_exports(folder, records))
        _verify(folder / "export.ndjson", records)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
