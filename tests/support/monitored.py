"""`tria monitor` beside the session's running system, hurried, with some traffic to see."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio
import yaml

from tests.support.system import System, run

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"
RULES = sorted((MONITORING / "prometheus" / "rules").glob("*.yml"))
TOOLS = ROOT / ".tools" / "prometheus" / "bin"
_QUESTIONS = ("When do you deliver?", "Can I return damaged boxes?", "When do you deliver?", "hello")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of our files: an alert, or a recorded series (then `alert` is empty)."""

    name: str
    alert: bool
    expr: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def rules() -> list[Rule]:
    found = []
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                name = rule.get("alert") or rule["record"]
                labels, annotations = rule.get("labels", {}), rule.get("annotations", {})
                found.append(Rule(name, "alert" in rule, rule["expr"], labels, annotations))
    return found


ALERTS = [rule for rule in rules() if rule.alert]


@dataclass(frozen=True, slots=True)
class Watch:
    """A running `tria monitor --json` and where its parts are."""

    process: asyncio.subprocess.Process
    prometheus: str
    alertmanager: str
    client: httpx.AsyncClient

    async def get(self, path: str, **parameters: str | Sequence[str]) -> Any:
        """The data of Prometheus' answer; an error of its is an assertion."""
        answer = (await self.client.get(f"{self.prometheus}/api/v1/{path}", params=parameters)).json()
        assert answer["status"] == "success", f"{parameters}: {answer.get('error')}"
        return answer["data"]

    async def ask(self, expression: str) -> list[dict[str, Any]]:
        """What an instant query returns."""
        data = await self.get("query", query=expression)
        result: list[dict[str, Any]] = data["result"] if data["resultType"] == "vector" else [data["result"]]
        return result

    async def alerts(self) -> dict[str, str]:
        """State by name, of those that are pending or fire."""
        return {alert["labels"]["alertname"]: alert["state"] for alert in (await self.get("alerts"))["alerts"]}

    async def until(self, expression: str, patience: float = 60) -> list[dict[str, Any]]:
        """What the expression returns, once it returns something."""
        deadline = time.monotonic() + patience
        while not (found := await self.ask(expression)):
            assert time.monotonic() < deadline, f"nothing after {patience} s: {expression}"
            await asyncio.sleep(0.5)
        return found


@asynccontextmanager
async def watching(state_dir: Path, hurry: int) -> AsyncIterator[Watch]:
    """Starts it, ends it."""
    process = await run("monitor", "--state-dir", str(state_dir), "--hurry", str(hurry), "--json")
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        assert line, f"it ended with {await process.wait()}"
        async with httpx.AsyncClient(timeout=30) as client:
            yield Watch(process, **json.loads(line), client=client)
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 60)


async def some_traffic(system: System) -> None:
    """Something of every kind that dashboards show: answers, streams, orders, the books, refusals."""
    process = await run("token", "--role", "STAFF", "--tenant", "demo", "--state-dir", str(system.state_dir))
    output, _ = await process.communicate()
    staff = {"authorization": f"Bearer {output.decode().strip()}"}
    customer = {"authorization": f"Bearer {(system.state_dir / 'token').read_text()}"}
    for question in _QUESTIONS:
        await system.answers(question)
    async with httpx.AsyncClient(base_url=system.ready["http"], timeout=30) as client:
        for question in _QUESTIONS:
            await client.post("/api/v1/chat/stream", json={"message": question}, headers=customer)
        for path in ("/v1/orders", "/v1/products", "/v1/accounting/budget"):
            (await client.get(path, headers=staff)).raise_for_status()
        assert (await client.get("/v1/orders")).status_code == 401


@pytest_asyncio.fixture(scope="session")
async def watch(live: System) -> AsyncIterator[Watch]:
    """The session's system, watched twenty times as fast, after traffic on both sides of a scrape."""
    async with watching(live.state_dir, 20) as started:
        await started.until('up{job="tria-server"} == 1')
        await some_traffic(live)
        scraped = 'count_over_time(up{job="tria-server"}[30s]) > 4'
        await started.until(scraped)
        await some_traffic(live)
        await started.until("tria:latency_seconds:p95_5m > 0 and on() tria:cache_hits:ratio_rate30m")
        await _recorded(started)
        yield started


async def _recorded(watch: Watch, patience: float = 60) -> None:
    """Returns when every recorded series is there: some are made of others, a round of rules later. One that never
    comes is for the tests to name."""
    missing, deadline = {rule.name for rule in rules() if not rule.alert}, time.monotonic() + patience
    while missing and time.monotonic() < deadline:
        missing = {name for name in missing if not await watch.ask(name)}
        if missing:
            await asyncio.sleep(0.5)
