"""`tria up` as a person or a program uses it: one command, real stores, and nothing that a kill -9 can leave behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.support.edge import process_exists, until
from tests.support.system import CHILDREN, System, reachable_dir, run, system

pytestmark = pytest.mark.timeout(300)


@pytest_asyncio.fixture(scope="module")
async def running() -> AsyncIterator[System]:
    """A system whose parts may be killed."""
    with reachable_dir() as folder:
        async with system(folder) as started:
            yield started


async def test_json_line_says_where_everything_is(running: System) -> None:
    assert set(running.ready) == {
        "http", "https", "grpc", "internal_grpc", "metrics", "xero_sandbox", "state_dir", "pids",
    }  # fmt: skip
    assert set(running.ready["pids"]) == {"up", *CHILDREN}
    assert all(process_exists(pid) for pid in running.ready["pids"].values())
    assert await running.serves()


async def test_xero_sandbox_shows_its_page_and_knows_the_secret(running: System) -> None:
    told = json.loads((running.state_dir / "environment.json").read_text())
    async with httpx.AsyncClient(base_url=running.ready["xero_sandbox"]) as client:
        assert "<title>Xero sandbox" in (await client.get("/")).text
        form = {"grant_type": told["XERO_GRANT"]}
        secret = (told["XERO_CLIENT_ID"], told["XERO_CLIENT_SECRET"])
        assert (await client.post("/connect/token", data=form, auth=secret)).status_code == 200
        assert (await client.post("/connect/token", data=form, auth=(secret[0], "guess"))).status_code == 401


async def test_page_is_signed_in_and_its_token_is_good(running: System) -> None:
    async with httpx.AsyncClient(base_url=running.ready["http"]) as client:
        assert "<title>" in (await client.get("/")).text
        session = (await client.get("/session.json")).json()
        assert session["outlets"][0]["outlet"] == session["outlet"]
        headers = {"authorization": f"Bearer {session['token']}"}
        assert (await client.get("/health", headers=headers)).status_code == 200
    assert (running.state_dir / "www" / "session.json").stat().st_mode & 0o077 == 0


async def test_token_command_makes_a_token_that_the_gateway_takes(running: System) -> None:
    process = await run("token", "--role", "CUSTOMER", "--state-dir", str(running.state_dir))
    output, _ = await process.communicate()
    assert process.returncode == 0
    token = output.decode().strip()
    assert token.count(".") == 2
    async with httpx.AsyncClient(base_url=running.ready["http"]) as client:
        assert (await client.get("/health", headers={"authorization": f"Bearer {token}"})).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--role", "CUSTOMER", "--tenant", "other"), 2),
        (("--role", "KING"), 2),
        (("--role", "STAFF", "--ttl", "soon"), 2),
        ((), 2),
    ],
)
async def test_token_command_refuses_wrong_use(running: System, arguments: tuple[str, ...], code: int) -> None:
    process = await run("token", *arguments, "--state-dir", str(running.state_dir), stderr=asyncio.subprocess.DEVNULL)
    output, _ = await process.communicate()
    assert (process.returncode, output) == (code, b"")


async def test_token_command_without_a_system_fails(state_dir: Path) -> None:
    process = await run("token", "--role", "STAFF", "--state-dir", str(state_dir), stderr=asyncio.subprocess.PIPE)
    output, complaint = await process.communicate()
    assert (process.returncode, output) == (1, b"")
    assert b"tria up" in complaint


@pytest.mark.parametrize("name", CHILDREN)
async def test_killed_child_comes_back_in_its_place(running: System, name: str) -> None:
    before = running.pids()
    os.kill(before[name], signal.SIGKILL)

    await until(lambda: running.pids().get(name) not in (None, before[name]), seconds=60)
    await until(running.serves, seconds=30)
    after = running.pids()
    assert process_exists(after[name])
    assert after["up"] == before["up"]
    reply = await running.answers("When do you deliver, and what does it cost on Sentosa?")
    assert reply["answerKind"] == "ANSWERED"
    assert "18" in reply["text"]


async def test_second_up_on_the_same_directory_is_refused(running: System) -> None:
    before = running.pids()
    process = await run("up", "--state-dir", str(running.state_dir), stderr=asyncio.subprocess.PIPE)
    output, complaint = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, output) == (1, b"")
    assert str(running.ready["pids"]["up"]) in complaint.decode()
    assert b"Traceback" not in complaint
    assert running.pids() == before
    assert await running.serves()


async def test_taken_port_that_was_asked_for_is_refused(running: System, state_dir: Path) -> None:
    port = running.ready["http"].rpartition(":")[2]
    process = await run("up", "--state-dir", str(state_dir), "--port-http", port, stderr=asyncio.subprocess.PIPE)
    _, complaint = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert port in complaint.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_stop_leaves_no_child_and_the_next_start_keeps_its_ports(state_dir: Path, number: signal.Signals) -> None:
    async with system(state_dir, "--no-demo") as first:
        first.process.send_signal(number)
        assert await asyncio.wait_for(first.process.wait(), 90) == 0
        assert not [name for name, pid in first.ready["pids"].items() if process_exists(pid)]
        assert not (state_dir / "pids.json").exists()
    async with system(state_dir, "--no-demo") as second:
        assert second.ready["http"] == first.ready["http"]
        async with httpx.AsyncClient(base_url=second.ready["http"]) as client:
            assert (await client.get("/session.json")).status_code == 404, "only the demo is signed in by itself"


async def test_killed_up_leaves_no_orphan_and_can_start_again(state_dir: Path) -> None:
    async with system(state_dir, "--no-demo") as first:
        first.process.kill()
        await first.process.wait()
        await until(lambda: not [pid for pid in first.ready["pids"].values() if process_exists(pid)], seconds=60)
    async with system(state_dir, "--no-demo") as second:
        assert await second.serves()


async def test_stop_while_starting_leaves_no_child(state_dir: Path) -> None:
    process = await run("up", "--state-dir", str(state_dir), "--json")
    await until((state_dir / "pids.json").exists, seconds=60)
    process.terminate()
    output, _ = await asyncio.wait_for(process.communicate(), 90)
    assert output == b""
    assert not children_in(state_dir)


def children_in(state_dir: Path) -> list[str]:
    """Command lines of the processes that work in `state_dir`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(state_dir) in line:
                found.append(line)
    return found
