"""What deploy/release would do, said by itself without a cluster; the manifests are made for real."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.contract.test_backup_jobs import program
from tests.contract.test_manifests import ENVIRONMENTS, ROOT, VERSION, Manifest, kubectl, of

SERVER, GATEWAY = "registry.example.com/tria@sha256:" + "a" * 64, "registry.example.com/tria-gateway@sha256:" + "b" * 64
OPERATIONS = "registry.example.com/tria-operations@sha256:" + "c" * 64
TOLD = {
    "OPERATIONS_IMAGE": OPERATIONS,
    "SERVER_IMAGE": SERVER,
    "GATEWAY_IMAGE": GATEWAY,
    "URL": "https://x",
    "PROMETHEUS": "http://p",
    "BACKUP": "true",
    "CUSTOMER_TOKEN": "placeholder",
    "AUDITOR_TOKEN": "placeholder",
    "AUDIT_KEY": "placeholder",
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
        if one["kind"] in {"Deployment", "Job", "CronJob"}:
            pod = one["spec"].get("jobTemplate", one)["spec"]["template"]["spec"]
            for container in [*pod.get("initContainers", []), *pod["containers"]]:
                found[one["metadata"]["name"], container["name"]] = container["image"]
    assert set(found.values()) == {SERVER, GATEWAY, OPERATIONS}
    assert found["backup", "backup"] == found["restore", "restore"] == OPERATIONS
    assert found["gateway", "envoy"] == GATEWAY
    assert not list((ROOT / "deploy" / "k8s" / "environments").glob(".release-*")), "nothing is left behind"


def test_backup_comes_before_the_schema_and_the_schema_before_the_code(tmp_path: Path) -> None:
    done, _ = rehearse("staging", tmp_path, BACKUP="echo saved")
    words = (
        "component=ground",
        "echo saved",
        "delete job migrate",
        "component=migration",
        "await-job migrate",
        "component!=migration",
    )
    order = [next(number for number, line in enumerate(done) if word in line) for word in words]
    later = [next(number for number, line in enumerate(done) if word in line) for word in ("promote green", "smoke")]
    assert [*order, *later] == sorted([*order, *later])
    assert done[-1].endswith("--book")


def applied(done: list[str], manifests: list[Manifest]) -> list[set[tuple[str, str]]]:
    """Kind and name of what each apply of a release takes."""
    found = []
    for line in done:
        if " apply " not in line:
            continue
        taken = manifests
        for term in line.rpartition("--selector ")[2].split(","):
            key, _, value = term.partition("=")
            equal, key = not key.endswith("!"), key.removesuffix("!")
            taken = [one for one in taken if (one["metadata"].get("labels", {}).get(key) == value) is equal]
        found.append({(one["kind"], one["metadata"]["name"]) for one in taken})
    return found


def test_the_migration_finds_its_account_and_the_version_with_the_calls_is_left_alone(tmp_path: Path) -> None:
    done, manifests = rehearse("staging", tmp_path)
    ground, migration, rest = applied(done, manifests)
    assert ("ServiceAccount", "tria") in ground
    assert ("CronJob", "backup") in ground, "a first release makes its backup by it"
    assert {name for kind, name in ground if kind == "NetworkPolicy"} >= {"nothing", "names", "outside"}
    assert migration == {("Job", "migrate")}
    assert {name for kind, name in rest if kind == "Deployment"} == {"server-green", "worker", "gateway"}
    left = {(one["kind"], one["metadata"]["name"]) for one in manifests} - ground - migration - rest
    assert left
    assert all(name == "server-blue" for _, name in left)


@pytest.mark.parametrize("name", ["CUSTOMER_TOKEN", "AUDITOR_TOKEN", "AUDIT_KEY"])
def test_nothing_is_done_when_the_smoke_test_could_not_check(name: str, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        rehearse("staging", tmp_path, **{name: ""})
    assert name in refused.value.stderr
    assert "+ " not in refused.value.stdout


KUBECTL = """#!/bin/sh
echo "kubectl $*" >> "$LOG"
case "$1 $2" in
  "version --client") echo "Kustomize Version: v5.7.1" ;;
  "kustomize "*) exec "$REAL" "$@" ;;
  "get configmap") case "$*" in *first-release*) printf %s "$MARK" ;; *) echo "    tria.green: 0" ;; esac ;;
  "get deployment") [ -z "$STANDING" ] || "$STANDING" ;;
  "get job") printf %s "$ENDED" ;;
  "port-forward "*)
    echo $$ > "$LOG.forward"
    case "$*" in *gone*) echo "services gone not found" >&2; exit 1 ;; esac
    echo "Forwarding from $FIGURES -> 9090"
    exec sleep 600 ;;
