"""monitoring/compose.yaml by the schema of the compose specification, and that it mounts and scrapes what is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.monitored import MONITORING

COMPOSE = MONITORING / "compose.yaml"
DEPLOYED = yaml.safe_load((MONITORING.parent / "deploy" / "compose.yaml").read_text())  # the system that is watched


def validated(path: Path) -> subprocess.CompletedProcess[str]:
    """By the schema that the tool carries: nothing is fetched."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def test_it_is_a_compose_file(tmp_path: Path) -> None:
    done = validated(COMPOSE)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("restart: unless-stopped", "restarts: unless-stopped"))
    assert validated(wrong).returncode == 1


def test_what_is_mounted_is_there() -> None:
    for service in compose()["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./") and "secrets" not in source:
                assert (MONITORING / source).exists()


def test_every_target_is_a_service() -> None:
    config = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yml").read_text())
    names = {
        target.removeprefix("http://").split(":")[0]
        for job in config["scrape_configs"]
        for target in job["static_configs"][0]["targets"]
    }
    assert names - {"localhost"} <= {*compose()["services"], *DEPLOYED["services"]}


def test_every_store_and_network_is_the_deployment_s() -> None:
    made = compose()
    assert {each["name"] for each in made["networks"].values()} <= {
        f"{DEPLOYED['name']}_{network}" for network in DEPLOYED["networks"]
    }
    inside = f"{DEPLOYED['name']}_inside"
    for name, service in made["services"].items():
        assert inside in {made["networks"][network]["name"] for network in service["networks"]}, name
        if service.get("ports"):
            assert "outside" in service["networks"], f"{name}: a network without a way out publishes no port"
    environ = made["services"]["postgres-exporter"]["environment"]["DATA_SOURCE_URI"]
    address = made["services"]["redis-exporter"]["environment"]["REDIS_ADDR"]
    assert {environ.split(":")[0], address.removeprefix("redis://").split(":")[0]} <= DEPLOYED["services"].keys()


def test_ports_are_on_loopback() -> None:
    """None of these asks who is there."""
    ports = [port for service in compose()["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
