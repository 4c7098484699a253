"""What deploy/release would do, said by itself without a cluster; the manifests are made for real."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.contract.test_manifests import ENVIRONMENTS, ROOT, VERSION, Manifest

SERVER, GATEWAY = "registry.example.com/tria@sha256:" + "a" * 64, "registry.example.com/tria-gateway@sha256:" + "b" * 64
TOLD = {
    "SERVER_IMAGE": SERVER,
    "GATEWAY_IMAGE": GATEWAY,
    "URL": "https://x",
    "PROMETHEUS": "http://p",
    "BACKUP": "true",
}


def rehearse(environment: str, folder: Path, **told: str) -> tuple[list[str], list[Manifest]]:
    manifests = folder / "manifests.yaml"
    environ = {**os.environ, **TOLD, "DRY_RUN": "1", "MANIFESTS": str(manifests), **told}
    ran = subprocess.run(
        ["deploy/release", environment, "--book"],  # noqa: S607
        cwd=ROOT, env=environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    done = [line.removeprefix("+ ") for line in ran.stdout.splitlines() if line.startswith("+ ")]
    return done, list(yaml.safe_load_all(manifests.read_text()))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_image_of_a_release_is_named_by_its_digest(environment: str, tmp_path: Path) -> None:
    _, manifests = rehearse(environment, tmp_path)
    found = {}
    for one in manifests:
        kubernetes_validate.validate(one, VERSION, strict=True)
        if one["kind"] in {"Deployment", "Job"}:
            pod = one["spec"]["template"]["spec"]
            for container in [*pod.get("initContainers", []), *pod["containers"]]:
                found[one["metadata"]["name"], container["name"]] = container["image"]
    assert set(found.values()) == {SERVER, GATEWAY}
    assert found["gateway", "envoy"] == GATEWAY
    assert not list((ROOT / "deploy" / "k8s" / "environments").glob(".release-*")), "nothing is left behind"


def test_backup_comes_first_and_the_schema_before_the_code(tmp_path: Path) -> None:
    done, _ = rehearse("staging", tmp_path, BACKUP="echo saved")
    words = ("echo saved", "delete job migrate", "component=migration", "wait job/migrate", "component!=migration")
    order = [next(number for number, line in enumerate(done) if word in line) for word in words]
    later = [next(number for number, line in enumerate(done) if word in line) for word in ("promote green", "smoke")]
    assert [*order, *later] == sorted([*order, *later])
    assert done[-1].endswith("--book")
