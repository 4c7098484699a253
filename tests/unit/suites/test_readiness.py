"""The readiness report says what the files say: pass, fail, and "not run" where nothing was run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis.errors import Flaky, FlakyFailure

from tests.suites.pages import page
from tests.suites.readiness import FAIL, NOT_RUN, PARTLY, PASS, STALE, report
from tests.suites.requirements import NEEDS_ACCOUNT, TESTS, TITLES
from tests.suites.results import ROOT, Result, finish, percentile
from tests.suites.wire_fuzzing import Findings, _noting


def run(folder: Path, suite: str, **bars: bool) -> None:
    """A stored run with one bar for each requirement."""
    result = Result(suite, command=f"python -m tests.suites.{suite}")
    for number, passed in bars.items():
        result.holds(f"something of {number}", passed, "a | b", number)
    (folder / f"{suite}.json").write_text(json.dumps(result.document()))


def test_a_requirement_without_a_run_says_so(tmp_path: Path) -> None:
    assert {each.verdict for each in report(tmp_path)} == {NOT_RUN}
    assert (
        "0 of 17 requirements pass, 0 fail, 0 were run in part, 17 were not run."
        in (tmp_path / "readiness.md").read_text()
    )


def test_one_failed_bar_of_any_run_fails_the_requirement(tmp_path: Path) -> None:
    run(tmp_path, "perf", R6=True, R17=True)
    run(tmp_path, "soak", R17=False)
    found = {each.number: each.verdict for each in report(tmp_path)}
    assert (found["R6"], found["R17"], found["R2"]) == (PASS, FAIL, NOT_RUN)
    text = (tmp_path / "readiness.md").read_text()
    assert "[JSON](soak.json)" in text
    assert "a \\| b" in text
    assert '<td class="fail">fail</td>' in (tmp_path / "readiness.html").read_text()


def test_a_requirement_whose_tests_were_not_run_is_run_in_part(tmp_path: Path) -> None:
    run(tmp_path, "soak", R3=True)
    assert {each.number: each.verdict for each in report(tmp_path)}["R3"] == PARTLY
    assert "- R3: tests/db/test_pool.py: not run" in (tmp_path / "readiness.md").read_text()


def test_a_run_of_another_commit_is_stale(tmp_path: Path) -> None:
    run(tmp_path, "perf", R6=True, R7=False)
    document = json.loads((tmp_path / "perf.json").read_text())
    (tmp_path / "perf.json").write_text(json.dumps(document | {"commit": "0123456789ab"}))
    found = {each.number: each.verdict for each in report(tmp_path)}
    assert (found["R6"], found["R7"]) == (STALE, FAIL)


def test_what_ends_a_run_early_is_stored_as_a_failure(tmp_path: Path) -> None:
    run(tmp_path, "perf", R6=True)

    async def measure(result: Result, _: object) -> None:
        assert not (tmp_path / "perf.json").exists(), "the old result is gone before anything is measured"
        result.holds("something", True, "", "R6")
        raise RuntimeError("the system did not start")

    with pytest.raises(RuntimeError):
        finish("perf", measure, asyncio.run, tmp_path)
    assert {each.verdict for each in report(tmp_path) if each.evidence} == {FAIL}


@pytest.mark.parametrize(
    "wrong",
    [
        AssertionError("said too much\nand more"),
        ExceptionGroup("two", [AssertionError("said too much"), AssertionError("said too much")]),
        FlakyFailure("said too much", [AssertionError("said too much")]),
        Flaky("said too much"),
    ],
)
def test_what_hypothesis_raises_is_a_finding(wrong: Exception) -> None:
    def call() -> None:
        raise wrong

    findings = Findings()
    _noting(findings, call)
    assert set(findings.wrong) == {"said too much"}


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("[]")
    (tmp_path / "another.json").write_text('{"suite": "another"}')
    assert {each.verdict for each in report(tmp_path)} == {NOT_RUN}


def test_every_number_is_a_requirement_and_every_test_exists() -> None:
    assert [*TITLES] == [f"R{number}" for number in range(1, 18)]
    assert TESTS.keys() | NEEDS_ACCOUNT.keys() <= TITLES.keys()
    paths = {path for paths in TESTS.values() for path in paths}
    assert not {path for path in paths if not (ROOT / path).exists()}


@pytest.mark.parametrize(("limit", "passed"), [(2.0, False), (2.1, True)])
def test_a_strict_bar_does_not_hold_at_its_limit(limit: float, passed: bool) -> None:
    result = Result("perf")
    result.most("figure", 2.0, limit, "R6", strict=True)
    assert result.passed is passed


def test_nothing_measured_is_no_success() -> None:
    assert not Result("perf").passed


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.95), percentile(values, 0.99)) == (51.0, 96.0, 100.0)
    assert percentile([], 0.5) == 0.0


def test_a_page_is_one_file_with_its_plots() -> None:
    result = Result("perf")
    result.most("figure <b>", 1.0, 2.0, "R6")
    result.plot("memory", "line", ("s", "MiB"), memory=[(0, 1), (1, 2)])
    result.plot("kinds", "bars", ("s", ""), seconds={"price": 0.1})
    result.plot("ranks", "spread", ("%", "s"), whole=[0.3, 0.1])
    text = page(result.document())
    assert text.count("<svg") == 3
    assert "figure &lt;b&gt;" in text
    assert "http-equiv" not in text
    assert 'src="' not in text
