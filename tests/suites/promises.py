"""The tests behind each promise, run promise by promise, so that `make readiness` can say what was run for which.

python -m tests.suites.promises [R2 R3 …]
"""

from __future__ import annotations

import asyncio

import click
from rich.progress import Progress

from tests.suites.requirements import TESTS
from tests.suites.results import REPORTS, ROOT, Result, finish
from tests.suites.tested import run_tests


async def measure(result: Result, told: Progress, wanted: tuple[str, ...]) -> None:
    """Each file or folder once, whichever promises it stands behind."""
    behind: dict[str, list[str]] = {}
    for number, paths in TESTS.items():
        for path in paths:
            if not wanted or number in wanted:
                behind.setdefault(path, []).append(number)
    task = told.add_task("tests behind promises", total=len(behind))
    for path, numbers in behind.items():
        if (ROOT / path).exists():
            await _run(result, path, numbers)
        else:
            result.not_shown(f"{', '.join(numbers)}: {path} is not there", *numbers)
        told.advance(task)


async def _run(result: Result, path: str, numbers: list[str]) -> None:
    found = await run_tests(path, REPORTS / f"promises-{path.replace('/', '-').removesuffix('.py')}.xml")
    result.figures[path] = {"ran": found.ran, "failed": found.failed}
    result.holds(path, found.passed, found.told, *numbers)


@click.command(help=__doc__)
@click.argument("numbers", nargs=-1)
def main(numbers: tuple[str, ...]) -> None:
    """Runs, stores, shows."""
    finish("promises", lambda result, told: measure(result, told, numbers), asyncio.run)


if __name__ == "__main__":
    main()
