"""Where a game day is played: a system of its own, watched twenty times as fast, with customers who go on asking."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from server.embedded.loopback import HOST, listens
from tests.support.monitored import Watch, watching
from tests.support.system import System, reachable_dir, run, system

HURRY = 20
MODEL = "game-day-model"


@dataclass
class Model:
    """llmock as a program of its own, which can be slow, failing or gone."""

    port: int
    process: asyncio.subprocess.Process | None = None

    async def serve(self, *options: str) -> None:
        await self.stop()
        self.process = await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "llmock", "serve", "--host", HOST, "--port", str(self.port),
            "--log-level", "warning", *options,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not await listens(self.port):
            assert time.monotonic() < deadline, "llmock does not listen"
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@dataclass
class Ground:
    """What faults and mitigations act on."""

    system: System
    watch: Watch
    model: Model
    client: httpx.AsyncClient
    staff: str
    scratch: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.system.state_dir

    def environment(self, name: str) -> str:
        found: str = json.loads((self.state / "environment.json").read_text())[name]
        return found

    def customer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {(self.state / 'token').read_text()}"}

    def as_staff(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.staff}"}

    def signal(self, name: str, number: signal.Signals) -> None:
        """To a part of the system, with its children: PostgreSQL answers by those."""
        pid = self.system.pids()[name]
        for each in (pid, *children(pid)):
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(each, number)

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            self.environment("TRIA_DATABASE_URL"), server_settings={"application_name": "game"}
        )

    async def ask(self, question: str) -> int:
        """A customer's question; the HTTP status, 0 when there was no answer."""
        try:
            answer = await self.client.post("/api/chatbot", json={"message": question}, headers=self.customer())
        except httpx.HTTPError:
            return 0
        return answer.status_code


def children(pid: int) -> Iterator[int]:
    """Processes that `pid` has started."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ends while we look
            yield from map(int, task.read_text().split())


async def _keep_asking(ground: Ground) -> None:
    """A customer: something that documents answer and nobody asked before, so that it reaches the model; seldom enough
    for the limit of a person."""
    for amount in itertools.count(random.randrange(10**6)):
        await asyncio.gather(
            ground.ask(f"What does delivery to Sentosa cost for an order of {amount} dollars?"),
            asyncio.sleep(4.0),
        )


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """For the children that are started in the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@asynccontextmanager
async def played() -> AsyncIterator[Ground]:
    """Starts all of it, with customers; ends all of it."""
    model = Model(_free_port())
    await model.serve()
    variables = {
        "OPENAI_API_KEY": "none-needed-here",
        "OPENAI_MODEL": MODEL,
        "OPENAI_BASE_URL": f"http://{HOST}:{model.port}/v1",
        "OPENAI_PRICES": f"{MODEL}=2/0.5/8",
    }
    try:
        with reachable_dir() as folder, _environment(**variables):
            async with system(folder) as started, watching(folder, HURRY) as watch:
                process = await run("token", "--role", "STAFF", "--tenant", "demo", "--state-dir", str(folder))
                staff = (await process.communicate())[0].decode().strip()
                async with httpx.AsyncClient(base_url=started.ready["http"], timeout=20) as client:
                    ground = Ground(started, watch, model, client, staff)
                    customers = [asyncio.create_task(_keep_asking(ground)) for _ in range(3)]
                    try:
                        yield ground
                    finally:
                        for customer in customers:
                            customer.cancel()
                        await asyncio.wait(customers)
    finally:
        await model.stop()


def _free_port() -> int:

    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
