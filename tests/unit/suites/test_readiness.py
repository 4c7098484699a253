"""The readiness report says what the files say: pass, fail, and "not run" where nothing was run."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis.errors import Flaky, FlakyFailure

from tests.suites.pages import page
from tests.suites.readiness import FAIL, NOT_RUN, PARTLY, PASS, STALE, read, ready, report
from tests.suites.requirements import NEEDS_ACCOUNT, SUITES, TESTS, TITLES, asked_of
from tests.suites.results import ROOT, Result, finish, percentile
from tests.suites.wire_fuzzing import Findings, _noting

COMMIT = "0123456789ab"


def run(folder: Path, suite: str, bars: Mapping[str, bool], *, partly: str = "", commit: str = COMMIT) -> None:
    """A stored run with one bar for each requirement."""
    result = Result(suite, command=f"python -m tests.suites.{suite}")
    for number, passed in bars.items():
        result.holds(f"something of {number}", passed, "a | b", number)
    if partly:
        result.not_shown("50 users: left out", partly)
    put(folder, result, commit)


def put(folder: Path, result: Result, commit: str = COMMIT) -> None:
    (folder / f"{result.suite}.json").write_text(json.dumps(result.document() | {"commit": commit}))


def everything(folder: Path) -> None:
    """A run of each suite with a bar for all that is asked of it, and one of all tests behind promises."""
    for suite in sorted({suite for suites in SUITES.values() for suite in suites}):
        run(folder, suite, dict.fromkeys(asked_of(suite), True))
    promises = Result("promises")
    for number, paths in TESTS.items():
        for path in paths:
            promises.holds(path, True, "3 ran", number)
    put(folder, promises)


def verdicts(folder: Path) -> dict[str, str]:
    return {each.number: each.verdict for each in report(folder, read(folder), COMMIT)}


def stands(folder: Path) -> bool:
    """What the exit status says."""
    return ready(read(folder), report(folder, read(folder), COMMIT))


def test_a_requirement_without_a_run_says_so(tmp_path: Path) -> None:
    assert {each.verdict for each in report(tmp_path, read(tmp_path), COMMIT)} == {NOT_RUN}
    assert (
        "0 of 17 requirements pass, 0 fail, 0 were run in part, 17 were not run."
        in (tmp_path / "readiness.md").read_text()
    )


def test_one_failed_bar_of_any_run_fails_the_requirement(tmp_path: Path) -> None:
    run(tmp_path, "perf", {"R6": True, "R17": True})
    run(tmp_path, "soak", {"R17": False})
    found = verdicts(tmp_path)
    assert (found["R6"], found["R17"], found["R2"]) == (PASS, FAIL, NOT_RUN)
    text = (tmp_path / "readiness.md").read_text()
    assert "[JSON](soak.json)" in text
    assert "a \\| b" in text
    assert '<td class="fail">fail</td>' in (tmp_path / "readiness.html").read_text()


def test_a_requirement_whose_tests_were_not_run_is_run_in_part(tmp_path: Path) -> None:
    run(tmp_path, "soak", {"R3": True})
    assert verdicts(tmp_path)["R3"] == PARTLY
    assert "- R3: tests/db/test_pool.py: not run" in (tmp_path / "readiness.md").read_text()


@pytest.mark.parametrize("other", ["ba9876543210", f"{COMMIT}+changes", "unknown", f"{COMMIT}, then ba9876543210"])
def test_a_run_of_another_commit_is_stale(tmp_path: Path, other: str) -> None:
    run(tmp_path, "perf", {"R6": True, "R7": False}, commit=other)
    found = verdicts(tmp_path)
    assert (found["R6"], found["R7"]) == (STALE, FAIL)


@pytest.mark.parametrize("now", [f"{COMMIT}+changes", "unknown"])
def test_the_same_words_for_unknown_files_are_not_the_same_files(tmp_path: Path, now: str) -> None:
    run(tmp_path, "perf", {"R6": True}, commit=now)
    assert {each.number: each.verdict for each in report(tmp_path, read(tmp_path), now)}["R6"] == STALE


def test_a_run_during_which_the_commit_changed_is_of_neither() -> None:
    names = iter(["a" * 12, "b" * 12])
    result = Result("perf", checked_out=lambda: next(names))
    assert result.document()["commit"] == f"{'a' * 12}, then {'b' * 12}"


def test_everything_run_and_well_is_ready(tmp_path: Path) -> None:
    everything(tmp_path)
    assert set(verdicts(tmp_path).values()) == {PASS}
    assert stands(tmp_path)


@pytest.mark.parametrize("suite", sorted({suite for suites in SUITES.values() for suite in suites}))
def test_a_suite_that_was_not_run_is_missed(tmp_path: Path, suite: str) -> None:
    everything(tmp_path)
    (tmp_path / f"{suite}.json").unlink()
    found = verdicts(tmp_path)
    assert {found[number] for number in asked_of(suite)} <= {PARTLY, NOT_RUN}
    assert f": make {suite}: not run" in (tmp_path / "readiness.md").read_text()
    assert not stands(tmp_path)


def test_a_suite_that_leaves_out_what_a_requirement_asks_of_it_is_missed(tmp_path: Path) -> None:
    everything(tmp_path)
    run(tmp_path, "soak", {"R7": True})  # without its deploys
    assert {number for number, verdict in verdicts(tmp_path).items() if verdict == PARTLY} == {"R5", "R15", "R17"}


def test_what_a_run_could_not_show_leaves_its_requirement_run_in_part(tmp_path: Path) -> None:
    everything(tmp_path)
    run(tmp_path, "load", dict.fromkeys(asked_of("load"), True), partly="R7")
    assert {number for number, verdict in verdicts(tmp_path).items() if verdict != PASS} == {"R7"}
    assert verdicts(tmp_path)["R7"] == PARTLY
    assert not stands(tmp_path)


def test_a_failed_run_is_not_ready_whatever_its_bars_say(tmp_path: Path) -> None:
    everything(tmp_path)
    put(tmp_path, Result("another"))  # nothing measured
    assert set(verdicts(tmp_path).values()) == {PASS}
    assert not stands(tmp_path)


@pytest.mark.parametrize("suite", [*sorted({suite for suites in SUITES.values() for suite in suites}), "promises"])
def test_a_run_that_ends_before_its_first_bar_fails_all_that_is_asked_of_it(tmp_path: Path, suite: str) -> None:
    everything(tmp_path)

    async def measure(_: Result, __: object) -> None:
        raise TimeoutError("server not back within 120 s")

    with pytest.raises(TimeoutError):
        finish(suite, measure, asyncio.run, tmp_path)
    assert {number for number, verdict in verdicts(tmp_path).items() if verdict == FAIL} == set(asked_of(suite))
    assert not stands(tmp_path)


@pytest.mark.parametrize("suite", sorted({suite for suites in SUITES.values() for suite in suites}))
def test_a_suite_is_asked_for_what_its_bars_name(suite: str) -> None:
    text = (ROOT / "tests" / "suites" / f"{suite}.py").read_text()
    assert set(re.findall(r'"(R\d+)"', text)) == set(asked_of(suite))


def test_what_ends_a_run_early_is_stored_as_a_failure(tmp_path: Path) -> None:
    run(tmp_path, "perf", {"R6": True})

    async def measure(result: Result, _: object) -> None:
        assert not (tmp_path / "perf.json").exists(), "the old result is gone before anything is measured"
        result.holds("something", True, "", "R9")
        raise RuntimeError("the system did not start")

    with pytest.raises(RuntimeError):
        finish("perf", measure, asyncio.run, tmp_path)
    failed = {each.number for each in report(tmp_path, read(tmp_path), COMMIT) if each.verdict == FAIL}
    assert failed == {*asked_of("perf"), "R9"}


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
    assert {each.verdict for each in report(tmp_path, read(tmp_path), COMMIT)} == {NOT_RUN}


def test_every_number_is_a_requirement_and_every_test_exists() -> None:
    assert [*TITLES] == [f"R{number}" for number in range(1, 18)]
    assert TESTS.keys() | SUITES.keys() | NEEDS_ACCOUNT.keys() <= TITLES.keys()
    assert TESTS.keys() | SUITES.keys() == TITLES.keys(), "each requirement is asked of something"
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
