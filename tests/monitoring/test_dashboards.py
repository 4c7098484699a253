"""Dashboards as Grafana reads them. No Grafana is to be had here, so what it would stumble over is looked for by hand;
their expressions are tried in test_expressions.py."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.monitored import MONITORING

GRAFANA = MONITORING / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
COMPONENTS = {"overview", "server", "chat", "orders", "audit", "stores", "envoy"}


def load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def test_every_component_has_one() -> None:
    assert {path.stem for path in DASHBOARDS} == {f"tria-{name}" for name in COMPONENTS}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path: Path) -> None:
    board = load(path)
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    assert board["uid"] == path.stem  # links and runbooks stay good
    assert "id" not in board  # it is the database's, and would collide
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["type"] in {"timeseries", "stat"}
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for owner in (panel, *panel["targets"]):
            assert owner["datasource"] == {"type": source["type"], "uid": source["uid"]}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_panel_lies_on_another(path: Path) -> None:
    places = [panel["gridPos"] for panel in load(path)["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below


def test_provisioning_names_where_they_are() -> None:
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/tria.yaml").read_text())["providers"][0]
    compose = yaml.safe_load((MONITORING / "compose.yaml").read_text())
    mounted = [volume.split(":") for volume in compose["services"]["grafana"]["volumes"]]
    assert ["./grafana/dashboards", provider["options"]["path"], "ro"] in mounted
