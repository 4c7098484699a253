"""The token relay on a clock and a timer queue that the test turns by hand."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.chat.relay import DeltaRelay, SharedTick, TickSettings

SETTINGS = TickSettings()


class HandTimers:
    """A loop whose time passes only by `advance`; `late` makes every timer and probe that much late."""

    def __init__(self) -> None:
        self.now = 50.0
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object]) -> object:
        heapq.heappush(self._queue, (self.now + delay, next(self._order), callback))
        return None

    def call_soon(self, callback: Callable[[], object]) -> object:
        return self.call_later(0.0, callback)

    def pending(self) -> int:
        return len(self._queue)

    def advance(self, seconds: float, late: float = 0.0) -> None:
        """Lets time pass; what comes due runs at its time, or `late` after it."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            due, _, callback = heapq.heappop(self._queue)
            self.now = max(self.now, due + late)
            callback()
        self.now = max(self.now, end)


class Run:
    def __init__(self, tick: SharedTick) -> None:
        self.deltas: list[str] = []
        self.relay = DeltaRelay(tick, self.deltas.append)


@pytest.fixture
def timers() -> HandTimers:
    return HandTimers()


def make_busy(timers: HandTimers, tick: SharedTick) -> None:
    """More pushes than a calm process takes, over one window."""
    crowd = Run(tick)
    for _ in range(int(SETTINGS.busy_rate * SETTINGS.window) + 10):
        timers.advance(SETTINGS.window / 80)
        crowd.relay.push("x")
    assert tick.busy
    crowd.relay.flush()


def test_an_idle_process_passes_every_piece_and_keeps_no_timer(timers: HandTimers) -> None:
    run = Run(SharedTick(timers))
    for _ in range(50):
        run.relay.push("word ")
        timers.advance(0.02)
    assert run.deltas == ["word "] * 50
    assert timers.pending() == 0


def test_a_busy_process_flushes_all_runs_with_one_tick(timers: HandTimers) -> None:
    tick = SharedTick(timers)
    make_busy(timers, tick)
    timers.advance(SETTINGS.longest)
    runs = [Run(tick) for _ in range(10)]
    for run in runs:
        run.relay.push("first ")
    assert all(run.deltas == ["first "] for run in runs), "the first text never waits"
    for word in ("a", "b", "c"):
        for run in runs:
            run.relay.push(word)
    assert all(run.deltas == ["first "] for run in runs)
    assert timers.pending() == 1, "one tick for all"
    timers.advance(SETTINGS.longest)
    assert all(run.deltas == ["first ", "abc"] for run in runs)


def test_a_sudden_crowd_is_held_within_its_first_window(timers: HandTimers) -> None:
    tick = SharedTick(timers)
    runs = [Run(tick) for _ in range(20)]
    for _ in range(100):
        for run in runs:
            run.relay.push("x")
    at_once = sum(len(run.deltas) for run in runs)
    assert at_once <= SETTINGS.busy_rate * SETTINGS.window + 1
    timers.advance(SETTINGS.longest)
    assert sum(len(run.deltas) for run in runs) <= at_once + len(runs)
    assert all("".join(run.deltas) == "x" * 100 for run in runs)


def test_a_late_loop_is_a_busy_one_although_pushes_are_few(timers: HandTimers) -> None:
    run = Run(SharedTick(timers))
    run.relay.push("one")
    timers.advance(0.05, late=SETTINGS.busy_lag * 2)
    run.relay.push("two")
    run.relay.push("three")
    assert run.deltas == ["one"]
    timers.advance(SETTINGS.longest)
    assert run.deltas == ["one", "twothree"]


def test_calming_down_does_not_overtake_what_waits(timers: HandTimers) -> None:
    tick = SharedTick(timers)
    run = Run(tick)
    run.relay.push("one ")
    timers.advance(SETTINGS.window, late=SETTINGS.busy_lag * 2)
    run.relay.push("two ")  # a new window begins, still busy for the lateness of the last
    timers.advance(SETTINGS.window - 0.001)
    run.relay.push("three ")
    timers.advance(0.002)
    run.relay.push("four ")  # the next window begins calm while "three" waits
    assert not tick.busy
    timers.advance(SETTINGS.longest)
    assert run.deltas == ["one ", "two ", "three four "]


def test_it_calms_down_again(timers: HandTimers) -> None:
    tick = SharedTick(timers)
    make_busy(timers, tick)
    run = Run(tick)
    for number in range(20):
        run.relay.push(str(number))
        timers.advance(0.05)
    assert not tick.busy
    assert run.deltas[-1] == "19"
    assert timers.pending() == 0


def test_the_tick_stretches_while_the_loop_is_late_and_stays_in_bounds(timers: HandTimers) -> None:
    tick = SharedTick(timers)
    make_busy(timers, tick)
    run = Run(tick)
    run.relay.push("first")
    gaps = []
    for _ in range(12):
        for _ in range(40):
            run.relay.push("x")
        before, seen = timers.now, len(run.deltas)
        timers.advance(SETTINGS.longest, late=0.02)
        assert len(run.deltas) == seen + 1
        gaps.append(timers.now - before)
    assert tick._interval == SETTINGS.longest  # the adapted value has no other sign on a hand clock
    assert max(gaps) <= SETTINGS.longest + 0.021


def test_flush_before_another_event_keeps_the_order(timers: HandTimers) -> None:
    tick = SharedTick(timers)
    make_busy(timers, tick)
    run = Run(tick)
    for word in ("first", "a", "b"):
        run.relay.push(word)
    run.relay.flush()
    run.deltas.append("<citation>")
    run.relay.push("c")
    timers.advance(1)
    assert run.deltas == ["first", "ab", "<citation>", "c"]


def test_one_broken_run_does_not_take_the_others_text(timers: HandTimers) -> None:
    tick = SharedTick(timers)
    make_busy(timers, tick)
    timers.advance(SETTINGS.longest)
    good, also = Run(tick), Run(tick)
    seen: list[str] = []

    def broken(text: str) -> None:
        seen.append(text)
        if len(seen) > 1:
            raise RuntimeError(text)

    bad = DeltaRelay(tick, broken)
    for relay in (good.relay, bad, also.relay):
        relay.push("first")
        relay.push("rest")
    with pytest.raises(RuntimeError):
        timers.advance(SETTINGS.longest)
    timers.advance(SETTINGS.longest)
    assert good.deltas == also.deltas == ["first", "rest"]


@given(st.lists(st.tuples(st.integers(0, 3), st.text(max_size=4), st.floats(0, 0.05), st.booleans()), max_size=120))
def test_nothing_is_lost_repeated_or_reordered(script: list[tuple[int, str, float, bool]]) -> None:
    timers = HandTimers()
    tick = SharedTick(timers, TickSettings(busy_rate=60, calm_rate=30))
    runs = [Run(tick) for _ in range(4)]
    pushed = [""] * 4
    for number, text, wait, late in script:
        runs[number].relay.push(text)
        pushed[number] += text
        assert not pushed[number] or runs[number].deltas, "the first text went out at once"
        timers.advance(wait, late=0.02 if late else 0.0)
    timers.advance(1)
    assert ["".join(run.deltas) for run in runs] == pushed
    assert all(delta for run in runs for delta in run.deltas)
