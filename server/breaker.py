"""A circuit breaker: after an outage is plain, callers are refused at once instead of waiting for it one by one.

Written here because the asyncio libraries looked at (purgatory 3.0, aiobreaker) let every waiting caller through when
half open, count a cancelled call as a failure, or keep the wall clock; each is wrong for long streams that people stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """Closed lets all through, open none, half open a few probes."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class CircuitOpenError(Exception):
    """Refused without a call; `retry_after` is how many seconds the circuit stays open (0 while probes are out)."""

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(f"circuit {name} is open")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """What metrics and health show; the counts are since the start."""

    name: str
    state: BreakerState
    failures_in_a_row: int
    opened: int
    refused: int


class CircuitBreaker:
    """Opens after `threshold` failures in a row, admits at most `probes` calls at a time after `cooldown` seconds,
    and closes with the first probe that succeeds. A failed probe opens it anew.

    One per upstream, used on one event loop. A call that was admitted before the state changed says nothing about
    the new state and is ignored; a cancelled one says nothing at all and only gives its place back.
    """

    def __init__(
        self,
        name: str,
        *,
        threshold: int = 5,
        cooldown: float = 15.0,
        probes: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._threshold = threshold
        self._cooldown = cooldown
        self._probes = probes
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = 0
        self._era = 0  # moves with every opening and closing; an outcome counts only in the era it was admitted in
        self._opened = 0
        self._refused = 0

    @property
    def state(self) -> BreakerState:
        if self._opened_at is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._clock() < self._opened_at + self._cooldown else BreakerState.HALF_OPEN

    def snapshot(self) -> BreakerSnapshot:
        return BreakerSnapshot(self._name, self.state, self._failures, self._opened, self._refused)

    @contextmanager
    def attempt(self, is_failure: Callable[[Exception], bool]) -> Iterator[None]:
        """Admits one call and takes its outcome. Raises `CircuitOpenError`, with nothing done, when it may not run.

        An exception for which `is_failure` is false is neither a failure nor a success.
        """
        era = self._admit()
        try:
            yield
        except Exception as error:  # what counts as a failure is the caller's to say; all are raised again
            if era == self._era and is_failure(error):
                self._failed()
            raise
        else:
            if era == self._era:
                self._succeeded()
        finally:
            # `_failed` and `_succeeded` moved the era on and took all probe places back with it.
            if era == self._era and self._opened_at is not None:
                self._probing -= 1

    def refusal(self) -> CircuitOpenError | None:
        """What `attempt` would raise now. Nothing is counted, and no place is taken."""
        state = self.state
        if state is BreakerState.OPEN or (state is BreakerState.HALF_OPEN and self._probing >= self._probes):
            until = (self._opened_at or 0.0) + self._cooldown
            return CircuitOpenError(self._name, max(0.0, until - self._clock()))
        return None

    def _admit(self) -> int:
        if (refusal := self.refusal()) is not None:
            self._refused += 1
            raise refusal
        if self.state is BreakerState.HALF_OPEN:
            self._probing += 1
        return self._era

    def _failed(self) -> None:
        self._failures += 1
        if self._opened_at is not None or self._failures >= self._threshold:
            self._opened_at = self._clock()
            self._opened += 1
            self._turn_era()

    def _succeeded(self) -> None:
        self._failures = 0
        if self._opened_at is not None:
            self._opened_at = None
            self._turn_era()

    def _turn_era(self) -> None:
        self._era += 1
        self._probing = 0


class CircuitBreakers:
    """A breaker for each of many, made when it is first asked for: one whose calls fail stops nobody else's."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._each: dict[str, CircuitBreaker] = {}

    def of(self, whose: str) -> CircuitBreaker:
        return self._each.setdefault(whose, CircuitBreaker(f"{self._name} of {whose}"))