esac
"""
TRIA = """#!/bin/sh
trap 'echo "$2 told" >> "$LOG"; exit 1' TERM
echo "tria $*" >> "$LOG"
[ "$2" != "$BAD" ] || exit 1
[ "$2" = "$SLOW" ] || exit 0
for _ in $(seq 600); do sleep 0.1; done
"""


class _Answers(BaseHTTPRequestHandler):
    """Any query is answered, as far as that Prometheus is there."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path.startswith("/api/v1/query?") else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@functools.cache
def prometheus() -> str:
    """Host and port of a server that lives as long as the tests."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.server_port}"


def release(
    folder: Path,
    *,
    slow: str = "",
    standing: str = "pwd",
    mark: str = "",
    ended: str = "Complete",
    bad: str = "none",
    figures: str = "",
) -> tuple[subprocess.Popen[str], Path]:
    """A release with a kubectl and a tria that only write down what they are asked; `slow` waits to be told, `bad`
    fails, `standing` is the command that says whether there is a deployment already, `mark` the one of a first release
    that was not proven, and `ended` what is true of Jobs."""
    for name, text in (("kubectl", KUBECTL), ("tria", TRIA)):
        program(folder / name, text)
    log = folder / "log"
    fakes = {"PATH": f"{folder}:{os.environ['PATH']}", "TRIA": str(folder / "tria"), "REAL": kubectl()}
    asked = {"LOG": str(log), "SLOW": slow, "STANDING": standing, "MANIFESTS": str(folder / "manifests.yaml")}
    asked |= {"MARK": mark, "ENDED": ended, "BAD": bad, "FIGURES": prometheus()}
    asked["BACKUP"] = 'echo "backup of $NAMESPACE first=$FIRST" >> "$LOG"'
    asked["PROMETHEUS"] = figures or f"http://{prometheus()}"
    environ = {**os.environ, **TOLD, **fakes, **asked}
    # A shell cannot trap what was ignored when it began, and tests that run in the background ignore SIGINT.
    command = ["env", "--default-signal=INT", "deploy/release", "staging"]
    started = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    return started, log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("slow", "back"), [("promote", False), ("smoke", True)])
def test_whoever_stops_a_release_gets_the_calls_back(
    slow: str, back: bool, number: signal.Signals, tmp_path: Path
) -> None:
    """A promotion gives them back itself; after it, the script does."""
    started, log = release(tmp_path, slow=slow)
    try:
        give_up = time.monotonic() + 120
        while not (log.exists() and f"tria deploy {slow}" in log.read_text()):
            assert time.monotonic() < give_up
            assert started.poll() is None
            time.sleep(0.05)
        started.send_signal(number)
        assert started.wait(120) == 143
    finally:
        started.kill()
        started.communicate()
    done = log.read_text()
    assert f"{slow} told" in done, "it was waited for"
    assert ("tria deploy abort green" in done) is back


def test_the_first_release_is_whole_and_waits_for_no_calls(tmp_path: Path) -> None:
    started, log = release(tmp_path, standing="")
    started.communicate(timeout=120)
    assert started.returncode == 0
    done = log.read_text()
    assert "tria/version!=" not in done
    assert "--steps 100 --least-calls 0" in done
    assert "abort" not in done


def test_figures_inside_of_a_cluster_are_reached_through_it(tmp_path: Path) -> None:
    started, log = release(tmp_path, figures="service:monitoring/prometheus:9090")
    started.communicate(timeout=120)
    assert started.returncode == 0
    done = log.read_text()
    assert "kubectl port-forward --namespace monitoring service/prometheus :9090 --address 127.0.0.1" in done
    assert f"--prometheus http://{prometheus()} " in done
    give_up = time.monotonic() + 60
    while Path("/proc", (tmp_path / "log.forward").read_text().strip()).exists():
        assert time.monotonic() < give_up, "the way into the cluster is left open"
        time.sleep(0.05)


@pytest.mark.parametrize("figures", ["http://127.0.0.1:9", "service:monitoring/gone:9090"])
def test_nothing_is_changed_when_figures_cannot_be_read(figures: str, tmp_path: Path) -> None:
    started, log = release(tmp_path, figures=figures)
    started.communicate(timeout=120)
    assert started.returncode == 1
    done = log.read_text() if log.exists() else ""
    assert not [word for word in ("apply", "annotate", "promote", "delete") if word in done]


MARKED, PROVEN = "tria/first-release=unproven", "tria/first-release-\n"


def test_first_is_every_release_until_one_is_proven(tmp_path: Path) -> None:
    """Deployments alone say nothing: a first release that failed has left them, and still nobody calls."""
    for standing, mark, bad, first in (
        ("", "", "smoke", True),
        ("pwd", "unproven", "promote", True),
        ("pwd", "unproven", "none", True),
        ("pwd", "", "none", False),
    ):
        (tmp_path / "log").unlink(missing_ok=True)
        started, log = release(tmp_path, standing=standing, mark=mark, bad=bad)
        started.communicate(timeout=120)
        assert (started.returncode == 0) is (bad == "none")
        done = log.read_text()
        assert ("--steps 100 --least-calls 0" in done) is first
        assert (MARKED in done) is first
        assert f"backup of tria-staging first={'yes' if first else ''}\n" in done
        assert (PROVEN in done) is (first and bad == "none")
        assert not first or done.index(MARKED) < done.index("apply")


def test_the_mark_is_such_that_kubectl_finds_it() -> None:
    """It stays when a promotion writes the split; this is kubectl's own reading of the script's words."""
    script = (ROOT / "deploy" / "release").read_text()
    (asked,) = re.findall(r"--output '(jsonpath=\S*first-release\S*)'", script)
    local = [kubectl(), "annotate", "--local", "--filename", str(ROOT / "deploy" / "k8s" / "split.yaml")]
    ran = subprocess.run([*local, MARKED, "--output", asked], check=True, capture_output=True, text=True)
    assert ran.stdout == "unproven"
    ran = subprocess.run([*local, "other=x", "--output", asked], check=True, capture_output=True, text=True)
    assert ran.stdout == ""


@pytest.mark.parametrize("ended", ["Failed", "FailureTarget Failed"])
def test_a_migration_that_fails_ends_the_release_at_once_and_says_why(ended: str, tmp_path: Path) -> None:
    started, log = release(tmp_path, ended=ended)
    said, _ = started.communicate(timeout=120)
    assert started.returncode == 1
    assert "job migrate has failed" in said
    done = log.read_text()
    assert "kubectl describe job migrate" in done
    assert "kubectl logs --selector batch.kubernetes.io/job-name=migrate" in done
    assert done.index("component=migration") < done.index("get job migrate")
    assert "component!=migration" not in done, "no program of this release is started"


def test_a_job_is_waited_for_as_long_as_it_was_said(tmp_path: Path) -> None:
    """The one of the script itself is as long as the Job's own deadline."""
    program(tmp_path / "kubectl", KUBECTL)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(tmp_path / "log"), "ENDED": "Suspended"}
    ran = subprocess.run(
        ["deploy/await-job", "backup", "tria", "3"],  # noqa: S607
        cwd=ROOT, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, "has not ended within 3 s" in ran.stdout) == (1, True)
    assert (tmp_path / "log").read_text().count("get job backup") > 1
    (seconds,) = re.findall(r"await-job migrate \S+ (\d+)", (ROOT / "deploy" / "release").read_text())
    assert int(seconds) > of("staging", "Job")["migrate"]["spec"]["activeDeadlineSeconds"]


def test_a_cluster_that_does_not_answer_is_not_an_empty_one(tmp_path: Path) -> None:
    started, log = release(tmp_path, standing="false")
    started.communicate(timeout=120)
    assert started.returncode != 0
    assert "apply" not in log.read_text()
