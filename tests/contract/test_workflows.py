"""The pipeline: linted by three tools, pinned, allowed no more than it needs, and made of targets that are there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.rollout.moving import STEPS
from tests.contract.test_image import ROOT, instructions, tool

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
NAMES = [path.name for path in WORKFLOWS]
STAGES = ("quality", "unit", "integration", "security", "performance", "images", "staging", "production")


def jobs() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in WORKFLOWS:
        found |= yaml.safe_load(path.read_text())["jobs"]
    return found


def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    code, said = tool("actionlint", *WORKFLOWS)
    assert (code, said) == (0, "")
    (tmp_path / "wrong.yml").write_text(WORKFLOWS[0].read_text().replace("runs-on: ubuntu-24.04", "runs-on: amiga"))
    assert tool("actionlint", tmp_path / "wrong.yml")[0] == 1, "it can say no"


def test_zizmor_finds_nothing(tmp_path: Path) -> None:
    code, said = tool("zizmor", "--offline", "--min-severity", "medium", ROOT / ".github")
    assert code == 0, said
    wrong = tmp_path / ".github" / "workflows"
    wrong.mkdir(parents=True)
    (wrong / "wrong.yml").write_text(WORKFLOWS[0].read_text().replace("persist-credentials: false", "fetch-tags: true"))
    assert tool("zizmor", "--offline", "--min-severity", "medium", wrong)[0] != 0, "it can say no"


@pytest.mark.parametrize("path", WORKFLOWS, ids=NAMES)
def test_workflow_has_the_right_shape(path: Path) -> None:
    code, said = tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", path)
    assert code == 0, said


@pytest.mark.parametrize("path", WORKFLOWS, ids=NAMES)
def test_actions_are_pinned_and_nothing_is_allowed_by_default(path: Path) -> None:
    text = path.read_text()
    for used in re.findall(r"uses: (\S+.*)", text):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used) or used.startswith("./"), used
    assert yaml.safe_load(text)["permissions"] == {}
    assert "pull_request_target" not in text
    for name, job in yaml.safe_load(text)["jobs"].items():
        assert "permissions" in job, name
        assert "timeout-minutes" in job or "uses" in job, name


def test_all_stages_are_there_in_their_order() -> None:
    found = jobs()
    numbered = {job["name"].partition(" ")[0]: name for name, job in found.items() if "name" in job}
    assert [numbered[str(number)] for number in range(1, 9)] == list(STAGES)
    assert found["staging"]["environment"] == "staging"
    assert found["production"]["environment"].startswith("production-"), "reviewers of that environment approve"
    assert "staging" in found["production"]["needs"]


def test_every_target_and_script_that_is_run_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    commands = [step["run"] for job in jobs().values() for step in job.get("steps", []) if "run" in step]
    for command in commands:
        for target in re.findall(r"\bmake ([a-z-]+)", command):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
        for script in re.findall(r"(?:^|sh |exec )((?:deploy|\.ci)/[\w-]+)", command):
            assert (ROOT / script).exists(), script


def test_whatever_sets_itself_up_has_the_python_of_the_image() -> None:
    """`make setup` takes the runner's python3, whichever that is."""
    (image,) = (line for line in instructions("ARG") if line.startswith("PYTHON_IMAGE="))
    version = image.removeprefix("PYTHON_IMAGE=python:").partition("-")[0]
    found = {}
    for name, job in jobs().items():
        steps = job.get("steps", [])
        begins = [
            number for number, step in enumerate(steps) if re.search(r"\bmake |deploy/release", step.get("run", ""))
        ]
        if begins:
            earlier = [step for step in steps[: begins[0]] if step.get("uses", "").startswith("actions/setup-python@")]
            found[name] = [step["with"]["python-version"] for step in earlier]
    assert found.keys() == {*STAGES} - {"images"}
    assert all(versions == [version] for versions in found.values()), found


def test_every_image_is_built_signed_and_released() -> None:
    """Each target that is pushed, and what deploy/release is told of it; `build` and `programs` are only stood upon."""
    found = jobs()
    targets = {line.rpartition(" AS ")[2] for line in instructions("FROM")} - {"build", "programs"}
    built = {step["id"]: step["with"] for step in found["images"]["steps"] if "target" in step.get("with", {})}
    assert {one["target"] for one in built.values()} == built.keys() == targets == found["images"]["outputs"].keys()
    digests = {f"{name}_DIGEST" for name in ("PYTHON", "ENVOY", "POSTGRES")}
    for one in built.values():
        assert digests <= set(re.findall(r"^(\w+)=", one["build-args"], re.MULTILINE))
    (signed,) = (step for step in found["images"]["steps"] if "cosign sign" in step.get("run", ""))
    for target in targets:
        assert f'"${target.upper()}"' in signed["run"]
        for name in ("staging", "production"):
            assert f"needs.images.outputs.{target} " in found[name]["steps"][-1]["env"][f"{target.upper()}_IMAGE"]


def test_a_delivery_has_the_time_that_its_promotion_may_take() -> None:
    """Steps times patience, and what deploy/release waits for the backup, the migration and pods."""
    script = (ROOT / "deploy" / "release").read_text()
    waits = 3630 + 930 + 3 * 600
    assert "3630 #" in (ROOT / "deploy" / "backup").read_text()
    assert script.count('await-job migrate "$namespace" 930') == script.count("--timeout 600s") == 1
    (usual,) = re.findall(r"PROMOTE:-(.*?)}", script)
    found = jobs()
    for name in ("staging", "production"):
        environ = found[name]["steps"][-1]["env"]
        quoted = re.search(r"'(.+)'", environ["PROMOTE"])
        options = quoted[1] if quoted else usual
        steps = re.search(r"--steps (\S+)", options)
        patience = re.search(r"--patience (\d+)", options)
        assert patience
        moving = (len(steps[1].split(",")) if steps else len(STEPS)) * int(patience[1])
        assert found[name]["timeout-minutes"] * 60 > moving + waits, name
    assert "--least-calls 0" in found["staging"]["steps"][-1]["env"]["PROMOTE"], "nobody calls there"


def test_whoever_stops_a_delivery_reaches_the_script_and_is_told_of() -> None:
    found = jobs()
    for name in ("staging", "production"):
        assert found[name]["steps"][-1]["run"].startswith("exec deploy/release ")
    (step,) = found["notify"]["steps"]
    for failed, cancelled, word in (
        ("true", "true", "failed"),
        ("false", "true", "stopped"),
        ("false", "false", "through"),
    ):
        environ = {
            "PATH": os.environ["PATH"],
            "FAILED": failed,
            "CANCELLED": cancelled,
            "HOOK": "x",
            "WHAT": "",
            "WHERE": "",
        }
        outcome = step["run"].partition("jq ")[0] + 'echo "$outcome"'
        ran = subprocess.run(["sh", "-ec", outcome], env=environ, capture_output=True, text=True, check=True)  # noqa: S607
        assert word in ran.stdout


@pytest.mark.parametrize(("version", "code"), [("Unreleased", 0), ("v99.0.0", 1)])
def test_release_notes_come_from_the_changelog(version: str, code: int) -> None:
    command = ["sh", ".ci/release-notes", version]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == code
    assert found.stdout.lstrip().startswith("### ") == (code == 0)
