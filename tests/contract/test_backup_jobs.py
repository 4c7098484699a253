"""What the backups of a cluster run: the lines of the CronJobs by a real shell, and deploy/backup, which makes a Job of
one."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.test_manifests import ROOT, kubectl, of

TRIA = """#!/bin/sh
echo "$*" >> "$LOG"
[ -z "$BAD" ] || exit 1
[ "$1" != backup ] || mkdir "$2"
"""
KUBECTL = """#!/bin/sh
echo "$*" >> "$LOG"
case "$*" in
  "version --client") echo "Kustomize Version: v5.7.1" ;;
  "set env --local"*) exec "$REAL" "$@" ;;
  "create job "*) cat "$FORM" ;;
  "create "*) cat > "$MADE"; test -s "$MADE" ;;
  "get job "*) echo "$ENDED" ;;
esac
"""
OLD, NEW, KILLED, OTHER = "2026-01-02T021700Z", "2026-03-01T021700Z", ".2026-01-03T021700Z.partial-x", "lost+found"


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def container(name: str) -> dict[str, Any]:
    pod = of("staging", "CronJob")[name]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (found,) = pod["containers"]
    assert isinstance(found, dict)
    return found


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Backups of long ago and of now, a draft of one that was killed, and what the file system itself has there."""
    made = tmp_path / "volume"
    for name in (OLD, NEW, KILLED, OTHER):
        (made / name).mkdir(parents=True)
        (made / name / "database.dump").write_bytes(b"x")
    for name in (OLD, KILLED, OTHER):
        os.utime(made / name, (time.time() - 32 * 86_400,) * 2)
    return made


def ran(name: str, volume: Path, **told: str) -> tuple[int, list[str]]:
    """Exit code of what the container of a CronJob does with `volume`, and what `tria` was asked."""
    program(volume.parent / "tria", TRIA)
    log = volume.parent / "log"
    log.write_text("")
    found = container(name)
    said = {one["name"]: one["value"] for one in found["env"]}
    paths = {"PATH": f"{volume.parent}:{os.environ['PATH']}", "LOG": str(log), "BAD": ""}
    (script,) = found["args"]
    command = [*found["command"], script.replace("/backups", str(volume))]
    done = subprocess.run(command, env={**said, **paths, **told}, check=False)
    return done.returncode, log.read_text().splitlines()


def left(volume: Path) -> set[str]:
    return {path.name for path in volume.iterdir()}


def test_a_backup_that_is_whole_lets_old_ones_go(volume: Path) -> None:
    code, (asked,) = ran("backup", volume, OPTIONS="--base --json")
    assert code == 0
    assert asked.endswith("Z --base --json")
    made = left(volume) - {OLD, NEW, KILLED, OTHER}
    assert asked.split()[1] == str(volume / made.pop())
    assert {NEW, OTHER} <= left(volume)
    assert not {OLD, KILLED} & left(volume)


def test_a_backup_that_failed_takes_nothing_away(volume: Path) -> None:
    code, _ = ran("backup", volume, BAD="yes")
    assert code == 1
    assert left(volume) == {OLD, NEW, KILLED, OTHER}


def test_the_newest_is_restored_beside_what_is_there(volume: Path) -> None:
    assert ran("restore", volume) == (0, [f"restore {volume / NEW} --into tria_restored"])
    assert ran("restore", volume, BACKUP="/mine", OPTIONS="--into other") == (0, ["restore /mine --into other"])


@pytest.mark.parametrize(
    ("arguments", "told", "options"),
    [((), {}, ""), (("--base",), {}, "--base"), ((), {"FIRST": "yes"}, "--unless-empty")],
)
def test_a_release_makes_a_job_of_the_form(
    arguments: tuple[str, ...], told: dict[str, str], options: str, tmp_path: Path
) -> None:
    code, job, log = backed_up(tmp_path, *arguments, **told)
    assert code == 0
    (found,) = job["spec"]["template"]["spec"]["containers"]
    assert {one["name"]: one.get("value", "") for one in found["env"]}["OPTIONS"] == options
    assert "--from cronjob/backup --dry-run=client" in log
    assert "logs job/backup-" in log, "what was saved is said"


def test_a_backup_in_the_cluster_that_fails_is_a_failure(tmp_path: Path) -> None:
    code, _, log = backed_up(tmp_path, ended="Failed")
    assert code == 1
    assert "describe job backup-" in log


def backed_up(folder: Path, *arguments: str, ended: str = "Complete", **told: str) -> tuple[int, dict[str, Any], str]:
    """Exit code of deploy/backup on a cluster that has the form, the Job that it made, and what was asked."""
    program(folder / "kubectl", KUBECTL)
    template = of("staging", "CronJob")["backup"]["spec"]["jobTemplate"]
    form = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": template["spec"]}
    (folder / "form").write_text(yaml.safe_dump(form))
    files = {"FORM": str(folder / "form"), "MADE": str(folder / "made"), "LOG": str(folder / "log")}
    environ = {"PATH": f"{folder}:{os.environ['PATH']}", "REAL": kubectl(), "NAMESPACE": "tria", "ENDED": ended}
    done = subprocess.run(["deploy/backup", *arguments], cwd=ROOT, env={**environ, **files, **told}, check=False)  # noqa: S607
    job = yaml.safe_load((folder / "made").read_text())
    return done.returncode, job, (folder / "log").read_text()
