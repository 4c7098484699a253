"""From pieces of text to text deltas: at once while the process has time, together when it has not.

A message costs 50-70 µs in grpc.aio whatever its size, so under load fewer, larger deltas are the lever. One tick is
shared by all runs of the process: a timer per stream costs nearly twice as much per token as a shared one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Timers(Protocol):
    """The part of an asyncio event loop that the tick needs; a test gives a clock of its own."""

    def time(self) -> float: ...
    def call_later(self, delay: float, callback: Callable[[], object]) -> object: ...
    def call_soon(self, callback: Callable[[], object]) -> object: ...


@dataclass(frozen=True, slots=True)
class TickSettings:
    """When deltas are held together; times are seconds.

    Above `busy_rate` pushes per second (all runs together), or when the loop answers later than `busy_lag`, deltas
    wait for the tick; below `calm_rate` and half of `busy_lag` they pass at once again. The tick is `shortest` apart
    and stretches up to `longest` while the loop is late.
    """

    busy_rate: float = 800.0
    calm_rate: float = 400.0
    busy_lag: float = 0.010
    shortest: float = 0.025
    longest: float = 0.040
    window: float = 0.100


class SharedTick:
    """Decides for the whole process whether text passes or waits, and flushes what waits. One per event loop.

    While nothing waits no timer runs. The loop's lateness is seen for free: by a callback put at the end of its queue
    when text passes, and by how late the tick itself comes.
    """

    def __init__(self, timers: Timers, settings: TickSettings | None = None) -> None:
        self._timers = timers
        self._settings = settings or TickSettings()
        self._waiting: list[DeltaRelay] = []
        self._due: float | None = None
        self._probe_sent: float | None = None
        self._interval = self._settings.shortest
        self._window_start = timers.time()
        self._pushes = 0
        self._lag = 0.0
        self.busy = False

    def passes(self) -> bool:
        """Counts one push and says whether its text may go out now."""
        now = self._timers.time()
        self._pushes += 1
        elapsed = now - self._window_start
        if elapsed >= self._settings.window:
            self._judge(self._pushes / elapsed)
            self._window_start = now
            self._pushes = 0
            self._lag = 0.0
        # A sudden crowd is not let through until its window is over.
        if self.busy or self._pushes > self._settings.busy_rate * self._settings.window:
            self.busy = True
            return False
        if self._probe_sent is None:
            self._probe_sent = now
            self._timers.call_soon(self._probe_back)
        return True

    def enlist(self, relay: DeltaRelay) -> None:
        """Flushes this relay with the next tick."""
        self._waiting.append(relay)
        self._arm()

    def _judge(self, rate: float) -> None:
        settings = self._settings
        if self.busy:
            self.busy = rate > settings.calm_rate or self._lag > settings.busy_lag / 2
        else:
            self.busy = rate > settings.busy_rate

    def _probe_back(self) -> None:
        if self._probe_sent is not None:
            self._late(self._timers.time() - self._probe_sent)
            self._probe_sent = None

    def _late(self, lag: float) -> None:
        self._lag = max(self._lag, lag)
        if lag > self._settings.busy_lag:
            self.busy = True

    def _arm(self) -> None:
        if self._due is None:
            self._due = self._timers.time() + self._interval
            self._timers.call_later(self._interval, self._fire)

    def _fire(self) -> None:
        settings = self._settings
        if self._due is not None:
            lag = self._timers.time() - self._due
            self._late(lag)
            stretched = self._interval * (1.25 if lag > settings.busy_lag else 0.9)
            self._interval = min(settings.longest, max(settings.shortest, stretched))
            self._due = None
        waiting, self._waiting = self._waiting, []
        try:
            while waiting:
                waiting.pop().flush()
        finally:
            # One run's broken `emit` reaches the loop's exception handler; the others' text is not lost with it.
            if waiting:
                self._waiting.extend(waiting)
                self._timers.call_soon(self._fire)


class DeltaRelay:
    """The text of one run on its way to its log.

    `emit` takes one delta; it must neither block nor raise (append to the log's in-process fan-out). The first text of
    a run always goes out at once, whatever the load: it is what a person waits for. Order is kept, nothing is lost or
    repeated; `flush` before any other event of the run, and at its end.
    """

    __slots__ = ("_emit", "_pending", "_started", "_tick")

    def __init__(self, tick: SharedTick, emit: Callable[[str], None]) -> None:
        self._tick = tick
        self._emit = emit
        self._pending: list[str] = []
        self._started = False

    def push(self, text: str) -> None:
        """Takes the next piece of text."""
        if not text:
            return
        passes = self._tick.passes()
        if self._pending:
            self._pending.append(text)
        elif passes or not self._started:
            self._started = True
            self._emit(text)
        else:
            self._pending.append(text)
            self._tick.enlist(self)

    def flush(self) -> None:
        """Emits what waits, as one delta."""
        if self._pending:
            text = "".join(self._pending)
            self._pending.clear()
            self._emit(text)
