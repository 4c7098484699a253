"""monitoring/runbooks/shell for a system that `make run` did not start: variables alone, a cluster, Docker Compose."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.test_manifests import containers, kubectl, pods
from tests.support.cluster import NAMESPACE, cluster
from tests.support.monitored import ROOT

SHELLS = [("sh", "-eu"), ("bash", "-euo", "pipefail")]


@dataclass(frozen=True, slots=True)
class Ran:
    """What a block of a runbook did."""

    code: int | None
    said: str
    complained: str


async def block(command: str, state: Path, *shell: str, programs: Path | None = None, **variables: str) -> Ran:
    """Run as it stands in a runbook, with what is exported and the state directory of nobody's system."""
    path = f"{programs}:{os.environ['PATH']}" if programs else os.environ["PATH"]
    process = await asyncio.create_subprocess_exec(
        *(shell or SHELLS[0]), "-c", f". monitoring/runbooks/shell\n{command}\n",
        cwd=ROOT,
        env={"PATH": path, "HOME": str(state), "STATE": str(state), **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    return Ran(process.returncode, output.decode(), errors.decode())


def stand_in(folder: Path, name: str, text: str) -> Path:
    """A program of this name in a folder of its own."""
    (folder / "programs").mkdir(exist_ok=True)
    program = folder / "programs" / name
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return program.parent


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
async def test_a_database_that_is_named_is_asked(tmp_path: Path, dsn: str, shell: tuple[str, ...]) -> None:
    ran = await block('sql "select count(*) as checkpoints from audit_checkpoint"', tmp_path, *shell, DATABASE=dsn)
    assert (ran.code, ran.complained) == (0, "")
    assert "checkpoints" in ran.said
    refused = await block('sql "create table made_by_hand ()"', tmp_path, *shell, DATABASE=dsn)
    assert refused.code != 0
    assert "read-only transaction" in refused.complained


async def test_without_anything_it_says_what_is_missing(tmp_path: Path) -> None:
    ran = await block('sql "select 1"', tmp_path)
    assert ran.code != 0
    assert "export DATABASE=" in ran.complained


async def test_nothing_of_this_machine_is_taken_for_the_cluster(tmp_path: Path) -> None:
    kept = {"TRIA_DATABASE_URL": "postgresql://here", "TRIA_CHROMA_URL": "http://here"}
    (tmp_path / "environment.json").write_text(json.dumps(kept))
    (tmp_path / "ports.json").write_text(json.dumps({"metrics": 1, "http": 2}))
    told = 'echo "<$DATABASE><$CHROMA><$SERVER><$GATEWAY><${TRIA_STATE_DIR:-}>"'
    here = await block(told, tmp_path)
    expected = f"<postgresql://here><http://here><http://127.0.0.1:1/metrics><http://127.0.0.1:2><{tmp_path}>\n"
    assert here.said == expected
    there = await block(told, tmp_path, NAMESPACE=NAMESPACE, GATEWAY="https://desk.example.com")
    assert there.said == "<><><><https://desk.example.com><>\n"


async def test_logs_of_a_cluster_are_those_of_every_pod_of_the_part(tmp_path: Path) -> None:
    """By the real kubectl, with the labels and containers of deploy/k8s."""
    programs = stand_in(tmp_path, "kubectl", f'exec {kubectl()} "$@"')
    async with cluster(tmp_path, "production") as there:
        for part, names in {
            "server": ["server-blue-6f5", "server-green-6f5"],
            "worker": ["worker-6f5"],
            "envoy": ["gateway-6f5"],
        }.items():
            there.logs.clear()
            told = {"NAMESPACE": NAMESPACE, "KUBECONFIG": str(there.kubeconfig)}
            ran = await block(f"logs {part} 7", tmp_path, programs=programs, **told)
            assert ran.code == 0, ran.complained
            assert sorted(there.logs) == [f"{pod} {part} 7" for pod in names]
            assert ran.said.splitlines() == [f"[pod/{pod}/{part}] a line of {pod}" for pod in names]
            assert {part} <= {one["name"] for one in there.found[names[0]]["spec"]["containers"]}
        ran = await block("parts; logs postgres", tmp_path, programs=programs, **told)
        assert ran.code == 0, ran.complained
        assert set(ran.said.split()) >= there.found.keys()
        assert "outside of tria" in ran.complained


async def test_a_command_runs_in_each_pod_of_the_part(tmp_path: Path) -> None:
    """Pods are found by the real kubectl; what it would run in one is run here."""
    answers = f"""case "$*" in
*" exec "*) echo "$*" | sed 's/ -- .*//'; while [ "$1" != -- ]; do shift; done; shift; exec "$@" ;;
*) exec {kubectl()} "$@" ;;
esac"""
    programs = stand_in(tmp_path, "kubectl", answers)
    async with cluster(tmp_path, "production") as there:
        told = {"NAMESPACE": NAMESPACE, "KUBECONFIG": str(there.kubeconfig)}
        ran = await block("at server echo 'one  word'; at envoy echo two", tmp_path, programs=programs, **told)
    assert ran.code == 0, ran.complained
    assert ran.said.splitlines() == [
        "--namespace tria exec pod/server-blue-6f5 --container server", "one  word",
        "--namespace tria exec pod/server-green-6f5 --container server", "one  word",
        "--namespace tria exec pod/gateway-6f5 --container drain", "two",
    ]  # fmt: skip


async def test_figures_of_a_cluster_are_asked_for_inside_of_it(tmp_path: Path) -> None:
    """At the ports of the manifests, which nothing here listens at: what would be run is said."""
    ports = {
        name: port["containerPort"]
        for name, pod in pods("production")
        for one in containers(pod)
        for port in one.get("ports", ())
        if port["name"] == "metrics"
    }
    paths = {"server-blue": "metrics", "worker": "metrics", "gateway": "stats/prometheus"}
    pages = [f"{ports[name]}/{path}" for name, path in paths.items()]
    programs = stand_in(
        tmp_path,
        "kubectl",
        'case "$*" in *" get "*) echo pod/one ;; *) for last; do :; done; echo "tria_from $last" ;; esac',
    )
    commands = "; ".join(f"figures {part} tria_" for part in ("server", "worker", "envoy"))
    ran = await block(commands, tmp_path, programs=programs, NAMESPACE=NAMESPACE)
    assert ran.code == 0, ran.complained
    assert ran.said.splitlines() == [f"tria_from http://127.0.0.1:{page}" for page in pages]


async def test_compose_is_asked_by_the_names_of_its_services(tmp_path: Path) -> None:
    programs = stand_in(tmp_path, "docker", 'echo "$*"')
    commands = 'logs envoy 7; at worker ls; sql "select 1"; parts; echo "$GATEWAY $HTTPS"'
    ran = await block(commands, tmp_path, programs=programs, COMPOSE="tria")
    assert ran.code == 0, ran.complained
    careful = "PGOPTIONS=-c default_transaction_read_only=on -c statement_timeout=10s"
    of = "compose --project-name tria"
    assert ran.said.splitlines() == [
        f"{of} logs --tail 7 gateway",
        f"{of} exec -T worker ls",
        f"{of} exec -T --env {careful} postgres psql -X -q --username tria --dbname tria -c select 1",
        f"{of} ps --all",
        "http://127.0.0.1:8080 https://localhost:8443",
    ]
