"""The log of one run: appended by the run, read by any number of followers, each at its own pace.

Followers keep a position in one shared list, so a slow one costs nothing but its position. A log is the run's own, in
the process that has the run, or a mirror of what that process shares (server/chat/mirrors.py). One that is given up,
because the run changed hands or the mirror went blind, sends its followers to look again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime

from server.chat.events import TERMINALS, Entry, Event, Heartbeat, LogEntry, Reconnect

MOST_BEHIND = 2_000
"""Entries that a follower who had caught up may fall behind before it must come back for them."""


class RunLog:
    """Events of one run, with sequence numbers from 1. `append` never blocks and never raises before the terminal."""

    def __init__(self, run: str, tenant: str, outlet: str, epoch: int = 1, person: str = "") -> None:
        self.run = run
        self.tenant = tenant
        self.outlet = outlet
        self.person = person
        self.epoch = epoch
        self.ended = False
        self.forgotten = False
        self.given_up = False
        self.closing = False  # its last numbers are spoken for
        self.followers = 0
        self.alone_since = time.monotonic()
        self.changed_at = time.monotonic()
        self.changed: Callable[[RunLog], None] = _nobody
        self._base = 0  # entries that are not here: seq of the first that is, less one
        self._entries: list[Entry] = []
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def last_seq(self) -> int:
        return self._base + len(self._entries)

    def append(self, event: Event) -> LogEntry:
        """Adds the run's next event and wakes the followers. Nothing may follow a terminal."""
        if self.ended:
            raise RuntimeError(f"{type(event).__name__} after the terminal event of {self.run}")
        entry = LogEntry(self.last_seq + 1, datetime.now(UTC), event, self.epoch)
        self._entries.append(entry)
        self.ended = isinstance(event, TERMINALS)
        self.wake()
        self.changed(self)
        return entry

    def adopt(self, entries: Sequence[Entry]) -> None:
        """Adds entries that another process wrote; those that are here already are passed over."""
        for entry in entries:
            if not self._entries:
                self._base = entry.seq - 1
            if entry.seq == self.last_seq + 1:
                self._entries.append(entry)
                self.ended = self.ended or entry.terminal
        self.changed_at = time.monotonic()
        self.wake()

    def since(self, seq: int) -> list[Entry]:
        """The entries after this number."""
        return self._entries[max(0, seq - self._base) :]

    def reaches_back_to(self, after_seq: int) -> bool:
        """Whether every entry after this number is here."""
        return after_seq >= self._base and not self.given_up

    def give_up(self) -> None:
        """Lets followers look elsewhere, and holds nothing any more, whatever a slow one still wanted."""
        self._base = self.last_seq
        self._entries = []
        self.given_up = True
        self.wake()

    async def follow(
        self, after_seq: int, *, heartbeat: float, leave: Callable[[], float | None], patient: bool = False
    ) -> AsyncGenerator[Entry | Heartbeat | Reconnect, None]:
        """Every entry after `after_seq`, then what comes, up to the terminal, which comes to everybody; a Heartbeat
        after each `heartbeat` seconds of silence. Without a terminal the log was given up.

        `leave` is asked whenever nothing is left to send: a number of seconds means that the follower must come back
        elsewhere after that delay, and ends the stream with Reconnect. So does falling far behind what comes, unless
        the log is to be `patient`.
        """
        self.followers += 1
        try:
            async for item in self._follow(after_seq, heartbeat, leave, patient=patient):
                yield item
        finally:
            self.followers -= 1
            self.alone_since = time.monotonic()

    async def _follow(
        self, after_seq: int, heartbeat: float, leave: Callable[[], float | None], *, patient: bool
    ) -> AsyncGenerator[Entry | Heartbeat | Reconnect, None]:
        position, caught_up = after_seq, False
        while True:
            while position < self.last_seq or self.ended:
                if self.given_up or position < self._base:
                    return
                if caught_up and not patient and self.last_seq - position > MOST_BEHIND:
                    yield Reconnect(position, 0.1)
                    return
                entry = self._entries[min(position - self._base, len(self._entries) - 1)]
                position = max(position, entry.seq)
                yield entry
                if entry.terminal:
                    return
            if self.given_up:
                return
            caught_up = True
            if (delay := leave()) is not None:
                yield Reconnect(position, delay)
                return
            if not await self._changed(heartbeat, position):
                yield Heartbeat()

    async def _changed(self, silence: float, position: int) -> bool:
        """Waits for the next append; False after `silence` seconds of silence."""
        if position < self.last_seq or self.ended or self.given_up:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            async with asyncio.timeout(silence):
                await future
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(future)
        return True

    def wake(self) -> None:
        """Lets every follower look, and ask `leave` again."""
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)


class RunLogs:
    """The logs of this process's runs by (tenant, run name). An ended log is kept for `keep` seconds for those who
    resume, and the oldest ended ones go first when more than `most` are held. `changed` hears of every append."""

    def __init__(self, *, keep: float, most: int = 10_000, changed: Callable[[RunLog], None] | None = None) -> None:
        self._keep = keep
        self._most = most
        self._changed = changed or _nobody
        self._logs: dict[tuple[str, str], RunLog] = {}

    def open(self, run: str, tenant: str, outlet: str, person: str = "", epoch: int = 1) -> RunLog:
        log = self._logs[tenant, run] = RunLog(run, tenant, outlet, epoch, person)
        log.changed = self._changed
        if len(self._logs) > self._most:
            for held in [held for held in self._logs.values() if held.ended][: len(self._logs) - self._most]:
                self.drop(held)
        return log

    def get(self, tenant: str, run: str) -> RunLog | None:
        return self._logs.get((tenant, run))

    def close(self, log: RunLog) -> None:
        """Lets go of an ended log after the keeping time."""
        keep = 0.0 if log.forgotten else self._keep
        asyncio.get_running_loop().call_later(keep, self.drop, log)

    def drop(self, log: RunLog) -> None:
        """Lets go of a log now."""
        if self._logs.get((log.tenant, log.run)) is log:
            del self._logs[log.tenant, log.run]
        log.give_up()

    def forget(self, tenant: str, person: str) -> None:
        """Drops what was said to somebody who was erased, at once or when it has ended; whoever resumes gets what the
        database remembers."""
        for log in [log for log in self._logs.values() if (log.tenant, log.person) == (tenant, person)]:
            log.forgotten = True
            if log.ended:
                self.drop(log)

    def wake_all(self) -> None:
        for log in self._logs.values():
            log.wake()


def _nobody(_: RunLog) -> None:
    """Nobody wants to hear of the log."""
