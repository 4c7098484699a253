"""The circuit breaker, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from server.breaker import BreakerState, CircuitBreaker, CircuitBreakers, CircuitOpenError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker("model", threshold=3, cooldown=10.0, clock=clock)


def fail(breaker: CircuitBreaker, times: int = 1, error: type[Exception] = ConnectionError) -> None:
    for _ in range(times):
        with suppress(error), breaker.attempt(lambda raised: isinstance(raised, ConnectionError)):
            raise error


def succeed(breaker: CircuitBreaker) -> None:
    with breaker.attempt(lambda _: True):
        pass


def state(breaker: CircuitBreaker) -> BreakerState:
    # A function, because mypy believes that a property it has compared once does not change.
    return breaker.state


def refused(breaker: CircuitBreaker) -> float:
    with pytest.raises(CircuitOpenError) as error, breaker.attempt(lambda _: True):
        pytest.fail("the circuit let a call through")
    return error.value.retry_after


def test_it_opens_after_failures_in_a_row_only(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    succeed(breaker)
    fail(breaker, 2)
    assert state(breaker) == BreakerState.CLOSED
    fail(breaker)
    assert state(breaker) == BreakerState.OPEN
    assert refused(breaker) == 10.0
    assert (breaker.snapshot().opened, breaker.snapshot().refused) == (1, 1)


def test_an_error_that_is_no_failure_counts_neither_way(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    fail(breaker, 5, error=KeyError)
    assert breaker.snapshot().failures_in_a_row == 2


def test_half_open_admits_one_probe_at_a_time(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 10
    assert state(breaker) == BreakerState.HALF_OPEN
    with breaker.attempt(lambda _: True):
        refused(breaker)
    assert state(breaker) == BreakerState.CLOSED
    assert breaker.snapshot().failures_in_a_row == 0


def test_a_failed_probe_opens_it_for_a_whole_cooldown(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 10
    fail(breaker)
    clock.now += 9
    assert refused(breaker) == 1.0
    clock.now += 1
    succeed(breaker)
    assert state(breaker) == BreakerState.CLOSED


@pytest.mark.parametrize("error", [KeyError, None], ids=["neutral", "cancelled"])
async def test_a_probe_without_verdict_gives_its_place_back(
    breaker: CircuitBreaker, clock: Clock, error: type[Exception] | None
) -> None:
    fail(breaker, 3)
    clock.now += 10
    if error is not None:
        fail(breaker, error=error)
    else:
        started = asyncio.Event()

        async def probe() -> None:
            with breaker.attempt(lambda _: True):
                started.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(probe())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert state(breaker) == BreakerState.HALF_OPEN
    succeed(breaker)
    assert state(breaker) == BreakerState.CLOSED


def test_a_late_failure_from_before_the_opening_does_not_prolong_it(breaker: CircuitBreaker, clock: Clock) -> None:
    with suppress(ConnectionError), breaker.attempt(lambda _: True):
        fail(breaker, 3)
        clock.now += 9
        raise ConnectionError
    assert refused(breaker) == 1.0
    assert breaker.snapshot().opened == 1


def test_a_call_from_before_the_opening_does_not_close_it(breaker: CircuitBreaker, clock: Clock) -> None:
    with breaker.attempt(lambda _: True):
        fail(breaker, 3)
    assert state(breaker) == BreakerState.OPEN
    clock.now += 10
    with breaker.attempt(lambda _: True):
        refused(breaker)


def test_of_many_each_has_its_own() -> None:
    breakers = CircuitBreakers("books")
    for _ in range(5):
        with pytest.raises(OSError, match="down"), breakers.of("a").attempt(lambda _: True):
            raise OSError("down")
    refusal = breakers.of("a").refusal()
    assert refusal is not None
    assert refusal.retry_after > 0
    assert breakers.of("a").snapshot().refused == 0, "asking is no call"
    assert breakers.of("b").refusal() is None
