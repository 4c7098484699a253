"""Every expression of rules and dashboards against what a system under load really exports: no name, no label and no
selection that matches nothing, or an alert would be silent for ever."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.monitored import MONITORING, Watch, rules

DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))

# What a system that is well does not have; each part of these is still looked for by name and label.
EMPTY_WHEN_WELL = {
    'grpc_server_handled_total{grpc_service=~"tria[.].*",'
    'grpc_code=~"INTERNAL|UNKNOWN|UNAVAILABLE|DEADLINE_EXCEEDED|DATA_LOSS"}': "no call has failed",
    'envoy_cluster_upstream_rq_xx{envoy_cluster_name=~"server|unproven|green|unproven_green",'
    'envoy_response_code_class="5"}': "nor here",
}  # fmt: skip

_WORDS = {
    "and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset",
}  # fmt: skip
_GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric and the matchers behind it, as an expression has them."""

    name: str
    matchers: str

    @property
    def text(self) -> str:
        return self.name + self.matchers

    @property
    def labels(self) -> list[str]:
        return _MATCHER.findall(self.matchers)


def selectors(expression: str) -> Iterator[Selector]:
    """Of every metric in the expression. Functions stand before a parenthesis, labels of a grouping inside one."""
    bare = _GROUPING.sub(" ", expression)
    bare = re.sub(r"\[\w+\]", "", bare)  # ranges
    outside = re.sub(r"\{[^}]*\}", lambda found: " " * len(found[0]), bare)
    for found in re.finditer(r"(?<![\w:.])([a-zA-Z_:][\w:]*)", outside):
        rest = bare[found.end() :].lstrip()
        if found[1] in _WORDS or rest.startswith("("):
            continue
        braces = re.match(r"\{[^}]*\}", rest)
        yield Selector(found[1], re.sub(r"\s+", "", braces[0]) if braces else "")


def of_dashboards() -> dict[str, str]:
    found = {}
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                title = f"{path.stem}: {panel['title']} {target['refId']}"
                found[title] = target["expr"].replace("$__rate_interval", "30s")
    return found


def test_selectors_are_read_right() -> None:
    expression = (
        'sum by (le, a) (rate(one{b=~"x|y",c!="z"}[5m])) / on () group_left two > 1e6 or vector(0) and tria:x:y'
    )
    assert [selector.text for selector in selectors(expression)] == ['one{b=~"x|y",c!="z"}', "two", "tria:x:y"]
    assert next(selectors(expression)).labels == ["b", "c"]


async def trouble(watch: Watch, selector: Selector) -> str:
    """What of the selector does not exist; empty when all does."""
    known = set(await watch.get("labels", **{"match[]": selector.name}))
    if not known:
        return f"no such metric: {selector.name}"
    if unknown := set(selector.labels) - known:
        return f"no such label of {selector.name}: {unknown}"
    if selector.text not in EMPTY_WHEN_WELL and not await watch.ask(f"count({selector.text})"):
        return f"selects nothing: {selector.text}"
    return ""


async def missing(watch: Watch, *expressions: str) -> list[str]:
    """What of the expressions does not exist."""
    wanted = {selector for expression in expressions for selector in selectors(expression)}
    return [found for selector in sorted(wanted, key=str) if (found := await trouble(watch, selector))]


async def test_what_does_not_exist_is_found(watch: Watch) -> None:
    assert await missing(watch, "tria_no_such_metric > 1") == ["no such metric: tria_no_such_metric"]
    assert await missing(watch, 'sum(rate(up{no_such="x"}[1m]))') == ["no such label of up: {'no_such'}"]
    assert await missing(watch, 'up{job="no-such"} == 0') == ['selects nothing: up{job="no-such"}']


async def test_rules_name_only_what_exists(watch: Watch) -> None:
    assert not await missing(watch, *(rule.expr for rule in rules()))


async def test_dashboards_name_only_what_exists(watch: Watch) -> None:
    assert not await missing(watch, *of_dashboards().values())


async def test_every_panel_shows_something(watch: Watch) -> None:
    empty = [title for title, expr in of_dashboards().items() if not await watch.ask(expr)]
    assert not empty


async def test_every_recorded_series_is_there(watch: Watch) -> None:
    recorded = {rule.name for rule in rules() if not rule.alert}
    empty = [name for name in sorted(recorded) if not await watch.ask(name)]
    assert not empty


async def test_a_rate_is_of_a_counter(watch: Watch) -> None:
    """A rate of a gauge, or a gauge's maximum of a counter, is a number without meaning."""
    types = await watch.get("metadata")
    wrong = []
    for expression in [*(rule.expr for rule in rules()), *of_dashboards().values()]:
        for name in re.findall(r"(?:rate|increase)\((\w+)", expression):
            of = types.get(name) or types.get(re.sub(r"_(total|bucket|count|sum)$", "", name)) or [{"type": "none"}]
            # Exporters that do not know what a number is say "unknown" or "untyped".
            if of[0]["type"] not in {"counter", "histogram", "summary", "unknown", "untyped"}:
                wrong.append(f"{name} is a {of[0]['type']}")
    assert not wrong


async def test_no_rule_fails_to_evaluate(watch: Watch) -> None:
    groups = (await watch.get("rules"))["groups"]
    assert sum(len(group["rules"]) for group in groups) == len(rules())
    assert not [rule["name"] for group in groups for rule in group["rules"] if rule["health"] != "ok"]


async def test_everything_is_scraped(watch: Watch) -> None:
    targets = (await watch.get("targets", state="active"))["activeTargets"]
    assert {target["labels"]["job"] for target in targets} == {
        "tria-server", "tria-worker", "envoy", "postgres", "redis", "node", "chroma", "gateway", "prometheus",
        "alertmanager",
    }  # fmt: skip
    assert not [target["lastError"] for target in targets if target["health"] != "up"]


async def test_the_watchdog_barks_and_nothing_critical_fires(watch: Watch) -> None:
    await watch.until('ALERTS{alertname="Watchdog",alertstate="firing"}')
    firing = await watch.ask('ALERTS{alertstate="firing",severity="critical"}')
    # A busy machine may really be slow or full.
    of_the_machine = {"LatencyP99High", "SlowAnswersBurnFast", "DiskFillsUp"}
    assert {alert["metric"]["alertname"] for alert in firing} <= of_the_machine


pytestmark = pytest.mark.timeout(300)
