"""Two versions behind one real gateway: calls are moved to the new one step by step, and back when it fails."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from server.embedded.envoy import EdgeSettings, EmbeddedEnvoy
from server.embedded.issuer import Issuer
from server.embedded.loopback import free_ports
from server.rollout import split
from server.rollout.figures import FiguresUnreadable, Gateway, Version
from tests.edge.test_streams import frames
from tests.support.edge import Tokens, Upstream, edge_settings, start_upstream, until

QUICK = ("--hold", "0.4", "--look", "0.1", "--patience", "60", "--least-calls", "5")


@dataclass
class Pair:
    """A gateway, the version that stands and the one that comes, and somebody who calls all the time."""

    settings: EdgeSettings
    blue: Upstream
    green: Upstream
    people: tuple[str, ...]  # tokens of so many that nobody comes near a limit
    answers: Counter[int] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.http_port}"

    @property
    def metrics(self) -> str:
        return f"http://127.0.0.1:{self.settings.metrics_port}/stats/prometheus"

    def client(self) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.people[0]}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=20)

    @asynccontextmanager
    async def traffic(self) -> AsyncIterator[None]:
        """Calls one after the other, four at a time, until the block ends; their answers are counted."""
        stop = asyncio.Event()

        async def call(client: httpx.AsyncClient) -> None:
            for token in itertools.cycle(self.people):
                headers = {"authorization": f"Bearer {token}"}
                self.answers[(await client.get("/v1/conversations/c1", headers=headers)).status_code] += 1
                if stop.is_set():
                    return

        async with self.client() as client, asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(call(client))
            try:
                yield
            finally:
                stop.set()

    async def deploy(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "server", "deploy", *arguments, "--split", str(self.settings.split),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def promote(self, *arguments: str) -> tuple[int, dict[str, object], str]:
        """Exit code, outcome and what was told of a promotion of green."""
        process = await self.deploy("promote", "green", "--gateway", self.metrics, "--json", *QUICK, *arguments)
        out, told = await asyncio.wait_for(process.communicate(), 150)
        return process.returncode or 0, json.loads(out), told.decode()

    async def only(self, version: Upstream) -> None:
        """Until calls reach nobody else any more."""
        other = self.green if version is self.blue else self.blue

        async def settled() -> bool:
            other.calls.clear()
            async with self.client() as client:
                answers = [(await client.get("/v1/conversations/c1")).status_code for _ in range(30)]
            return not other.calls and set(answers) == {200}

        await until(settled)


@pytest_asyncio.fixture(scope="module")
async def standing(issuer: Issuer, tokens: Tokens, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Both versions and the gateway, for all tests of this module."""
    folder = tmp_path_factory.mktemp("rollout")
    one, two = free_ports(2)
    (blue, blue_server), (green, green_server) = await start_upstream(one), await start_upstream(two)
    settings = replace(edge_settings(folder, issuer, one), green=f"127.0.0.1:{two}")
    envoy = EmbeddedEnvoy(folder / "envoy", settings, grace=1)
    await envoy.start()
    try:
        yield Pair(settings, blue, green, tuple(tokens.good(f"person-{number}") for number in range(30)))
    finally:
        await envoy.stop()
        await blue_server.stop(0)
        await green_server.stop(0)


@pytest_asyncio.fixture
async def pair(standing: Pair) -> Pair:
    """As at the beginning: both well, every call to blue, nobody remembered."""
    standing.green.broken = False
    await standing.green.set_serving(True)
    split.write(standing.settings.split, 0)
    await until(lambda: healthy(standing))
    await standing.only(standing.blue)
    standing.answers.clear()
    for version in (standing.blue, standing.green):
        version.calls.clear()
        version.go_on.clear()
    return standing


async def healthy(pair: Pair) -> bool:
    """Whether the gateway has found both versions healthy."""
    try:
        totals = await Gateway(pair.metrics).totals()
    except FiguresUnreadable:
        return False
    return all(totals.since(totals, version).healthy for version in Version)


async def test_a_good_version_gets_every_call_and_no_call_fails(pair: Pair) -> None:
    async with pair.traffic():
        code, outcome, told = await pair.promote()
        assert (code, outcome["promoted"], outcome["percent"]) == (0, True, 100), told
        await pair.only(pair.green)
    assert split.read(pair.settings.split) == 100
    assert set(pair.answers) == {200}, "not one call failed"
    assert [line.partition(":")[0] for line in told.splitlines()[:4]] == ["1 %", "10 %", "50 %", "100 %"]


async def test_a_bad_version_loses_its_calls_by_itself(pair: Pair) -> None:
    pair.green.broken = True
    async with pair.traffic():
        code, outcome, told = await pair.promote("--steps", "10,50,100", "--hold", "60")
        assert (code, outcome["promoted"]) == (1, False), told
        assert "calls failed" in str(outcome["reason"])
        await pair.only(pair.blue)
    assert split.read(pair.settings.split) == 0
    failed = sum(count for status, count in pair.answers.items() if status != 200)
    assert 0 < failed < sum(pair.answers.values()) / 4, "only calls of the share that it had"


async def test_a_version_that_is_not_there_gets_no_call(pair: Pair) -> None:
    await pair.green.set_serving(False)
    await until(lambda: gone(pair))
    async with pair.traffic():
        code, outcome, _ = await pair.promote()
    assert (code, outcome["percent"]) == (1, 0)
    assert set(pair.answers) == {200}
    assert not pair.green.calls


