"""One report over everything that was run: from the JSON files in reports/ and nothing else.

    python -m tests.suites.readiness

A requirement passes when every test (`make promises`) and every suite that it asks for has bars for it and all of them
hold. Without any it is "not run"; "run in part" when some are missing, or when a run names something of it that it did
not show; "stale" when one of its runs was of another commit than what is checked out, or of files that no commit has.
Exit status 1 unless everything passes and no run failed. A suite takes part whose file has the shape of
tests/suites/results.py.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import click

from tests.suites.pages import frame
from tests.suites.requirements import NEEDS_ACCOUNT, SUITES, TESTS, TITLES
from tests.suites.results import REPORTS, commit

PASS, FAIL, PARTLY, NOT_RUN, STALE = "pass", "fail", "partly run", "not run", "stale"
COMMIT = re.compile("[0-9a-f]{7,}")
KEYS = {"suite", "passed", "commit", "machine", "command", "bars", "unproven", "partly", "began", "ended"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """One bar of one run."""

    suite: str
    name: str
    wanted: str
    measured: str
    passed: bool
    stale: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """A requirement and what was measured for it; `partly` are suites that showed it in part."""

    number: str
    title: str
    evidence: Sequence[Evidence]
    partly: Sequence[str] = ()

    @property
    def missing(self) -> list[str]:
        """The tests and suites that it asks for and no run has a bar of."""
        names, suites = {each.name for each in self.evidence}, {each.suite for each in self.evidence}
        tests = [path for path in TESTS.get(self.number, ()) if path not in names]
        return tests + [f"make {suite}" for suite in SUITES.get(self.number, ()) if suite not in suites]

    @property
    def verdict(self) -> str:
        if not self.evidence:
            return NOT_RUN
        if not all(each.passed for each in self.evidence):
            return FAIL
        if any(each.stale for each in self.evidence):
            return STALE
        return PARTLY if self.missing or self.partly else PASS


def read(folder: Path) -> list[dict[str, Any]]:
    """The runs in `folder`, by name; files of another shape are passed over."""
    found = []
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text())
        if isinstance(document, dict) and document.keys() >= KEYS:
            found.append(document)
    return found


def standings(runs: Sequence[Mapping[str, Any]], now: str) -> list[Standing]:
    """Every requirement, in order; `now` is the commit that is to be ready."""
    return [
        Standing(
            number,
            title,
            [
                Evidence(
                    run["suite"], bar["name"], bar["wanted"], bar["measured"], bar["passed"], _stale(run["commit"], now)
                )
                for run in runs
                for bar in run["bars"]
                if number in bar["requirements"]
            ],
            [run["suite"] for run in runs if number in run["partly"]],
        )
        for number, title in TITLES.items()
    ]


def _stale(was: str, now: str) -> bool:
    """Also when both are called the same, but not by a commit alone: the files may be any."""
    return was != now or not COMMIT.fullmatch(was)


def ready(runs: Sequence[Mapping[str, Any]], found: Sequence[Standing]) -> bool:
    """Whether every requirement passes and no run failed, also one that no requirement asks for."""
    return all(run["passed"] for run in runs) and all(each.verdict == PASS for each in found)


def markdown(runs: Sequence[Mapping[str, Any]], found: Sequence[Standing]) -> str:
    """The report as text."""
    lines = ["# Readiness", "", _summary(found), "", "## Runs", ""]
    lines += ["| suite | result | commit | began | machine | command | raw |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {run['suite']} | {PASS if run['passed'] else FAIL} | `{run['commit']}` | {run['began']} | {_machine(run)} "
        f"| `{run['command']}` | [JSON]({run['suite']}.json) [page]({run['suite']}.html) |"
        for run in runs
    ]
    if len({run["commit"] for run in runs}) > 1:
        lines += ["", "The runs are of different commits."]
    lines += ["", "## Requirements", "", "| # | requirement | verdict | bars | suites |", "|---|---|---|---|---|"]
    for each in found:
        held = sum(bar.passed for bar in each.evidence)
        suites = ", ".join(f"[{name}]({name}.json)" for name in sorted({bar.suite for bar in each.evidence}))
        lines.append(
            f"| {each.number} | {each.title} | **{each.verdict}** | {held} of {len(each.evidence)} | {suites} |"
        )
    for each in found:
        if each.evidence:
            lines += ["", f"### {each.number} {each.title}: {each.verdict}", ""]
            lines += ["| suite | what | wanted | measured | |", "|---|---|---|---|---|"]
            lines += [
                f"| {' | '.join(map(_cell, (bar.suite, bar.name, bar.wanted, bar.measured)))} | "
                f"{PASS if bar.passed else FAIL} |"
                for bar in each.evidence
            ]
    lines += ["", "## Not shown", ""]
    lines += [f"- {run['suite']}: {text}" for run in runs for text in run["unproven"]]
    lines += [f"- {each.number}: {what}: not run" for each in found for what in each.missing]
    lines += [f"- {number}: {text}: needs an account" for number, text in NEEDS_ACCOUNT.items()]
    return "\n".join(lines) + "\n"


def _summary(found: Sequence[Standing]) -> str:
    verdicts = (PASS, FAIL, PARTLY, NOT_RUN, STALE)
    count = {verdict: sum(each.verdict == verdict for each in found) for verdict in verdicts}
    stale = f" {count[STALE]} are stale: run again what is not of this commit as it is." if count[STALE] else ""
    return (
        f"{count[PASS]} of {len(found)} requirements pass, {count[FAIL]} fail, "
        f"{count[PARTLY]} were run in part, {count[NOT_RUN]} were not run.{stale}"
    )


def _machine(run: Mapping[str, Any]) -> str:
    machine = run["machine"]
    return f"{machine['cores']} cores, {machine['memory_gib']} GiB, Python {machine['python']}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def html(text: str) -> str:
    """The same as a page."""
    from markdown_it import MarkdownIt  # noqa: PLC0415  # only the page needs it

    body = MarkdownIt().enable("table").render(text)
    for verdict, kind in ((FAIL, "fail"), (PARTLY, "unrun"), (NOT_RUN, "unrun"), (STALE, "unrun"), (PASS, "pass")):
        body = body.replace(f"<td>{verdict}</td>", f'<td class="{kind}">{escape(verdict)}</td>')
        body = body.replace(f"<td><strong>{verdict}</strong></td>", f'<td class="{kind}">{escape(verdict)}</td>')
    return frame("TRIA: readiness", body)


def report(folder: Path, runs: Sequence[Mapping[str, Any]], now: str) -> list[Standing]:
    """Writes readiness.md and readiness.html into `folder`; `now` is the commit that is to be ready."""
    found = standings(runs, now)
    text = markdown(runs, found)
    (folder / "readiness.md").write_text(text)
    (folder / "readiness.html").write_text(html(text))
    return found


@click.command(help=__doc__)
def main() -> None:
    """Reads, writes, and says what is missing."""
    REPORTS.mkdir(exist_ok=True)
    runs = read(REPORTS)
    found = report(REPORTS, runs, commit())
    for each in found:
        click.echo(f"{each.number:4} {each.title:28} {each.verdict}")
    for run in runs:
        if not run["passed"]:
            click.echo(f"make {run['suite']} failed")
    click.echo(_summary(found))
    click.echo("reports/readiness.md and reports/readiness.html")
    sys.exit(0 if ready(runs, found) else 1)


if __name__ == "__main__":
    main()
