"""The system as processes that a test may kill at any moment: PostgreSQL, the server, two workers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from server.db.migrate import migrate
from server.embedded.issuer import Issuer
from server.embedded.loopback import free_ports, listens
from server.embedded.postgres import EmbeddedPostgres
from tests.support.app import configuration
from tests.support.stores import eventually

COMMANDS = {"server": "serve", "worker-1": "worker", "worker-2": "worker"}
VICTIMS = (*COMMANDS, "postgres")


@dataclass(slots=True)
class Killable:
    """Running processes by name; whoever is killed is started again by `revive`."""

    postgres: EmbeddedPostgres
    variables: Mapping[str, str]
    folder: Path
    issuer: Issuer
    dsn: str
    port: int
    children: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    async def start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.children[name] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "server", COMMANDS[name],
                env={**os.environ, **self.variables}, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    async def kill(self, name: str) -> None:
        """As a crash would: no goodbye."""
        if name == "postgres":
            assert self.postgres.pid is not None
            os.kill(self.postgres.pid, signal.SIGKILL)
            await self.postgres.wait_exit()
        else:
            self.children[name].kill()
            await self.children[name].wait()

    async def revive(self) -> None:
        """Starts what does not run, and waits until the server listens."""
        if self.postgres.pid is None:
            await self.postgres.start()
        for name, child in list(self.children.items()):
            if child.returncode is not None:
                await self.start(name)
        await eventually(self.listens, within=90)

    async def listens(self) -> bool:
        return await listens(self.port)

    async def stop(self) -> None:
        for child in self.children.values():
            if child.returncode is None:
                child.terminate()
        await asyncio.gather(*(asyncio.wait_for(child.wait(), 60) for child in self.children.values()))
        await self.postgres.stop()


@asynccontextmanager
async def killable(
    place: Path, folder: Path, redis_url: str, fill: Callable[[str], Awaitable[None]], settings: Mapping[str, str]
) -> AsyncIterator[Killable]:
    """Everything running, in `place` (which PostgreSQL's user can enter); `fill` is given the DSN first."""
    postgres, issuer = EmbeddedPostgres(place / "postgres"), Issuer(folder / "issuer")
    issuer.prepare()
    dsn = await postgres.start()
    await migrate(dsn)
    await fill(dsn)
    grpc_port, internal_port, metrics_port = free_ports(3)
    urls = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": "http://127.0.0.1:1"}
    variables = configuration(folder, issuer, urls) | {
        "TRIA_GRPC_LISTEN": f"127.0.0.1:{grpc_port}",
        "TRIA_INTERNAL_LISTEN": f"127.0.0.1:{internal_port}",
        "TRIA_METRICS_LISTEN": f"127.0.0.1:{metrics_port}",
        "TRIA_DRAIN": "2",
        **settings,
    }
    running = Killable(postgres, variables, folder, issuer, dsn, grpc_port)
    for name in COMMANDS:
        await running.start(name)
    try:
        await eventually(running.listens, within=90)
        yield running
    finally:
        await running.stop()
