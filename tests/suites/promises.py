"""The tests behind each promise, run promise by promise, so that `make readiness` can say what was run for which.

python -m tests.suites.promises [R2 R3 …]
"""

from __future__ import annotations

import asyncio
import sys

import click
from rich.progress import Progress

from tests.suites.chaos import outcomes
from tests.suites.requirements import TESTS
from tests.suites.results import REPORTS, ROOT, Result, finish


async def measure(result: Result, told: Progress, wanted: tuple[str, ...]) -> None:
    """Each file or folder once, whichever promises it stands behind."""
    behind: dict[str, list[str]] = {}
    for number, paths in TESTS.items():
        for path in paths:
            if not wanted or number in wanted:
                behind.setdefault(path, []).append(number)
    task = told.add_task("tests behind promises", total=len(behind))
    REPORTS.mkdir(exist_ok=True)
    for path, numbers in behind.items():
        if (ROOT / path).exists():
            await _run(result, path, numbers)
        else:
            result.not_shown(f"{', '.join(numbers)}: {path} is not there", *numbers)
        told.advance(task)


async def _run(result: Result, path: str, numbers: list[str]) -> None:
    junit = REPORTS / f"promises-{path.replace('/', '-').removesuffix('.py')}.xml"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "--no-header", f"--junitxml={junit}", path,
        cwd=ROOT, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    code = await child.wait()
    ran, failed = outcomes(junit)
    result.figures[path] = {"ran": ran, "failed": failed}
    result.holds(path, code == 0 and ran > 0, f"{ran} ran, failed: {failed or 'none'}", *numbers)


@click.command(help=__doc__)
@click.argument("numbers", nargs=-1)
def main(numbers: tuple[str, ...]) -> None:
    """Runs, stores, shows."""
    finish("promises", lambda result, told: measure(result, told, numbers), asyncio.run)


if __name__ == "__main__":
    main()
