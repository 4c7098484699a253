"""Following the log as it grows: what came after a seq, then live, until the connection is old or the process stops.

The table is the truth; a notification only says that it is worth looking. A reader has at most one batch in memory, and
no connection is held while it is waited for: one that is slow is only behind.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from server.audit import events, tree_store
from server.audit.events import Event
from server.audit.ranges import outside
from server.caller import Caller
from server.db.listening import Bell
from server.db.pool import Database
from server.errors import AppError, Code
from server.stream_life import StreamLimits, must_come_back_at, news_until

log = logging.getLogger(__name__)

_BATCH = 100
_POLL = 5.0  # seconds: the longest that a lost notification delays an event


@dataclass(frozen=True, slots=True)
class Alive:
    """Nothing came; `seq` is the newest there is, -1 when there is none."""

    seq: int


@dataclass(frozen=True, slots=True)
class ComeBack:
    """The stream ends here; go on after `seq`."""

    seq: int


Item = Event | Alive | ComeBack


class Tailing:
    """The use case behind TailEvents. `drain` is called once, when the process is about to stop."""

    def __init__(self, database: Database, bell: Bell, limits: StreamLimits) -> None:
        self._database = database
        self._bell = bell
        self._limits = limits
        self._draining = False

    def drain(self) -> None:
        """Asks every reader to come back elsewhere."""
        self._draining = True
        self._bell.ring_all()

    async def tail(self, caller: Caller, after: int | None) -> AsyncGenerator[Item, None]:
        """Every event after that seq, in order, each once; -1 means all that retention has left, None from now on.

        The first item is a sign of life. Raises OUT_OF_RANGE for what the log does not hold (yet or any more): a reader
        that has seen more than there is has found a log that was cut short. Later it ends with ComeBack and never with
        an error.
        """
        news = self._bell.join(caller.tenant)
        try:
            seq, newest = await self._start(caller.tenant, after)
            yield Alive(newest)
            until = must_come_back_at(caller, self._limits.max_age)
            spoke = time.monotonic()
            while True:
                news.clear()
                found = await self._read(caller.tenant, seq)
                if found is None or self._draining or time.monotonic() >= until:
                    yield ComeBack(seq)
                    return
                for event in found:
                    seq, spoke = event.seq, time.monotonic()
                    yield event
                if len(found) == _BATCH:
                    continue
                if time.monotonic() - spoke >= self._limits.heartbeat:
                    spoke = time.monotonic()
                    yield Alive(seq)
                await news_until(news, min(spoke + self._limits.heartbeat, until), _POLL)
        finally:
            self._bell.leave(news)

    async def _start(self, tenant: str, after: int | None) -> tuple[int, int]:
        """(the seq to go on after, the newest)."""
        async with self._database.connection() as connection:
            newest = (await tree_store.head(connection, tenant)).size - 1
            kept = await events.first_kept(connection, tenant)
        if after is None:
            return newest, newest
        if after == -1:
            return kept - 1, newest
        if not kept - 1 <= after <= newest:
            raise outside("records after the one", kept - 1, newest, newest + 1)
        return after, newest

    async def _read(self, tenant: str, seq: int) -> list[Event] | None:
        """The next events, or None when the store is away: the reader comes back for them."""
        try:
            async with self._database.connection() as connection:
                size = (await tree_store.head(connection, tenant)).size
                return await events.span(connection, tenant, seq + 1, size, _BATCH)
        except AppError as away:
            if away.code is not Code.UNAVAILABLE:
                raise
            log.info("audit events not readable", extra={"reason": away.reason.value})
            return None
