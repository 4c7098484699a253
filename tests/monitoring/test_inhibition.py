"""Which alert holds back which: a real Alertmanager with the deployment's configuration, and pairs of both kinds."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio
import yaml

from server.embedded.loopback import free_ports
from tests.support.alertmanager import CONFIG, running_alertmanager
from tests.support.monitored import ALERTS

INHIBITIONS = yaml.safe_load(CONFIG.read_text())["inhibit_rules"]
BY_NAME = {alert.name: alert for alert in ALERTS}
# What rules give an alert beside its own labels, where an inhibition looks at it.
GIVEN = {
    "ErrorRateHigh": {"seen_by": "server"},
    "ErrorBudgetBurnsFast": {"seen_by": "server"},
    "ErrorBudgetBurnsSteadily": {"seen_by": "server"},
    "ErrorBudgetBurnsSlowly": {"seen_by": "server"},
}
Pair = tuple[str, str, dict[str, str]]
"""The cause, what comes beside it, and labels of the latter."""

SURELY: Pair = ("PostgresAway", "NoWorker", {})
NOT_HELD: list[Pair] = [
    # The loud one of a component is no reason for its other ones.
    ("AuditLost", "AuditSinkBehind", {}),
    ("AuditNotLed", "AuditQuarantined", {}),
    ("GatewayOverloaded", "CertificateExpires", {}),
    ("DiskFillsUp", "MachineMemoryHigh", {}),
    ("ServerDown", "LoopLagHigh", {"instance": "another"}),
    ("LatencyP99High", "ErrorRateHigh", {}),
    # Other stores and the machine have reasons of their own.
    ("PostgresAway", "RedisAway", {}),
    ("PostgresAway", "DiskFillsUp", {}),
    ("PostgresAway", "AuditNotWritable", {}),
    ("PostgresAway", "GatewayUpstreamErrors", {}),
    ("PostgresAway", "TargetMissing", {"job": "redis"}),
    ("PostgresAway", "ErrorBudgetBurnsFast", {}),
    # One of several that is gone does not explain that nobody is served, or that nobody leads.
    ("ServerDown", "FrontDoorClosed", {}),
    ("ServerDown", "GatewayUpstreamErrors", {}),
    ("GatewayDown", "FrontDoorClosed", {}),
    ("GatewayDown", "GatewayUpstreamErrors", {}),
    ("WorkerDown", "AuditNotLed", {}),
    ("WorkerDisconnected", "JobsWaitLong", {}),
    ("NoWorker", "AuditLost", {}),
    ("NoWorker", "JobsHeld", {}),
    # A part speaks for itself only.
    ("RedisAway", "ServerDegraded", {"part": "model"}),
    ("ChromaAway", "ServerDegraded", {"part": "redis"}),
    ("ModelAway", "ServerDegraded", {"part": "knowledge_index"}),
    # The gateway sees errors that no server counted.
    ("ErrorBudgetBurnsFast", "ErrorRateHigh", {"seen_by": "gateway"}),
    ("SlowAnswersBurnSlowly", "LatencyP95High", {}),
]


def named(matchers: list[str]) -> tuple[list[str], dict[str, str]]:
    """The alerts that matchers name, and the other labels that they ask for."""
    read = dict(re.findall(r'(\w+)\s*=~?\s*"(.+)"', "\n".join(matchers)))
    assert len(read) == len(matchers)
    return read.pop("alertname").split("|"), read


def pairs() -> Iterator[Pair]:
    """Every pair that the configuration holds back."""
    for rule in INHIBITIONS:
        sources, others = named(rule["source_matchers"])
        assert not others
        targets, labels = named(rule["target_matchers"])
        yield from ((source, target, labels) for source in sources for target in targets)


def alert(name: str, cluster: str, labels: dict[str, str]) -> dict[str, Any]:
    known = {**BY_NAME[name].labels, **GIVEN.get(name, {}), **labels}
    return {"labels": {"alertname": name, "cluster": cluster, **known}, "annotations": {}}


@pytest_asyncio.fixture
async def alertmanager(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    (inbox,) = free_ports(1)
    async with running_alertmanager(tmp_path, inbox) as client:
        yield client


async def held_back(client: httpx.AsyncClient, cases: list[Pair]) -> list[bool]:
    """Whether the second of each pair is held back by the first; each pair is a cluster of its own.

    Causes become known in the order in which they are sent and a moment later, so a pair that is surely held comes last
    and is waited for.
    """
    sent = []
    for number, (source, target, labels) in enumerate([*cases, SURELY]):
        sent += [alert(source, f"c{number}", {}), alert(target, f"c{number}", labels)]
    (await client.post("/api/v2/alerts", json=sent)).raise_for_status()
    deadline = time.monotonic() + 30
    while True:
        found = (await client.get("/api/v2/alerts")).json()
        states = {(one["labels"]["cluster"], one["labels"]["alertname"]): one["status"] for one in found}
        if len(states) == len(sent) and states[f"c{len(cases)}", SURELY[1]]["inhibitedBy"]:
            break
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.2)
    found = (await client.get("/api/v2/alerts")).json()  # the last answer was put together while causes became known
    states = {(one["labels"]["cluster"], one["labels"]["alertname"]): one["status"] for one in found}
    assert not [number for number, (source, _, _) in enumerate(cases) if states[f"c{number}", source]["inhibitedBy"]]
    return [bool(states[f"c{number}", target]["inhibitedBy"]) for number, (_, target, _) in enumerate(cases)]


async def test_what_follows_is_held_back(alertmanager: httpx.AsyncClient) -> None:
    cases = list(pairs())
    assert len(cases) > 25
    held = await held_back(alertmanager, cases)
    assert [pair for pair, is_held in zip(cases, held, strict=True) if not is_held] == []


async def test_what_has_reasons_of_its_own_is_told(alertmanager: httpx.AsyncClient) -> None:
    held = await held_back(alertmanager, NOT_HELD)
    assert [pair for pair, is_held in zip(NOT_HELD, held, strict=True) if is_held] == []


async def test_another_cluster_is_told(alertmanager: httpx.AsyncClient) -> None:
    sent = [alert("PostgresAway", "here", {}), alert("NoWorker", "there", {}), alert("NoWorker", "here", {})]
    (await alertmanager.post("/api/v2/alerts", json=sent)).raise_for_status()
    deadline = time.monotonic() + 30
    held: set[str] = set()
    while not held:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
        found = (await alertmanager.get("/api/v2/alerts")).json()
        held = {one["labels"]["cluster"] for one in found if one["status"]["inhibitedBy"]}
    assert held == {"here"}


def test_every_inhibition_names_alerts_that_exist() -> None:
    """By severity or component alone one would hold back what nobody thought of."""
    for source, target, _ in pairs():
        assert {source, target} <= BY_NAME.keys()
        assert source != target
    assert all("cluster" in rule["equal"] for rule in INHIBITIONS)
