"""Releases of the server as processes: the one in this tree, and the one before, taken out of the repository."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.embedded.loopback import free_ports, listens
from tests.support.stores import eventually

ROOT = Path(__file__).parents[2]
_MIGRATIONS = "server/db/migrations"
_CODE = ("server", "interceptors", "proto/gen")
_TESTS = ("tests", "clients/python", "envoy")
_TABLES = """
select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'public' and c.relkind in ('r', 'p') and not c.relispartition order by 1"""


def _git(*arguments: str) -> bytes:
    """What git says; nothing where it says no."""
    ran = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)  # noqa: S607
    return ran.stdout if ran.returncode == 0 else b""


def previous() -> str:
    """The newest commit that lacks a migration of this tree and has edited none, or nothing where the clone does not
    reach so far: what a release before the newest migration was."""
    now = _migrations("HEAD")
    for commit in _git("log", "--format=%H", "--", _MIGRATIONS).decode().split():
        before = _git("rev-parse", "--verify", "--quiet", f"{commit}^1").decode().strip()
        if before and (then := _migrations(before)) and then < now:
            return before
    return ""


def _migrations(commit: str) -> set[bytes]:
    """Name and content of each, as git knows them."""
    return set(_git("ls-tree", "-r", commit, "--", _MIGRATIONS).splitlines())


def base() -> str:
    """The commit that this branch began from, or the one before on main itself; nothing in a clone without history."""
    head = _git("rev-parse", "HEAD").decode().strip()
    for branch in ("origin/main", "main"):
        found = _git("merge-base", "HEAD", branch).decode().strip()
        if found and found != head:
            return found
    return _git("rev-parse", "--verify", "--quiet", "HEAD^1").decode().strip()


def take_out(commit: str, folder: Path, *, tests: bool = False) -> Path:
    """The code of `commit` in `folder`, and what its tests need when they are wanted."""
    packed = _git("archive", "--format=tar", commit, *_CODE, *(_TESTS if tests else ()))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


async def widen(dsn: str) -> int:
    """What the next release may do to the database: a column more in every table, and a table more. Returns how many
    tables there were."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = [row["relname"] for row in await connection.fetch(_TABLES)]
        async with connection.transaction():
            for table in tables:
                await connection.execute(f'alter table "{table}" add column of_tomorrow text')
            await connection.execute("create table thing_of_tomorrow (id bigint primary key)")
            await connection.execute(
                "insert into schema_migration (version, name, sha256, additive, duration_ms)"
                " values (9999, '9999_tomorrow.sql', 'x', true, 0)"
            )
    finally:
        await connection.close()
    return len(tables)


@dataclass(slots=True)
class Release:
    """One server process."""

    process: asyncio.subprocess.Process
    port: int
    log: Path

    async def serves(self) -> bool:
        if self.process.returncode is not None:
            raise AssertionError(f"ended: {self.log.read_text()[-2000:]}")
        if not await listens(self.port):
            return False
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> int:
        """As a deployment does; the exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), 60)


@asynccontextmanager
async def running(folder: Path, variables: Mapping[str, str], *codes: Path) -> AsyncIterator[list[Release]]:
    """A server of each of `codes`, begun at the same time."""
    releases = [await _start(code, folder, variables) for code in codes]
    try:
        for release in releases:
            await eventually(release.serves, within=120)
        yield releases
    finally:
        for release in releases:
            await release.stop()


async def _start(code: Path, folder: Path, variables: Mapping[str, str]) -> Release:
    port, internal, metrics = free_ports(3)
    own = {
        "TRIA_GRPC_LISTEN": f"127.0.0.1:{port}",
        "TRIA_INTERNAL_LISTEN": f"127.0.0.1:{internal}",
        "TRIA_METRICS_LISTEN": f"127.0.0.1:{metrics}",
        "TRIA_DRAIN": "5",
        "PYTHONPATH": f"{code}{os.pathsep}{code / 'proto' / 'gen'}",
    }
    log = folder / f"server-{port}.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "server", "serve", cwd=code, env={**os.environ, **variables, **own},
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    return Release(process, port, log)
