"""Watching orders: the feed from a cursor on, then live, until the connection is old or the process stops."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from server.audit.sealing import Vault
from server.caller import Caller
from server.db.listening import Bell
from server.db.pool import Database
from server.errors import AppError, Code
from server.order import feed
from server.order.access import outlet_scope
from server.order.feed import FeedEvent
from server.order.states import State
from server.paging import PageTokens
from server.stream_life import Alive, ComeBack, StreamLimits, must_come_back_at, news_until

log = logging.getLogger(__name__)

_BATCH = 100
_POLL = 5.0  # seconds: the longest that a lost notification delays an event
_SPREAD = 2.0  # seconds over which watchers of a stopping process come back


@dataclass(frozen=True, slots=True)
class Changed:
    """A change of an order."""

    cursor: str
    event: FeedEvent


Item = Changed | Alive | ComeBack


class Watching:
    """Streams of order events. `drain` is called once, when the process is about to stop."""

    def __init__(self, database: Database, vault: Vault, bell: Bell, tokens: PageTokens, limits: StreamLimits) -> None:
        self._database = database
        self._vault = vault
        self._bell = bell
        self._tokens = tokens
        self._limits = limits
        self._draining = False

    def drain(self) -> None:
        """Asks every watcher to come back elsewhere."""
        self._draining = True
        self._bell.ring_all()

    async def watch(
        self, caller: Caller, cursor: str, outlet: str, states: Sequence[State]
    ) -> AsyncGenerator[Item, None]:
        """Every change behind the cursor, in order, at least once; without a cursor, from now on.

        The first item is a sign of life with the cursor, so that nothing is missed by who loses the connection before
        anything happens. A customer's own outlet is always meant. Raises INVALID_ARGUMENT for a cursor of another
        tenant; once the stream has begun it ends with ComeBack and never with an error.
        """
        scope = outlet_scope(caller) or outlet.removeprefix("outlets/")
        news = self._bell.join(caller.tenant, scope)
        try:
            seq = await self._start(caller, cursor)
            yield Alive(self._cursor(caller, seq))
            until = must_come_back_at(caller, self._limits.max_age)
            spoke = time.monotonic()
            while True:
                news.clear()
                found = await self._read(caller.tenant, seq, scope, states)
                if found is None or self._draining or time.monotonic() >= until:
                    yield ComeBack(self._cursor(caller, seq), random.uniform(0.1, _SPREAD))  # noqa: S311  # no secret
                    return
                for event in found:
                    seq, spoke = event.seq, time.monotonic()
                    yield Changed(self._cursor(caller, seq), event)
                if len(found) == _BATCH:
                    continue
                if time.monotonic() - spoke >= self._limits.heartbeat:
                    spoke = time.monotonic()
                    yield Alive(self._cursor(caller, seq))
                await news_until(news, min(spoke + self._limits.heartbeat, until), _POLL)
        finally:
            self._bell.leave(news)

    async def _start(self, caller: Caller, cursor: str) -> int:
        if cursor:
            position = self._tokens.read(_query(caller), cursor, 1).after
            return int(position[0]) if position else 0
        async with self._database.connection() as connection:
            return await feed.last_seq(connection, caller.tenant)

    async def _read(self, tenant: str, seq: int, scope: str, states: Sequence[State]) -> list[FeedEvent] | None:
        """The next events, or None when the store is away: the watcher comes back for them."""
        try:
            async with self._database.connection() as connection:
                return await feed.events(connection, self._vault, tenant, seq, scope, states, _BATCH)
        except AppError as away:
            if away.code is not Code.UNAVAILABLE:
                raise
            log.info("order events not readable", extra={"reason": away.reason.value})
            return None

    def _cursor(self, caller: Caller, seq: int) -> str:
        return self._tokens.make(_query(caller), (str(seq),))


def _query(caller: Caller) -> str:
    return f"WatchOrders\n{caller.tenant}\n{outlet_scope(caller)}"
