"""What `kubectl apply --kustomize monitoring` gives to a cluster; deploy/README.md says what has to be beside it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import kubernetes_validate
import yaml

from tests.contract.test_manifests import VERSION, Manifest, kubectl
from tests.support.alertmanager import CONFIG as ALERTMANAGER
from tests.support.monitored import MONITORING, RULES, TOOLS
from tests.support.relay import TEMPLATE

PROMETHEUS = MONITORING / "prometheus"
GRAFANA = MONITORING / "grafana"
STEP = re.search(
    r"^6\. .*?(?=^7\. )", (MONITORING.parent / "deploy" / "README.md").read_text(), re.MULTILINE | re.DOTALL
)
APPLIED = 256 << 10  # bytes that `kubectl apply` can keep of a manifest, as an annotation


def mounted(folder: Path) -> tuple[dict[str, dict[str, str]], list[Manifest]]:
    """ConfigMaps by name, and the rest; all of it valid, and small enough."""
    made = subprocess.run([kubectl(), "kustomize", folder], check=True, capture_output=True, text=True)
    manifests = list(yaml.safe_load_all(made.stdout))
    for one in manifests:
        kubernetes_validate.validate(one, VERSION, strict=True)
        assert one["metadata"].get("namespace") == "monitoring", one["metadata"]["name"]
        assert len(json.dumps(one)) < APPLIED, one["metadata"]["name"]
    maps = {one["metadata"]["name"]: one["data"] for one in manifests if one["kind"] == "ConfigMap"}
    return maps, [one for one in manifests if one["kind"] != "ConfigMap"]


def texts(folder: Path, pattern: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob(pattern)}


def step() -> str:
    assert STEP
    return STEP[0]


def test_prometheus_has_its_configuration_and_account() -> None:
    maps, others = mounted(PROMETHEUS)
    assert set(maps["tria-prometheus-rules"]) == {path.name for path in RULES}
    assert maps["tria-prometheus"]["prometheus.yml"] == (PROMETHEUS / "kubernetes.yml").read_text()
    assert [one["metadata"]["name"] for one in others if one["kind"] == "ServiceAccount"] == ["prometheus"]


def test_all_of_it_is_one_apply() -> None:
    """Prometheus' part and, beside it, what tells people and what shows them."""
    of_prometheus, accounts = mounted(PROMETHEUS)
    maps, others = mounted(MONITORING)
    assert others == accounts
    assert maps == {
        **of_prometheus,
        "tria-alertmanager": {"alertmanager.yml": ALERTMANAGER.read_text()},
        "tria-dead-man-switch": {"default.conf.template": TEMPLATE.read_text()},
        "tria-dashboards": texts(GRAFANA / "dashboards", "*.json"),
        "tria-grafana-dashboards": texts(GRAFANA / "provisioning" / "dashboards", "*"),
        "tria-grafana-datasources": texts(GRAFANA / "provisioning" / "datasources", "*"),
    }


def test_alertmanager_takes_what_it_mounts(tmp_path: Path) -> None:
    """Routes and inhibition arrive whole."""
    maps, _ = mounted(MONITORING)
    config = tmp_path / "alertmanager.yml"
    config.write_text(maps["tria-alertmanager"]["alertmanager.yml"])
    done = subprocess.run([TOOLS / "amtool", "check-config", config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(yaml.safe_load(ALERTMANAGER.read_text())['inhibit_rules'])} inhibit rules" in done.stdout


def test_the_step_says_what_is_mounted_where() -> None:
    maps, _ = mounted(MONITORING)
    assert not [name for name in maps if f"`{name}`" not in step()]
    secrets = re.findall(r"_file: (/\S+)/(\w+)$", ALERTMANAGER.read_text(), re.MULTILINE)
    assert len(secrets) == 3
    assert not [name for folder, name in secrets if f"`{name}`" not in step() or f"`{folder}`" not in step()]
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/tria.yaml").read_text())["providers"][0]
    assert f"`{provider['options']['path']}`" in step()


def names_in_the_cluster() -> set[str]:
    """Services that the configuration names without saying where: they are in the namespace of whoever asks."""
    text = (PROMETHEUS / "kubernetes.yml").read_text()
    found = set(re.findall(r"(?<![\w.])[a-z-]+:\d{4}\b", text)) - {"localhost:9090"}
    urls = re.findall(r"url: (http://\S+)", ALERTMANAGER.read_text())
    urls += re.findall(r"url: (http://\S+)", (GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())
    return found | {urlsplit(url).netloc for url in urls}


def test_the_step_says_which_names_there_must_be() -> None:
    assert names_in_the_cluster() >= {"alertmanager:9093", "blackbox-exporter:9115", "dead-man-switch:8080"}
    assert not [name for name in names_in_the_cluster() if f"`{name}`" not in step()]
