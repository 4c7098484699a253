"""Each suite's bars fail when they are fed what they are there to find."""

from __future__ import annotations

import asyncio
import json
import math
import random
import resource
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress

from server.embedded.loopback import free_ports
from tests.suites import chaos, load, perf, security, soak, wire_frames
from tests.suites.asking import Outcome
from tests.suites.history import Followed, History, Placed
from tests.suites.pages import page
from tests.suites.questions import KINDS
from tests.suites.results import Result
from tests.suites.rolling import ENOUGH, Calls
from tests.suites.watching import Sample, Watch, same_processes
from tests.suites.wire_fuzzing import Findings
from tests.support.reading import check_stream
from tests.support.system import System
from tria.chat.v1 import chat_event_pb2


def failed(result: Result) -> set[str]:
    """The requirements of the bars that do not hold."""
    return {number for bar in result.bars if not bar.passed for number in bar.requirements}


def bar(result: Result, words: str) -> bool:
    """Whether the one bar with these words holds."""
    [found] = [each for each in result.bars if words in each.name]
    return found.passed


def event(seq: int, **more: Any) -> chat_event_pb2.ChatEvent:
    return chat_event_pb2.ChatEvent(seq=seq, **more)


ACCEPTED: dict[str, Any] = {"run_accepted": chat_event_pb2.RunAccepted()}
COMPLETED: dict[str, Any] = {"completed": chat_event_pb2.Completed(text="hello")}
INTERRUPTED: dict[str, Any] = {"interrupted": chat_event_pb2.Interrupted()}
DELTA: dict[str, Any] = {"text_delta": chat_event_pb2.TextDelta(text="hello")}
DONE: dict[str, Any] = {"text_done": chat_event_pb2.TextDone(sha256="0" * 64)}


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([], "no event"),
        ([event(1, **INTERRUPTED)], "interrupted"),
        ([event(1, **ACCEPTED), event(3, **INTERRUPTED)], "interrupted"),
        ([event(1, **ACCEPTED), event(2, **DELTA)], "text_delta"),
        ([event(1, **ACCEPTED), event(2, **INTERRUPTED), event(3, **INTERRUPTED)], "interrupted"),
        ([event(1, **ACCEPTED), event(2, **DELTA), event(3, **DONE), event(4, **COMPLETED)], "0000"),
    ],
)
def test_a_broken_stream_says_what_broke(events: list[chat_event_pb2.ChatEvent], said: str) -> None:
    with pytest.raises(AssertionError) as raised:
        check_stream(events)
    assert said in str(raised.value.args)


def calls(unary: int = 2500, streams: int = 1000, broken: int = 0, slowest: float = 3.0, deploys: int = 3) -> Calls:
    made = Calls(deploys=deploys, slowest=slowest)
    made.ended.update({"fine": unary + streams - broken, "AssertionError: [('interrupted', 1)]": broken})
    made.streams.update({"fine": streams - broken, "AssertionError: [('interrupted', 1)]": broken})
    return made


def deployed(made: Calls) -> Result:
    result = Result("soak")
    soak.judge_deploys(result, made)
    return result


def test_deploys_that_nobody_noticed_pass() -> None:
    assert deployed(calls()).passed
    assert not deployed(calls()).partly


def test_broken_streams_do_not_hide_among_other_calls() -> None:
    result = deployed(calls(unary=3000, streams=700, broken=3))
    assert bar(result, "calls fine")
    assert not bar(result, "streams whole")
    assert failed(result) == {"R5", "R15", "R17"}


def test_deploys_without_a_stream_show_nothing_about_streams() -> None:
    assert not bar(deployed(calls(streams=0)), "streams whole")


def test_a_call_that_hangs_for_the_lease_of_a_run_is_not_fine() -> None:
    assert failed(deployed(calls(slowest=30.0))) == {"R15", "R17"}


@pytest.mark.parametrize("made", [calls(deploys=1), calls(unary=ENOUGH - 1001), calls(unary=500, broken=1)])
def test_too_few_deploys_or_calls_show_it_in_part(made: Calls) -> None:
    assert deployed(made).partly == {"R5", "R15", "R17"}


def test_a_part_that_died_is_told_also_when_memory_looks_smaller() -> None:
    result = Result("soak")
    same_processes(result, "steady load", {"server": 1, "worker": 2}, {"server": 1, "worker": 3})
    assert failed(result) == {"R7"}
    assert "worker" in result.bars[0].measured


