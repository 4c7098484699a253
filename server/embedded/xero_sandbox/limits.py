"""Xero's limits: so many calls at a time, by minute and by day, in windows that begin with their first call."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from server.embedded.xero_sandbox.settings import Clock, Limits

_MINUTE = 60.0
_DAY = 86_400.0


class Over(Exception):
    """429: `problem` is minute, day, concurrent or appminute; concurrency has no Retry-After, as at Xero."""

    def __init__(self, problem: str, retry_after: int | None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.retry_after = retry_after


class Window:
    """Counts calls in a stretch of time."""

    def __init__(self, most: int, length: float) -> None:
        self.most = most
        self._length = length
        self._began = -math.inf
        self._count = 0

    def left(self, now: float) -> int:
        if now >= self._began + self._length:
            self._began, self._count = now, 0
        return max(0, self.most - self._count)

    def seconds_left(self, now: float) -> int:
        return max(1, math.ceil(self._began + self._length - now))

    def count(self) -> None:
        self._count += 1


class Limiter:
    """Admits calls of the one tenant. What is refused does not count."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._clock = clock
        self._concurrent = limits.concurrent
        self._windows = {
            "day": Window(limits.day, _DAY),
            "minute": Window(limits.minute, _MINUTE),
            "appminute": Window(limits.app_minute, _MINUTE),
        }
        self._running = 0

    @contextmanager
    def admitted(self) -> Iterator[int]:
        """Holds a place while the body runs, and says how many run. Raises Over."""
        now = self._clock()
        if self._running >= self._concurrent:
            raise Over("concurrent", None)
        for name, window in self._windows.items():
            if not window.left(now):
                raise Over(name, window.seconds_left(now))
        for window in self._windows.values():
            window.count()
        self._running += 1
        try:
            yield self._running
        finally:
            self._running -= 1

    def headers(self) -> Mapping[str, str]:
        """What is left, as every answer says."""
        now = self._clock()
        names = {
            "day": "X-DayLimit-Remaining",
            "minute": "X-MinLimit-Remaining",
            "appminute": "X-AppMinLimit-Remaining",
        }
        return {header: str(self._windows[name].left(now)) for name, header in names.items()}
