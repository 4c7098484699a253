"""The log of one run: appended by the run, read by any number of followers, each at its own pace.

Followers keep a position in one shared list, so a slow one costs nothing but its position. Followers in this process
only; the stored message stands in once the log is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime

from server.chat.events import TERMINALS, Event, Heartbeat, LogEntry, Reconnect


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
        self._entries: list[LogEntry] = []
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def last_seq(self) -> int:
        return len(self._entries)

    def append(self, event: Event) -> LogEntry:
        """Adds the next event and wakes the followers. Nothing may follow a terminal."""
        if self.ended:
            raise RuntimeError(f"{type(event).__name__} after the terminal event of {self.run}")
        entry = LogEntry(len(self._entries) + 1, datetime.now(UTC), event)
        self._entries.append(entry)
        self.ended = isinstance(event, TERMINALS)
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)
        return entry

    async def follow(
        self, after_seq: int, *, heartbeat: float, leave: Callable[[], float | None]
    ) -> AsyncGenerator[LogEntry | Heartbeat | Reconnect, None]:
        """Every entry after `after_seq`, then what comes, up to the terminal; a Heartbeat after each `heartbeat`
        seconds of silence.

        `leave` is asked whenever nothing is left to send: a number of seconds means that the follower must come back
        elsewhere after that delay, and ends the stream with Reconnect.
        """
        position = after_seq
        while True:
            while position < len(self._entries):
                entry = self._entries[position]
                position += 1
                yield entry
            if self.ended:
                return
            if (delay := leave()) is not None:
                yield Reconnect(position, delay)
                return
            if not await self._changed(heartbeat, position):
                yield Heartbeat()

    async def _changed(self, silence: float, position: int) -> bool:
        """Waits for the next append; False after `silence` seconds of silence."""
        if position < len(self._entries) or self.ended:
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
        """Lets every follower ask `leave` again: the process is about to stop."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


class RunLogs:
    """The logs of this process by (tenant, run name). An ended log is kept for `keep` seconds for those who resume,
    and the oldest ended ones go first when more than `most` are held."""

    def __init__(self, *, keep: float, most: int = 10_000) -> None:
        self._keep = keep
        self._most = most
        self._logs: dict[tuple[str, str], RunLog] = {}

    def open(self, run: str, tenant: str, outlet: str, person: str = "") -> RunLog:
        log = self._logs[tenant, run] = RunLog(run, tenant, outlet, person=person)
        if len(self._logs) > self._most:
            for key in [key for key, held in self._logs.items() if held.ended][: len(self._logs) - self._most]:
                del self._logs[key]
        return log

    def get(self, tenant: str, run: str) -> RunLog | None:
        return self._logs.get((tenant, run))

    def close(self, log: RunLog) -> None:
        """Forgets an ended log after the keeping time."""
        keep = 0.0 if log.forgotten else self._keep
        asyncio.get_running_loop().call_later(keep, self._logs.pop, (log.tenant, log.run), None)

    def forget(self, tenant: str, person: str) -> None:
        """Drops what was said to somebody who was erased, at once or when it has ended; whoever resumes gets what the
        database remembers."""
        for key, log in list(self._logs.items()):
            if key[0] == tenant and log.person == person:
                log.forgotten = True
                if log.ended:
                    del self._logs[key]

    def wake_all(self) -> None:
        for log in self._logs.values():
            log.wake()
