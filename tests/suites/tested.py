"""Tests as part of a suite: a pytest of their own, and what it wrote."""

from __future__ import annotations

import asyncio
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.suites.results import ROOT


@dataclass(frozen=True, slots=True)
class Tested:
    """How pytest ended, how many tests it ran, and which failed or were skipped."""

    code: int
    ran: int
    failed: Sequence[str]

    @property
    def passed(self) -> bool:
        return self.code == 0 and self.ran > 0 and not self.failed

    @property
    def told(self) -> str:
        return f"{self.ran} ran, failed: {', '.join(self.failed) or 'none'}"


async def run_tests(path: str, junit: Path, variables: Mapping[str, str] | None = None) -> Tested:
    """Runs a file or folder of tests; the result is in `junit`, and what was said beside it. A result of before goes
    first: a pytest that dies writes none."""
    junit.parent.mkdir(exist_ok=True)
    junit.unlink(missing_ok=True)  # noqa: ASYNC240  # one file, while nothing else runs
    with junit.with_suffix(".txt").open("wb") as said:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pytest", "-q", "--no-header", f"--junitxml={junit}", path,
            cwd=ROOT, env=variables, stdout=said, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        code = await child.wait()
    return Tested(code, *_outcomes(junit))


def _outcomes(path: Path) -> tuple[int, list[str]]:
    """How many tests a JUnit file of pytest tells of that were run, and which were not, or failed."""
    if not path.exists():
        return 0, ["pytest wrote no result"]
    cases = list(ET.parse(path).iter("testcase"))  # noqa: S314  # our own pytest wrote it
    skipped = [str(case.get("name")) for case in cases if case.find("skipped") is not None]
    failed = [
        str(case.get("name")) for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    return len(cases) - len(skipped), failed + [f"{name} (skipped)" for name in skipped]
