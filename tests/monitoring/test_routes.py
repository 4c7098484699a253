"""Who is told of what: amtool for the routes, a real Alertmanager for what is held back and grouped."""

from __future__ import annotations

import asyncio
import subprocess
import time
from typing import Any

import httpx
import pytest
import yaml

from tests.support.alertmanager import CONFIG
from tests.support.monitored import ALERTS, TOOLS, Rule, Watch

TOLD = {"critical": "pagerduty,slack", "warning": "slack", "info": "mail", "none": "dead-man-switch"}


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TOOLS / "amtool", *arguments], capture_output=True, text=True, check=False)


def test_the_configuration_is_alertmanagers_own() -> None:
    done = amtool("check-config", str(CONFIG))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_goes_where_its_severity_says(alert: Rule) -> None:
    labels = {"alertname": alert.name, "cluster": "tria", **alert.labels}
    wanted = TOLD[alert.labels["severity"]]
    done = amtool(
        "config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={wanted}",
        *(f"{name}={value}" for name, value in labels.items()),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_without_severity_is_read_by_us() -> None:
    done = amtool("config", "routes", "test", f"--config.file={CONFIG}", "--verify.receivers=mail", "alertname=Odd")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_heartbeat_comes_first_and_alone() -> None:
    """Nobody else is told of it, nothing else goes there, and it is repeated before the service outside is alarmed."""
    route = yaml.safe_load(CONFIG.read_text())["route"]
    assert [each["receiver"] for each in route["routes"]].count("dead-man-switch") == 1
    first = route["routes"][0]
    assert (first["receiver"], first["matchers"]) == ("dead-man-switch", ['alertname = "Watchdog"'])
    assert not first.get("continue", False)
    assert (first["repeat_interval"], first["group_interval"], first["group_wait"]) == ("50s", "1m", "0s")
    odd = ("severity=none", "alertname=AnotherWithoutSeverity"), ("severity=critical", "alertname=ServerDown")
    for labels in odd:
        done = amtool("config", "routes", "test", f"--config.file={CONFIG}", *labels)
        assert "dead-man-switch" not in done.stdout


def test_no_secret_is_in_it() -> None:
    """Every key is a file's name."""

    def walk(value: Any, path: str = "") -> list[str]:
        if isinstance(value, dict):
            return [found for key, each in value.items() for found in walk(each, f"{path}.{key}")]
        if isinstance(value, list):
            return [found for each in value for found in walk(each, path)]
        key = path.rpartition(".")[2]
        secret = key in {"routing_key", "service_key", "api_url", "slack_api_url", "smtp_auth_password", "password"}
        return [path] if secret else []

    assert not walk(yaml.safe_load(CONFIG.read_text()))


def alert(name: str, **labels: str) -> dict[str, Any]:
    known = next(rule for rule in ALERTS if rule.name == name)
    return {"labels": {"alertname": name, "cluster": "elsewhere", **known.labels, **labels}, "annotations": {}}


async def states(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    """What Alertmanager makes of the alerts of this test, by name."""
    answer = await client.get("/api/v2/alerts", params={"filter": 'cluster="elsewhere"'})
    return {found["labels"]["alertname"]: found for found in answer.json()}


async def test_causes_hold_their_effects_back(watch: Watch) -> None:
    sent = [
        alert("PostgresAway"), alert("ServerNotServing", instance="a"), alert("JobsWaitLong"),
        alert("PostgresSlowQueries"), alert("RedisAway"), alert("AuditLost", instance="a"),
    ]  # fmt: skip
    async with httpx.AsyncClient(base_url=watch.alertmanager) as client:
        (await client.post("/api/v2/alerts", json=sent)).raise_for_status()
        deadline = time.monotonic() + 20
        while len(found := await states(client)) < len(sent) or not found["JobsWaitLong"]["status"]["inhibitedBy"]:
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.2)
        found = await states(client)  # the last answer was put together while the cause became known
        held_back = {name for name, each in found.items() if each["status"]["inhibitedBy"]}
        groups = (await client.get("/api/v2/alerts/groups", params={"filter": 'cluster="elsewhere"'})).json()
    assert held_back == {"ServerNotServing", "JobsWaitLong"}
    assert all(set(group["labels"]) == {"cluster", "component"} for group in groups)


pytestmark = pytest.mark.timeout(300)
