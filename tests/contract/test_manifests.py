"""What is in deploy/k8s, as kustomize renders it: valid, connected, and as the server wants it."""

from __future__ import annotations

import base64
import functools
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from server.config import load
from server.rollout import split
from server.rollout.places import CONFIG_MAP, patch

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy" / "k8s"
ENVIRONMENTS = ("staging", "production", "production-sg", "production-my")
VERSION = "1.33"
MADE_OUTSIDE = {
    ("Secret", "tria-secrets"),
    ("Secret", "tria-tls"),
    ("ConfigMap", "tria-jwks"),
    ("ConfigMap", CONFIG_MAP),
    ("PersistentVolumeClaim", "tria-backups"),
}
SECRETS = {
    "TRIA_DATABASE_URL": "postgresql://tria:secret@postgres/tria",
    "TRIA_REDIS_URL": "rediss://valkey:6379/0",
    "TRIA_STATE_SECRET": "s" * 40,
    "TRIA_MASTER_KEYS": "k1=" + base64.b64encode(b"k" * 32).decode(),
    "TRIA_AUDIT_KEY": "tria=" + base64.b64encode(b"a" * 32).decode(),
    "OPENAI_API_KEY": "placeholder",
    "XERO_CLIENT_ID": "placeholder",
    "XERO_CLIENT_SECRET": "placeholder",
    "XERO_WEBHOOK_KEY": "placeholder",
}
IMAGE = {"TRIA_AUDIT_FILE": "/var/lib/tria/audit.log"}  # what the image says; test_image compares

Manifest = dict[str, Any]