async def gone(pair: Pair) -> bool:
    totals = await Gateway(pair.metrics).totals()
    return totals.since(totals, Version.GREEN).healthy == 0


async def test_a_version_that_dies_midway_is_left(pair: Pair) -> None:
    async with pair.traffic():
        promoting = asyncio.create_task(pair.promote("--steps", "50,100", "--hold", "60"))
        await until(lambda: len(pair.green.calls) > 10)
        await pair.green.set_serving(False)
        code, outcome, told = await promoting
        assert (code, outcome["promoted"]) == (1, False), told
        await pair.only(pair.blue)


async def test_a_version_that_nobody_called_is_not_promoted(pair: Pair) -> None:
    code, outcome, _ = await pair.promote("--patience", "0.5")
    assert (code, outcome["promoted"], outcome["percent"]) == (1, False, 1)
    assert "only 0 calls" in str(outcome["reason"])
    assert split.read(pair.settings.split) == 0


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
async def test_whoever_stops_it_gets_the_calls_back(pair: Pair, told: signal.Signals) -> None:
    process = await pair.deploy("promote", "green", "--gateway", pair.metrics, "--hold", "60", "--steps", "50,100")
    await until(lambda: split.read(pair.settings.split) == 50)
    process.send_signal(told)
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert split.read(pair.settings.split) == 0


KUBECTL = """#!/bin/sh
echo begun >> "$LOG"
[ "$(grep -c begun "$LOG")" = 1 ] || until [ -e "$LOG.go" ]; do sleep 0.05; done
echo done >> "$LOG"
"""


async def test_told_twice_it_goes_on_giving_the_calls_back(pair: Pair, tmp_path: Path) -> None:
    """A cluster takes its time, and who stops a pipeline presses again."""
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    log = tmp_path / "log"
    log.touch()
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", "deploy", "promote", "green", "--gateway", pair.metrics,
        "--namespace", "x", "--hold", "60", env=environ,
    )  # fmt: skip

    async def written(word: str, times: int) -> bool:
        return log.read_text().count(word) == times

    await until(lambda: written("done", 1))
    process.send_signal(signal.SIGTERM)
    await until(lambda: written("begun", 2))
    process.send_signal(signal.SIGTERM)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(process.wait(), 1)
    log.with_suffix(".go").touch()
    assert await asyncio.wait_for(process.wait(), 60) == 1
    assert await written("done", 2)


async def test_abort_is_one_command(pair: Pair) -> None:
    split.write(pair.settings.split, 50)
    process = await pair.deploy("abort", "green")
    assert await process.wait() == 0
    await pair.only(pair.blue)
    process = await pair.deploy("abort", "blue")
    assert await process.wait() == 0
    await pair.only(pair.green)


async def test_a_stream_stays_where_it_began(pair: Pair) -> None:
    async with (
        pair.client() as client,
        client.stream("POST", "/v1/conversations/c1:send", json={"text": "paced"}) as response,
    ):
        arriving = frames(response)
        await anext(arriving)
        split.write(pair.settings.split, 100)
        await pair.only(pair.green)
        seen = []
        pair.blue.go_on.set()
        async for frame in arriving:
            seen.append(frame)
            pair.blue.go_on.set()
    assert "completed" in json.loads(seen[-1].removeprefix("data: "))


async def test_keys_and_tickets_move_too(pair: Pair) -> None:
    split.write(pair.settings.split, 100)
    await pair.only(pair.green)
    pair.blue.calls.clear()
    async with httpx.AsyncClient(base_url=pair.url) as anybody:
        assert (await anybody.get("/v1/conversations/c1", headers={"x-api-key": "k"})).status_code == 200
        assert (await anybody.get("/v1/conversations/c1/runs/r1:sse?ticket=t")).status_code == 200
        assert (await anybody.get("/health")).status_code == 200
    assert not pair.blue.calls


async def test_whoever_is_tried_again_meets_the_same_version(pair: Pair) -> None:
    split.write(pair.settings.split, 50)
    async with pair.client() as client:

        async def reached(request_id: str) -> str:
            pair.blue.calls.clear()
            pair.green.calls.clear()
            await client.get("/v1/conversations/c1", headers={"x-request-id": request_id})
            return "green" if pair.green.calls else "blue"

        await until(lambda: taken_up(reached))
        for number in range(10):
            assert len({await reached(f"request-{number}") for _ in range(3)}) == 1


async def taken_up(reached: object) -> bool:
    assert callable(reached)
    return "green" in [await reached(f"try-{number}") for number in range(20)]


async def test_a_mounted_config_map_is_taken_up(pair: Pair) -> None:
    """As a kubelet shows a changed one: the file is a link into a folder, and a link to the folder is moved."""
    folder = pair.settings.split.parent

    def link(name: str, target: str) -> None:
        (folder / f"{name}.new").symlink_to(target)
        (folder / f"{name}.new").replace(folder / name)

    def show(name: str, percent: int) -> None:
        (folder / name).mkdir()
        (folder / name / "split.yaml").write_text(split.text(percent))
        link("..data", name)

    show("..first", 0)
    link("split.yaml", "..data/split.yaml")
    show("..second", 100)
    await pair.only(pair.green)