def outcome(kind: str, **more: Any) -> Outcome:
    return Outcome(kind, 0.0, **{"code": "OK", "ended": "completed", "took": 0.1, "first": 0.1, **more})


def perf_run(name: str = "model", kinds: int = len(KINDS), **more: Any) -> Result:
    """Each kind three times, the first one a miss that costs; `kinds` of them answered."""
    found = []
    for place, question in enumerate(KINDS):
        ended = "completed" if place < kinds else "failed"
        miss = {"took": 1.0, "cost_micros": 300 if name == "model" else 0}
        each: list[dict[str, Any]] = [{"hit": False, **miss}, {"hit": True}, {"hit": True}]
        found += [outcome(question.kind, **{"ended": ended, **again, **more}) for again in each]
    result = Result("perf")
    perf._judge(result, name, perf.Run(found, found, 60.0))
    return result


@pytest.mark.parametrize("name", ["offline", "model"])
def test_a_good_run_of_questions_passes(name: str) -> None:
    assert perf_run(name).passed


def test_what_costs_nothing_is_not_judged_by_its_cost() -> None:
    assert not [each for each in perf_run("offline").bars if "cost" in each.name]


def test_a_model_whose_cost_nobody_told_is_not_cheap() -> None:
    assert failed(perf_run(cost_micros=0)) == {"R6", "R17"}


def test_kinds_that_were_not_answered_are_not_counted() -> None:
    assert not bar(perf_run(kinds=19), "kinds of question")


@pytest.mark.parametrize("hit", [True, False])
def test_hits_without_a_miss_to_compare_with_do_not_pass(hit: bool) -> None:
    assert not bar(perf_run(hit=hit), "faster than a miss")


def load_run(outcomes: Sequence[Outcome], files: tuple[int, int] = (100, 40), lost: float = 0.0) -> Result:
    """100 users with these outcomes; `files` are what server and gateway hold open at the end."""
    filled = Sample(1.0, {"server": 300.0}, {"server": 100, "envoy": 80}, {})
    after = Sample(2.0, {"server": 310.0}, {"server": files[0], "envoy": files[1]}, {"tria_audit_lost": lost})
    watch = Watch(dict, "", samples=[filled, after])
    result = Result("load")
    ends = {"before": filled, "filled": filled, "after": after}
    load._judge(result, "offline", [load.Phase("100 users", outcomes, [], 60.0)], watch, ends)
    return result


def test_a_load_that_was_borne_passes() -> None:
    assert load_run([outcome("price")] * 100).passed


def test_nobody_waited_is_not_fast() -> None:
    assert failed(load_run([])) == {"R7", "R17"}


def test_files_that_one_part_leaks_do_not_hide_behind_those_that_another_closed() -> None:
    assert failed(load_run([outcome("price")] * 100, files=(120, 40))) == {"R7"}


@pytest.mark.parametrize(
    ("suite", "options", "partly"),
    [
        (load.left_out, (60.0, ("offline", "model"), (10, 50, 100)), set()),
        (load.left_out, (60.0, ("offline", "model"), (10,)), {"R7", "R17"}),
        (load.left_out, (5.0, ("offline", "model"), (10, 50, 100)), {"R7", "R17"}),
        (load.left_out, (60.0, ("offline",), (10, 50, 100)), {"R3", "R7", "R10", "R17"}),
        (perf.left_out, (3, ("offline", "model")), set()),
        (perf.left_out, (1, ("offline", "model")), {"R4", "R5", "R6", "R17"}),
        (perf.left_out, (3, ("model",)), {"R4", "R5", "R6", "R17"}),
        (chaos.left_out, (24, 12, True), set()),
        (chaos.left_out, (6, 12, True), {"R1", "R5", "R10", "R14", "R17"}),
        (chaos.left_out, (24, 2, True), {"R1", "R5", "R10", "R14", "R17"}),
        (chaos.left_out, (24, 12, False), {"R1"}),
        (security.left_out, (30, 10_000, True), set()),
        (security.left_out, (3, 10_000, True), {"R1", "R11"}),
        (security.left_out, (30, 0, True), {"R11"}),
        (security.left_out, (30, 10_000, False), {"R11", "R12", "R17"}),
    ],
)
def test_a_shortened_run_shows_its_requirements_in_part(
    suite: Callable[..., None], options: tuple[Any, ...], partly: set[str]
) -> None:
    result = Result("any")
    suite(result, *options)
    assert result.partly == partly


