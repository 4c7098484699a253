"""The rules by Prometheus' own tools, and what every alert must have."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from server.embedded.monitoring_config import Pace, hurried
from tests.support.monitored import ALERTS, MONITORING, RULES, TOOLS, Rule, rules

PROMETHEUS = MONITORING / "prometheus"
CASES = sorted((PROMETHEUS / "tests").glob("*.yml"))
ALWAYS = {"Watchdog"}  # fires by design: it has no other side
COMPONENTS = {
    "audit", "chat", "chroma", "gateway", "invoices", "machine", "model", "monitoring", "postgres", "redis", "server",
    "service", "worker",
}  # fmt: skip


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TOOLS / "promtool", *arguments], capture_output=True, text=True, check=False)


def test_the_configuration_is_prometheus_own() -> None:
    done = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" rules found") == len(RULES)


def test_the_rules_are_sound() -> None:
    done = promtool("check", "rules", "--lint-fatal", *RULES)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_alerts_fire_and_stay_silent(cases: Path) -> None:
    done = promtool("test", "rules", cases)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_case_is_found(tmp_path: Path) -> None:
    """promtool that passes everything would prove nothing."""
    wrong = (PROMETHEUS / "tests" / "stores.yml").read_text().replace("component: 'redis'", "component: 'tea'")
    (tmp_path / "stores.yml").write_text(wrong.replace("../rules", str(PROMETHEUS / "rules")))
    assert promtool("test", "rules", tmp_path / "stores.yml").returncode == 1


def test_every_alert_has_both_sides() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for path in CASES:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for expected in case["alert_rule_test"]:
                (fires if expected["exp_alerts"] else silent).add(expected["alertname"])
    names = {alert.name for alert in ALERTS}
    assert names == fires
    assert names - ALWAYS == silent


def test_there_are_enough_and_none_twice() -> None:
    names = [alert.name for alert in ALERTS]
    assert len(names) >= 25
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_says_who_and_what(alert: Rule) -> None:
    assert alert.labels["severity"] in ({"critical", "warning", "info"} if alert.name not in ALWAYS else {"none"})
    assert alert.labels["component"] in COMPONENTS
    assert set(alert.annotations) == {"summary", "description", "runbook"}
    assert alert.annotations["runbook"] == f"monitoring/runbooks/{alert.name}.md"
    assert alert.annotations["description"].rstrip().endswith(".")


def test_what_is_recorded_is_used() -> None:
    """By an alert or a dashboard: what nobody reads is paid for all the same."""
    texts = [rule.expr for rule in rules()]
    texts += [path.read_text() for path in (MONITORING / "grafana" / "dashboards").glob("*.json")]
    recorded = {rule.name for rule in rules() if not rule.alert}
    unused = {name for name in recorded if not any(re.search(rf"{name}\b", text) for text in texts)}
    assert not unused


def test_a_hurry_divides_windows_and_waits() -> None:
    rule = {"alert": "A", "expr": "rate(a[1h]) > 1 and rate(a[5m]) > 1", "for": "2m"}
    made = hurried({"groups": [{"rules": [dict(rule)]}]}, Pace(20, 2))["groups"][0]["rules"][0]
    assert made == {"alert": "A", "expr": "rate(a[180s]) > 1 and rate(a[15s]) > 1", "for": "6s"}
    assert hurried({"groups": [{"rules": [dict(rule)]}]}, Pace())["groups"][0]["rules"] == [rule]
