"""monitoring/compose.yaml by the schema of the compose specification, and that it mounts and scrapes what is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.support.monitored import MONITORING, TOOLS

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


def scrape_configs() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    return loaded


def test_both_versions_of_the_server_are_scraped(tmp_path: Path) -> None:
    """Each under its own name; the second one by a lookup, because it is not always there."""
    job = next(job for job in scrape_configs() if job["job_name"] == "tria-server")
    found = {f"{name}:{each['port']}" for each in job.pop("dns_sd_configs") for name in each["names"]}
    found |= {target for each in job["static_configs"] for target in each["targets"]}
    versions = [name for name, service in DEPLOYED["services"].items() if re.fullmatch(r"server(-\w+)?", name)]
    assert found == {f"{name}:9464" for name in versions} == {"server:9464", "server-green:9464"}
    # As the lookup hands it over: an address, and the name that was asked for.
    job["static_configs"].append({"targets": ["172.18.0.9:9464"], "labels": {"__meta_dns_name": "server-green"}})
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump({"scrape_configs": [job]}))
    command = [str(TOOLS / "promtool"), "check", "service-discovery", "--timeout=1s", str(config), "tria-server"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {each["labels"]["instance"] for each in json.loads(done.stdout)} == found


def test_the_heartbeat_leaves_this_machine() -> None:
    """From Alertmanager by a relay that is in this file, to an address that whoever starts it must give."""
    config = yaml.safe_load((MONITORING / "alertmanager" / "alertmanager.yml").read_text())
    (receiver,) = (each for each in config["receivers"] if each["name"] == "dead-man-switch")
    (webhook,) = receiver["webhook_configs"]
    relay = urlsplit(webhook["url"])
    assert not webhook["send_resolved"]
    service = compose()["services"][relay.hostname]
    assert set(service["networks"]) == {"inside", "outside"}
    assert service["environment"]["DEAD_MAN_SWITCH_URL"].startswith("${DEAD_MAN_SWITCH_URL:?")
    (template,) = (volume.split(":")[0] for volume in service["volumes"])
    passed = (MONITORING / template).read_text()
    assert f"listen {relay.port};" in passed
    assert f"location = {relay.path} {{" in passed
    assert 'set $outside "${DEAD_MAN_SWITCH_URL}";' in passed
    assert "proxy_pass $outside;" in passed


def read_secrets() -> dict[str, str]:
    """Secret files by name, and the user of the service that reads each."""
    services = compose()["services"]
    found = {name: service["user"] for service in services.values() for name in service.get("secrets", ())}
    config = (MONITORING / "alertmanager" / "alertmanager.yml").read_text()
    mounted = re.findall(r"_file: /etc/alertmanager/secrets/(\w+)$", config, re.MULTILINE)
    return found | dict.fromkeys(mounted, services["alertmanager"]["user"])


def test_whoever_reads_a_secret_owns_it() -> None:
    """A secret that is a file keeps its owner and mode: what the head says makes it readable, to one user alone."""
    lines = [line for line in COMPOSE.read_text().splitlines() if line.startswith("#")]
    (chown,) = (line for line in lines if "chown" in line)
    owned = {name: user for user, names in re.findall(r"chown (\d+) ([\w ]+)", chown) for name in names.split()}
    assert owned == {name: user.split(":")[0] for name, user in read_secrets().items()}
    assert len(owned) == 6
    assert "chmod 0711 . && chmod 0400 *" in "\n".join(lines)


def test_the_role_of_the_exporter_is_made() -> None:
    environ = compose()["services"]["postgres-exporter"]["environment"]
    assert f"create role {environ['DATA_SOURCE_USER']} login" in (MONITORING / "monitor-role.sql").read_text()
    assert "< monitoring/monitor-role.sql" in COMPOSE.read_text()


def test_every_target_is_a_service() -> None:
    names = {
        target.removeprefix("http://").split(":")[0]
        for job in scrape_configs()
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
