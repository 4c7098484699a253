"""A runbook for every alert, complete, with commands that run against a live system as they stand."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from tests.support.monitored import ALERTS, MONITORING, ROOT, Watch
from tests.support.system import System

RUNBOOKS = MONITORING / "runbooks"
HEADINGS = ["Symptoms", "First five minutes", "Diagnosis", "Mitigation", "Escalation", "Afterwards"]
NAMES = [alert.name for alert in ALERTS]


def text(name: str) -> str:
    return (RUNBOOKS / f"{name}.md").read_text()


def commands(name: str) -> list[str]:
    """The blocks of shell of a runbook."""
    return re.findall(r"```sh\n(.*?)```", text(name), re.DOTALL)


def test_every_runbook_is_an_alerts() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {*NAMES, "TEMPLATE", "POSTMORTEM"}


@pytest.mark.parametrize("name", [*NAMES, "TEMPLATE"])
def test_a_runbook_is_whole(name: str) -> None:
    found = re.findall(r"^## (.+)$", text(name), re.MULTILINE)
    assert found == HEADINGS
    sections = re.split(r"^## .+$", text(name), flags=re.MULTILINE)[1:]
    assert all(len(section.strip()) > 10 for section in sections)
    assert commands(name)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_runbook_refers_to_is_there(name: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", text(name))
    assert all((RUNBOOKS / link).exists() for link in links)


def test_diagnosis_only_looks() -> None:
    """What changes something is under Mitigation, where a person decides."""
    changing = re.compile(r"\b(kill|rm|delete from|update|insert|restart|pg_cancel|pg_terminate|-X (POST|DELETE))\b")
    wrong = {name: found[0] for name in NAMES for block in commands(name) if (found := changing.search(block))}
    assert not wrong


async def test_every_command_runs(live: System, watch: Watch) -> None:
    """`set -e` finds a command that fails, `-u` a variable that is not there, pipefail a failure that is hidden."""
    places = asyncio.Semaphore(2)

    async def failure(name: str, block: str) -> str:
        async with places:
            process = await asyncio.create_subprocess_exec(
                "bash", "-euo", "pipefail", "-c", block,
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "HOME": str(Path.home()), "STATE": str(live.state_dir)},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            output, errors = await process.communicate()
        if process.returncode or not output.strip():
            return f"{name}: {process.returncode} {errors.decode()[-300:]} {output.decode()[-200:]}"
        return ""

    blocks = [(name, block) for name in [*NAMES, "TEMPLATE"] for block in commands(name)]
    failures = await asyncio.gather(*(failure(name, block) for name, block in blocks))
    assert not [found for found in failures if found]


pytestmark = pytest.mark.timeout(400)
