"""What a suite found: figures, bars that each pass or fail, series for the plots; JSON and a page in reports/."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.suites.pages import page
from tests.suites.requirements import asked_of

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "reports"
FAILED = 1


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise and what was measured. `requirements` are numbers of the list of promises: R6, R17 …"""

    name: str
    wanted: str
    measured: str
    passed: bool
    requirements: tuple[str, ...]


def commit() -> str:
    """What is checked out; "+changes" when files differ from it, "unknown" outside of a clone."""
    try:
        asked = [_git("rev-parse", "--short=12", "HEAD"), _git("status", "--porcelain")]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return asked[0] + ("+changes" if asked[1] else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True, text=True)  # noqa: S607  # the clone's own git
    return done.stdout.strip()


def machine() -> dict[str, Any]:
    """What it ran on, without its name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "python": platform.python_version(),
        "load_before": [round(value, 2) for value in os.getloadavg()],
    }


@dataclass(slots=True)
class Result:
    """A run of one suite. `unproven` names what this run could not show, and why; `partly` the requirements that
    it therefore shows in part only. `checked_out` is asked for the commit when it begins and when it ends."""

    suite: str
    command: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    bars: list[Bar] = field(default_factory=list)
    series: list[dict[str, Any]] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    partly: set[str] = field(default_factory=set)
    began: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    machine: dict[str, Any] = field(default_factory=machine)
    checked_out: Callable[[], str] = commit
    commit: str = field(init=False)

    def __post_init__(self) -> None:
        self.commit = self.checked_out()

    def most(
        self, name: str, measured: float, limit: float, requirement: str, *more: str, unit: str = "",
        strict: bool = False,
    ) -> None:  # fmt: skip
        """A bar that holds while the figure is at most `limit` (below it, when `strict`)."""
        passed = measured < limit if strict else measured <= limit
        sign = "<" if strict else "≤"
        self.bars.append(Bar(name, f"{sign} {limit:g}{unit}", f"{measured:.4g}{unit}", passed, (requirement, *more)))

    def least(
        self, name: str, measured: float, limit: float, requirement: str, *more: str, unit: str = "",
        strict: bool = False,
    ) -> None:  # fmt: skip
        """A bar that holds from `limit` on."""
        passed = measured > limit if strict else measured >= limit
        sign = ">" if strict else "≥"
        self.bars.append(Bar(name, f"{sign} {limit:g}{unit}", f"{measured:.6g}{unit}", passed, (requirement, *more)))

    def holds(self, name: str, passed: bool, measured: str, requirement: str, *more: str) -> None:
        """A bar that is a yes or a no."""
        self.bars.append(Bar(name, "holds", measured, passed, (requirement, *more)))

    def not_shown(self, text: str, *requirements: str) -> None:
        """Something that this run does not show, which leaves these requirements run in part."""
        self.unproven.append(text)
        self.partly |= set(requirements)

    def plot(self, title: str, kind: str, axes: tuple[str, str], **lines: Any) -> None:
        """A picture: `kind` is line, bars or spread; each line is a list of numbers, of pairs, or a mapping."""
        self.series.append({"title": title, "kind": kind, "axes": list(axes), "lines": lines})

    @property
    def passed(self) -> bool:
        return bool(self.bars) and all(bar.passed for bar in self.bars)

    def document(self) -> dict[str, Any]:
        """As it is stored."""
        bars = [
            {"name": bar.name, "wanted": bar.wanted, "measured": bar.measured, "passed": bar.passed,
             "requirements": list(bar.requirements)}
            for bar in self.bars
        ]  # fmt: skip
        now = self.checked_out()
        return {
            "suite": self.suite,
            "passed": self.passed,
            "began": self.began,
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": self.commit if self.commit == now else f"{self.commit}, then {now}",
            "machine": self.machine,
            "command": self.command,
            "figures": self.figures,
            "bars": bars,
            "unproven": self.unproven,
            "partly": sorted(self.partly),
            "series": self.series,
        }


def percentile(values: list[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed; 0 for none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


def store(result: Result, folder: Path = REPORTS) -> Path:
    """Writes SUITE.json and SUITE.html into the folder; the JSON's path."""
    folder.mkdir(exist_ok=True)
    document = result.document()
    path = folder / f"{result.suite}.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    path.with_suffix(".html").write_text(page(document))
    return path


def show(result: Result) -> None:
    """The bars on standard output."""
    table = Table(title=f"make {result.suite}", title_justify="left")
    for title in ("promise", "wanted", "measured", ""):
        table.add_column(title, overflow="fold")
    for bar in result.bars:
        table.add_row(bar.name, bar.wanted, bar.measured, "[green]pass[/green]" if bar.passed else "[red]FAIL[/red]")
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    for text in result.unproven:
        console.print(f"not shown: {text}", markup=False)


def progress() -> Progress:
    """A bar for each phase, on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))


def finish(
    suite: str, measure: Callable[[Result, Progress], Coroutine[Any, Any, None]], runner: Any, folder: Path = REPORTS
) -> None:
    """Runs a suite to its end, stores and shows what it found; exit status 1 when a bar failed. What ends a
    run early is a bar that failed, for all that is asked of the suite: its other bars may not be there yet."""
    result = Result(suite, command=" ".join(["python -m", f"tests.suites.{suite}", *sys.argv[1:]]))
    for old in (folder / f"{suite}.json", folder / f"{suite}.html"):
        old.unlink(missing_ok=True)  # a run that is killed leaves none, and not the one before
    try:
        with progress() as told:
            runner(measure(result, told))
    except BaseException as error:  # also an interrupt: it was run, and it did not end well
        all_of_it = {*asked_of(suite), *(number for bar in result.bars for number in bar.requirements)}
        ended = f"{type(error).__name__}: {error}"[:400]
        result.bars.append(Bar("ran to its end", "holds", ended, False, tuple(sorted(all_of_it))))
        store(result, folder)
        raise
    path = store(result, folder)
    show(result)
    click.echo(f"{path.relative_to(ROOT)} and {path.with_suffix('.html').relative_to(ROOT)}")
    sys.exit(0 if result.passed else FAILED)
