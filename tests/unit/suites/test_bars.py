"""Each suite's bars fail when they are fed what they are there to find."""

from __future__ import annotations

from typing import Any

import pytest

from tests.suites import soak
from tests.suites.results import Result
from tests.suites.rolling import ENOUGH, Calls
from tests.suites.watching import same_processes
from tests.support.reading import check_stream
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
