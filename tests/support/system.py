"""`tria up` as a separate process, as a person or a program starts it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from server.embedded.loopback import free_ports

CHILDREN = ("postgres", "valkey", "chroma", "xero_sandbox", "server", "worker", "envoy")
COMMAND = (sys.executable, "-m", "server")


@dataclass(frozen=True, slots=True)
class System:
    """A running `tria up --json` and the line that it printed."""

    process: asyncio.subprocess.Process
    ready: dict[str, Any]
    state_dir: Path

    def pids(self) -> dict[str, int]:
        """As they are now."""
        found: dict[str, int] = json.loads((self.state_dir / "pids.json").read_text())
        return found

    async def answers(self, question: str) -> dict[str, Any]:
        """The reply to a customer of the demo, through the gateway; asked again for a while where it says to come back,
        as a part that has just been killed may make it."""
        deadline = time.monotonic() + 30
        async with httpx.AsyncClient(base_url=self.ready["http"], timeout=30) as client:
            token = (self.state_dir / "token").read_text()
            headers = {"authorization": f"Bearer {token}"}
            answer = await client.post("/api/chatbot", json={"message": question}, headers=headers)
            while answer.status_code == 503 and time.monotonic() < deadline:
                await asyncio.sleep(0.2)
                answer = await client.post("/api/chatbot", json={"message": question}, headers=headers)
        answer.raise_for_status()
        reply: dict[str, Any] = answer.json()
        return reply

    async def serves(self) -> bool:
        async with httpx.AsyncClient(base_url=self.ready["http"], timeout=5) as client:
            try:
                answer = await client.get("/health")
            except httpx.TransportError:
                return False
        return answer.status_code == 200 and answer.json()["status"] == "SERVING"


@asynccontextmanager
async def system(
    state_dir: Path, *options: str, variables: Mapping[str, str] | None = None, stderr: int | None = None
) -> AsyncIterator[System]:
    """Start one on ports of its own; ends it when the test has not. `variables` are settings beside the environment."""
    process = await run("up", "--state-dir", str(state_dir), "--json", *options, variables=variables, stderr=stderr)
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 120)
        assert line, f"it ended with {await process.wait()}"
        yield System(process, json.loads(line), state_dir)
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 90)


async def run(
    *arguments: str, variables: Mapping[str, str] | None = None, stderr: int | None = None
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, env={**os.environ, **(variables or {})}, stdout=asyncio.subprocess.PIPE, stderr=stderr,
        start_new_session=True,
    )  # fmt: skip


@contextmanager
def reachable_dir() -> Iterator[Path]:
    """A state directory that PostgreSQL's system user can reach under root; pytest's own folders are closed to it."""
    made = Path(tempfile.mkdtemp(prefix="tria-up-", dir="/tmp"))
    made.chmod(0o711)
    yield made / "state"
    shutil.rmtree(made)


@pytest_asyncio.fixture(scope="session")
async def live() -> AsyncIterator[System]:
    """A running system with the demo data, for tests that only use it."""
    # ports of its own: the usual ones may be taken by another test run that starts at the same moment
    http, https = map(str, free_ports(2))
    with reachable_dir() as folder:
        async with system(folder, "--port-http", http, "--port-https", https) as started:
            yield started


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A state directory of this test's own."""
    with reachable_dir() as folder:
        yield folder