def under_fire(recovered: list[tuple[str, float]], confirmed: int = 20, streams: int = 20) -> Result:
    orders = [Placed(f"r-{number}", f"orders/{number}", confirmed=number < confirmed) for number in range(20)]
    followed = [Followed(f"runs/{number}", [1, 2], ["completed"], "", "") for number in range(streams)]
    result = Result("chaos")
    chaos._judge_recovery(result, recovered)
    chaos._report(result, History(orders, followed), Counter(name for name, _ in recovered), {"no order lost": []})
    return result


def test_parts_that_came_back_pass() -> None:
    assert under_fire([("server", 11.5), ("worker", 0.4)]).passed


def test_a_part_that_did_not_come_back_is_told() -> None:
    result = under_fire([("worker", 0.4), ("server", math.inf)])
    assert failed(result) == {"R17"}
    assert result.figures["seconds_to_serve_again"] == {"worker": 0.4, "server": "not in time"}
    page(result.document())


def test_nothing_killed_is_no_recovery() -> None:
    assert "R17" in failed(under_fire([]))


def test_rules_over_nothing_do_not_pass() -> None:
    assert failed(under_fire([("server", 1.0)], streams=0)) == {"R5"}
    assert failed(under_fire([("server", 1.0)], confirmed=0)) == {"R14"}


async def test_a_part_that_nobody_revives_ends_the_kills(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)")
    (tmp_path / "pids.json").write_text(json.dumps(dict.fromkeys(chaos.VICTIMS, child.pid)))
    with Progress() as told:
        up = System(child, {}, tmp_path)
        havoc = chaos.Havoc(up, told, told.add_task("kills"), random.Random(1), patience=0.2)
        await havoc.rounds(3)
    assert havoc.recovered == [(chaos.VICTIMS[0], math.inf)]
    assert await child.wait() < 0


@pytest.mark.parametrize(
    ("standing", "wanted", "passed"),
    [(10_000, 10_000, True), (7_600, 10_000, True), (7_500, 10_000, False), (0, 10_000, False), (0, 100, False)],
)
def test_idle_streams_are_compared_with_what_was_asked_for(standing: int, wanted: int, passed: bool) -> None:
    result = Result("security")
    security._judge_idle(result, wanted, sent=standing, standing=standing)
    assert result.passed is passed
    assert failed(result) <= {"R11"}
    assert result.partly == ({"R11"} if standing < wanted else set())


def test_a_machine_without_a_limit_of_files_opens_connections() -> None:
    assert security._connections(10_000, resource.RLIM_INFINITY) == 100
    assert security._connections(10_000, 64) == 16


@pytest.mark.parametrize(
    ("scanned", "passed"),
    [
        ({"results": [], "errors": [], "metrics": {"_totals": {"loc": 49_000}}}, True),
        ({"results": [{"issue_severity": "HIGH"}], "errors": [], "metrics": {"_totals": {"loc": 49_000}}}, False),
        ({"results": [], "errors": [{"filename": "x.py"}], "metrics": {"_totals": {"loc": 49_000}}}, False),
        ({"results": [], "errors": [], "metrics": {"_totals": {"loc": 0}}}, False),
    ],
)
def test_code_that_was_not_scanned_is_not_clean(scanned: dict[str, Any], passed: bool) -> None:
    result = Result("security")
    security._judge_scan(result, scanned)
    assert result.passed is passed


@pytest.mark.parametrize("attack", ["malformed frames", "slow-loris", "request smuggling", "rapid reset"])
async def test_an_attack_that_reaches_nobody_was_not_withstood(attack: str) -> None:
    [port] = free_ports(1)
    with pytest.raises(ConnectionRefusedError):
        await wire_frames.main(attack, port)


@pytest.mark.parametrize(
    ("codes", "passed"),
    [
        ({"OK": 200, "INVALID_ARGUMENT": 1400, "UNAVAILABLE": 13}, True),
        ({"UNAVAILABLE": 1400, "UNAUTHENTICATED": 213}, False),
        ({"RESOURCE_EXHAUSTED": 1400, "OK": 213}, False),
        ({}, False),
    ],
)
def test_fuzz_that_reached_no_rpc_shows_nothing(codes: dict[str, int], passed: bool) -> None:
    result = Result("security")
    security._judge_fuzzing(result, Findings(Counter(codes), calls=sum(codes.values())))
    assert result.passed is passed
    assert failed(result) <= {"R1", "R11"}
