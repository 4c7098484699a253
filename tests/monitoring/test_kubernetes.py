"""How Prometheus finds pods in a cluster: the configuration on what deploy/k8s renders, and what lets it in.

Debian's Prometheus is built without the discovery of Kubernetes. So pods are handed over as that discovery hands them
over, with the labels of its documentation, and promtool does the choosing and relabelling.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.test_image import instructions
from tests.contract.test_manifests import Manifest, containers, matches, of, pods
from tests.support.monitored import MONITORING, RULES, TOOLS

PROMETHEUS = MONITORING / "prometheus"
CONFIG = yaml.safe_load((PROMETHEUS / "kubernetes.yml").read_text())
JOBS = {job["job_name"]: job for job in CONFIG["scrape_configs"]}
BESIDE_COMPOSE = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
OURS = {"tria-server": "server", "tria-worker": "worker", "envoy": "gateway"}
ENVIRONMENT = "production"
NODE_EXPORTER: Manifest = {
    "metadata": {"labels": {"app.kubernetes.io/name": "node-exporter"}},
    "spec": {"containers": [{"name": "node-exporter", "ports": [{"name": "metrics", "containerPort": 9100}]}]},
}


def targets(name: str, pod: Manifest, phase: str = "Running") -> Iterator[dict[str, Any]]:
    """What the discovery of role `pod` makes of it: a target for each port, and one for a container without any."""
    labels = {
        "__meta_kubernetes_namespace": "tria",
        "__meta_kubernetes_pod_name": f"{name}-6f5",
        "__meta_kubernetes_pod_phase": phase,
        "__meta_kubernetes_pod_node_name": "node-1",
    }
    for key, value in pod["metadata"]["labels"].items():
        labels["__meta_kubernetes_pod_label_" + re.sub(r"\W", "_", key)] = value
    for container in containers(pod):
        for port in container.get("ports", [{}]):
            number = str(port.get("containerPort", ""))
            of_port = {"name": port.get("name", ""), "number": number}
            found = {f"__meta_kubernetes_pod_container_port_{key}": value for key, value in of_port.items()}
            yield {"targets": [f"10.0.0.1:{number}" if number else "10.0.0.1"], "labels": labels | found}


def discovered(phase: str = "Running") -> list[dict[str, Any]]:
    known = [*pods(ENVIRONMENT), ("node-exporter", NODE_EXPORTER)]
    return [target for name, pod in known for target in targets(name, pod, phase)]


def handed_over(path: Path, found: list[dict[str, Any]]) -> Path:
    """The configuration as it stands, but for where targets come from."""
    config = copy.deepcopy(CONFIG)
    for job in config["scrape_configs"]:
        if job.pop("kubernetes_sd_configs", None):
            job["static_configs"] = found
    config["rule_files"] = [str(PROMETHEUS / "rules" / "*.yml")]
    path.write_text(yaml.safe_dump(config))
    return path


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run([TOOLS / "promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def scraped(config: Path, job: str) -> list[dict[str, str]]:
    """Labels of the targets that are left of a job."""
    answer = promtool("check", "service-discovery", "--timeout=1s", config, job)
    return [found["labels"] for found in json.loads(answer) if found["labels"]]


def test_the_configuration_is_prometheus_own(tmp_path: Path) -> None:
    said = promtool("check", "config", handed_over(tmp_path / "prometheus.yml", discovered()))
    assert said.count(" rules found") == len(RULES)


def test_it_is_the_other_configuration_but_for_discovery() -> None:
    assert [job["job_name"] for job in BESIDE_COMPOSE["scrape_configs"]] == list(JOBS)
    for key in ("global", "rule_files", "alerting"):
        assert CONFIG[key] == BESIDE_COMPOSE[key]
    for job in BESIDE_COMPOSE["scrape_configs"]:
        of_targets = {"static_configs", "dns_sd_configs", "kubernetes_sd_configs", "relabel_configs"}
        assert {k: v for k, v in job.items() if k not in of_targets} == {
            k: v for k, v in JOBS[job["job_name"]].items() if k not in of_targets
        }


def test_pods_are_asked_for_and_nothing_else() -> None:
    """What promtool here cannot read."""
    namespace = of(ENVIRONMENT, "Role")["prometheus-finds-pods"]["metadata"]["namespace"]
    for name in OURS:
        assert JOBS[name]["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": [namespace]}}]
    assert JOBS["node"]["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"own_namespace": True}}]


@pytest.mark.parametrize(("job", "component"), OURS.items())
def test_every_pod_is_found_once_by_its_job(tmp_path: Path, job: str, component: str) -> None:
    found = scraped(handed_over(tmp_path / "prometheus.yml", discovered()), job)
    wanted = {f"{name}-6f5" for name, pod in pods(ENVIRONMENT) if name.split("-")[0] == component}
    assert {labels["pod"] for labels in found} == wanted
    assert len(found) == len(wanted)
    for labels in found:
        assert labels["job"] == job
        assert labels["instance"] == f"{labels['pod']}:{labels['__address__'].rpartition(':')[2]}"
        assert labels["namespace"] == "tria"
        assert labels["__metrics_path__"] == ("/stats/prometheus" if job == "envoy" else "/metrics")


def test_nodes_are_found_by_their_names(tmp_path: Path) -> None:
    (found,) = scraped(handed_over(tmp_path / "prometheus.yml", discovered()), "node")
    assert (found["instance"], found["job"]) == ("node-1:9100", "node")


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed"])
def test_a_pod_that_does_not_run_is_not_down(tmp_path: Path, phase: str) -> None:
    config = handed_over(tmp_path / "prometheus.yml", discovered(phase))
    assert not [labels for job in OURS for labels in scraped(config, job)]


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_prometheus_may_find_and_reach_them(environment: str) -> None:
    role = of(environment, "Role")["prometheus-finds-pods"]
    binding = of(environment, "RoleBinding")["prometheus-finds-pods"]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("Role", role["metadata"]["name"])
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "prometheus", "namespace": "monitoring"}]
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    policies = [one["spec"] for one in of(environment, "NetworkPolicy").values()]
    for name, pod in pods(environment):
        if name.split("-")[0] in OURS.values():
            rules = [
                rule
                for policy in policies
                if matches(policy["podSelector"], pod["metadata"]["labels"])
                for rule in policy.get("ingress", ())
            ]
            assert {"from": [peer], "ports": [{"protocol": "TCP", "port": "metrics"}]} in rules, name


def test_figures_are_served_to_the_network_of_the_pods() -> None:
    """On loopback unless the server is told otherwise: the image tells it, at the port of the manifest."""
    told = dict(re.findall(r"(TRIA_\w*METRICS_LISTEN)=(\S+)", " ".join(instructions("ENV"))))
    ports = {
        name: {port["name"]: port["containerPort"] for one in containers(pod) for port in one.get("ports", ())}
        for name, pod in pods(ENVIRONMENT)
    }
    assert told["TRIA_METRICS_LISTEN"] == f"0.0.0.0:{ports['server-blue']['metrics']}"
    assert told["TRIA_WORKER_METRICS_LISTEN"] == f"0.0.0.0:{ports['worker']['metrics']}"
    gateway = yaml.safe_load((MONITORING.parent / "envoy" / "envoy.yaml").read_text())
    (listener,) = (one for one in gateway["static_resources"]["listeners"] if one["name"] == "metrics")
    address = {"address": "0.0.0.0", "port_value": ports["gateway"]["metrics"]}  # noqa: S104 - so it must be here
    assert listener["address"]["socket_address"] == address