@functools.cache
def kubectl() -> str:
    found = subprocess.run(["sh", ".ci/find-kubectl"], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S607
    return found.stdout.strip()


@functools.cache
def rendered(environment: str) -> list[Manifest]:
    folder = K8S / "environments" / environment
    made = subprocess.run([kubectl(), "kustomize", folder], check=True, capture_output=True, text=True)
    return list(yaml.safe_load_all(made.stdout))


def of(environment: str, kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in rendered(environment) if one["kind"] == kind}


def pods(environment: str) -> Iterator[tuple[str, Manifest]]:
    for one in rendered(environment):
        if one["kind"] in {"Deployment", "Job"}:
            yield one["metadata"]["name"], one["spec"]["template"]
        elif one["kind"] == "CronJob":
            yield one["metadata"]["name"], one["spec"]["jobTemplate"]["spec"]["template"]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels", selector if "matchExpressions" not in selector else {})
    expressions = selector.get("matchExpressions", [])
    return wanted.items() <= labels.items() and all(labels.get(one["key"]) in one["values"] for one in expressions)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_manifest_is_valid(environment: str) -> None:
    for one in rendered(environment):
        kubernetes_validate.validate(one, VERSION, strict=True)


def test_the_validator_refuses_what_is_wrong() -> None:
    wrong = json.loads(json.dumps(of("staging", "Deployment")["worker"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_reference_leads_somewhere(environment: str) -> None:
    there = {(one["kind"], one["metadata"]["name"]) for one in rendered(environment)} | MADE_OUTSIDE
    named: set[tuple[str, str]] = set()
    for _, pod in pods(environment):
        named.add(("ServiceAccount", pod["spec"]["serviceAccountName"]))
        for volume in pod["spec"].get("volumes", []):
            named |= {("ConfigMap", volume["configMap"]["name"])} if "configMap" in volume else set()
            named |= {("Secret", volume["secret"]["secretName"])} if "secret" in volume else set()
            if claim := volume.get("persistentVolumeClaim"):
                named.add(("PersistentVolumeClaim", claim["claimName"]))
        for container in containers(pod):
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            assert mounted <= {volume["name"] for volume in pod["spec"].get("volumes", [])}
            for source in container.get("envFrom", []):
                named |= {("ConfigMap", source["configMapRef"]["name"])} if "configMapRef" in source else set()
                named |= {("Secret", source["secretRef"]["name"])} if "secretRef" in source else set()
    for scaler in of(environment, "HorizontalPodAutoscaler").values():
        named.add(("Deployment", scaler["spec"]["scaleTargetRef"]["name"]))
    assert named <= there


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_selector_finds_pods(environment: str) -> None:
    labels = [pod["metadata"]["labels"] for _, pod in pods(environment)]
    selectors = [one["spec"]["selector"] for one in of(environment, "Service").values()]
    selectors += [one["spec"]["selector"] for one in of(environment, "PodDisruptionBudget").values()]
    selectors += [one["spec"]["podSelector"] for one in of(environment, "NetworkPolicy").values()]
    for selector in selectors:
        assert any(matches(selector, one) for one in labels), selector
    for name, pod in pods(environment):
        for constraint in pod["spec"].get("topologySpreadConstraints", []):
            found = [one for one in labels if matches(constraint["labelSelector"], one)]
            assert found == [pod["metadata"]["labels"]], f"{name} counts other pods than its own"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_pod_may_more_than_it_must(environment: str) -> None:
    for name, pod in pods(environment):
        assert pod["spec"]["securityContext"]["runAsNonRoot"], name
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        for container in containers(pod):
            tight = container["securityContext"]
            assert not tight["allowPrivilegeEscalation"], name
            assert tight["readOnlyRootFilesystem"], name
            assert tight["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name
            assert not container["image"].endswith(":latest"), name
            assert container["image"].startswith("registry.example.com/"), "an environment names every image"
    assert not of(environment, "Secret"), "a secret is made outside of the repository"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_version_is_probed_and_drained(environment: str) -> None:
    deployments = of(environment, "Deployment")
    for version in ("blue", "green"):
        pod = deployments[f"server-{version}"]["spec"]["template"]["spec"]
        server = pod["containers"][0]
        assert server["livenessProbe"]["grpc"]["service"] == server["startupProbe"]["grpc"]["service"] == "alive"
        assert "service" not in server["readinessProbe"]["grpc"], "readiness follows the stores"
        drain = server["lifecycle"]["preStop"]["sleep"]["seconds"] + 20 + 2  # TRIA_DRAIN and the goodbye
        assert pod["terminationGracePeriodSeconds"] > drain
        assert "replicas" not in deployments[f"server-{version}"]["spec"], "an apply would undo the autoscaler"
        scaled = of(environment, "HorizontalPodAutoscaler")[f"server-{version}"]["spec"]["metrics"]
        assert [metric["resource"]["name"] for metric in scaled] == ["cpu"], "what every cluster knows"
    command = deployments["gateway"]["spec"]["template"]["spec"]["initContainers"][0]["command"][-1]
    assert "--blue server-blue:50051 --green server-green:50051" in command
    assert {"server-blue", "server-green"} <= of(environment, "Service").keys()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_postgresql_has_connections_for_all_that_may_be_there(environment: str) -> None:
    """Both versions as large as they may become, one pod more of what is replaced, commands, and its own reserve."""
    capacity, readme = ((ROOT / "deploy" / name).read_text() for name in ("CAPACITY.md", "README.md"))
    (servers_pool, servers_direct), (workers_pool, workers_direct) = (
        (int(pooled), int(direct)) for pooled, direct in re.findall(r"\((\d+) pooled \+ (\d+) direct\)", capacity)
    )
    (pool,) = map(int, re.findall(r"`default_pool_size` (\d+)", readme))
    (limit,) = map(int, re.findall(r"(\d+) that PostgreSQL is meant to have", readme))
    (settings,) = (
        one["data"] for name, one in of(environment, "ConfigMap").items() if name.startswith("tria-settings")
    )
    assert load({**settings, "TRIA_POOL_MAX": "", **SECRETS, **IMAGE}, version="test").store.pool_max == servers_pool
    servers_pool = load({**settings, **SECRETS, **IMAGE}, version="test").store.pool_max
    scalers = of(environment, "HorizontalPodAutoscaler").values()
    servers = sum(one["spec"]["maxReplicas"] for one in scalers) + 1
    workers = of(environment, "Deployment")["worker"]["spec"]["replicas"] + 1
    pooled = servers * servers_pool + workers * workers_pool
    if environment.startswith("production"):
        assert pooled > pool, "it would need no pooler"
        pooled = pool
    assert pooled + servers * servers_direct + workers * workers_direct + 6 <= limit - 3


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_with_the_adapter_adds_streams(environment: str, tmp_path: Path) -> None:
    """An autoscaler takes no pod away while a figure of its is unknown: it asks for what somebody answers, by the name
    of the adapter's rule."""
    places = {name: os.path.relpath(K8S / name, tmp_path) for name in ("streams", f"environments/{environment}")}
    overlay = {"components": [places.pop("streams")], "resources": list(places.values())}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    made = subprocess.run([kubectl(), "kustomize", tmp_path], check=True, capture_output=True, text=True)
    scalers = [one for one in yaml.safe_load_all(made.stdout) if one["kind"] == "HorizontalPodAutoscaler"]
    assert len(scalers) == 2
    (rule,) = re.findall(r"seriesQuery: '(\w+)\{", (ROOT / "deploy" / "README.md").read_text())
    for one in scalers:
        kubernetes_validate.validate(one, VERSION, strict=True)
        cpu, streams = one["spec"]["metrics"]
        assert (cpu["type"], streams["type"], streams["pods"]["metric"]["name"]) == ("Resource", "Pods", rule)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_server_takes_the_settings(environment: str) -> None:
    (settings,) = (
        one["data"] for name, one in of(environment, "ConfigMap").items() if name.startswith("tria-settings")
    )
    config = load({**settings, **SECRETS, **IMAGE}, version="test")
    assert config.environment == environment.partition("-")[0]
    workers = of(environment, "Deployment")["worker"]["spec"]["replicas"]
    assert config.accounting.xero.processes == workers, "Xero's budget is shared by as many as there are"
    assert not settings.keys() & SECRETS.keys()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_store_is_allowed(environment: str) -> None:
    """Pods may reach PostgreSQL, a pooler and Valkey by address, and Chroma in the namespace that its URL names."""
    allowed: dict[int, list[Manifest]] = {}
    for rule in of(environment, "NetworkPolicy")["outside"]["spec"]["egress"]:
        for port in rule["ports"]:
            allowed[port["port"]] = rule["to"]
    assert {5432, 6432, 6379, 8000} <= allowed.keys()
    (settings,) = (
        one["data"] for name, one in of(environment, "ConfigMap").items() if name.startswith("tria-settings")
    )
    _, namespace, service = settings["TRIA_CHROMA_URL"].split(".", 2)
    assert service == "svc.cluster.local:8000"
    assert allowed[8000] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_backups_reach_postgresql_and_nothing_else(environment: str) -> None:
    policies = of(environment, "NetworkPolicy")
    stores = policies["outside"]["spec"]["egress"][1]["to"]
    (rule,) = policies["backup"]["spec"]["egress"]
    assert rule == {"to": stores, "ports": [{"protocol": "TCP", "port": 5432}]}
    jobs = {name: pod for name, pod in pods(environment) if name in {"backup", "restore"}}
    assert len(jobs) == 2
    for name, pod in jobs.items():
        found = [
            policy for policy, one in policies.items() if matches(one["spec"]["podSelector"], pod["metadata"]["labels"])
        ]
        assert sorted(found) == ["backup", "names", "nothing"], name
    assert of(environment, "CronJob")["restore"]["spec"]["suspend"], "it is a form"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_is_mounted_follows_a_rotation(environment: str) -> None:
    """A kubelet renews directories; a file that is mounted by `subPath` stays what it was."""
    gateway = (ROOT / "envoy" / "envoy.yaml").read_text()
    secret = yaml.safe_load((ROOT / "envoy" / "certificate.yaml").read_text())["resources"][0]["tls_certificate"]
    for name, pod in pods(environment):
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", ())}
        for mount in (mount for one in containers(pod) for mount in one.get("volumeMounts", ())):
            assert "subPath" not in mount, f"{name} {mount['mountPath']}"
            if "secret" in volumes[mount["name"]]:
                assert secret["watched_directory"]["path"] == mount["mountPath"]
                assert Path(secret["private_key"]["filename"]).parent == Path(mount["mountPath"])
            elif mount["name"] == "jwks" and name == "gateway":
                assert f"{mount['mountPath']}/jwks.json" in gateway


def test_the_migration_goes_around_a_pooler() -> None:
    environ = {
        one["name"]: one for one in of("staging", "Job")["migrate"]["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert environ["TRIA_DATABASE_DIRECT_URL"]["valueFrom"]["secretKeyRef"]["optional"], "not every place has a pooler"


def test_the_helper_that_drains_ends_when_it_is_told() -> None:
    """As the first process of a container a signal without a handler does nothing: there must be one."""
    parts = of("staging", "Deployment")["gateway"]["spec"]["template"]["spec"]["containers"]
    (command,) = (part["command"] for part in parts if part["name"] == "drain")
    assert "trap 'exit 0' TERM" in command[-1]
    assert command[-1].endswith("& wait")


def test_regions_share_nothing() -> None:
    found = []
    for environment in ENVIRONMENTS:
        (settings,) = (
            one["data"] for name, one in of(environment, "ConfigMap").items() if name.startswith("tria-settings")
        )
        found.append({settings[name] for name in ("TRIA_JWT_AUDIENCE", "TRIA_PUBLIC_URL")})
    assert len(set.union(*found)) == sum(map(len, found))


def test_the_split_is_the_one_that_promotion_writes() -> None:
    made = yaml.safe_load((K8S / "split.yaml").read_text())
    kubernetes_validate.validate(made, VERSION, strict=True)
    assert made["metadata"]["name"] == CONFIG_MAP
    assert yaml.safe_load(made["data"]["split.yaml"]) == yaml.safe_load(split.text(0))
    assert (ROOT / "deploy" / "split" / "split.yaml").read_text() == split.text(0), "Compose's begins there too"
    assert not [one for one in rendered("staging") if one["metadata"]["name"] == CONFIG_MAP], "an apply would undo it"


def test_promotion_changes_the_config_map_as_kubectl_understands_it() -> None:
    file = str(K8S / "split.yaml")
    command = [kubectl(), "patch", "--local", "--filename", file, "--type", "merge", "--output", "json"]
    made = subprocess.run([*command, "--patch", patch(10)], check=True, capture_output=True, text=True)
    assert json.loads(made.stdout)["data"] == {"split.yaml": split.text(10)}
