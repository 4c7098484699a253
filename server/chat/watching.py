"""Watching a conversation: the feed from a cursor on, then live, until the connection is old or the process stops.

An idle watcher costs its stream, an event and a timer: it reads only when the bell rings for its conversation, and the
bell rings for everybody when notifications may have been missed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from server.audit.sealing import Vault
from server.caller import Caller
from server.chat import feed
from server.chat.access import conversation_id, outlet_scope
from server.chat.feed import Bell, FeedEvent
from server.db.pool import Database
from server.errors import AppError, Code, not_found
from server.paging import PageTokens
from server.stream_life import Alive, ComeBack, StreamLimits, must_come_back_at
from server.waiting import within

log = logging.getLogger(__name__)

_BATCH = 100
_AT_ONCE = 8  # readers of the store at once, however many watchers wake together
_SPREAD = 2.0  # seconds over which watchers of a stopping process come back
_SLOW = 20.0  # seconds that the other side may take for one event before it is sent away


@dataclass(frozen=True, slots=True)
class Told:
    """Something happened in the conversation."""

    cursor: str
    event: FeedEvent


Item = Told | Alive | ComeBack


class Watching:
    """Streams of what happens in conversations. `drain` is called once, when the process is about to stop."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        bell: Bell,
        tokens: PageTokens,
        limits: StreamLimits,
        slow: float = _SLOW,
    ) -> None:
        self._database = database
        self._vault = vault
        self._bell = bell
        self._tokens = tokens
        self._limits = limits
        self._slow = slow
        self._readers = asyncio.Semaphore(_AT_ONCE)
        self._draining = False

    @property
    def watchers(self) -> int:
        """Watchers of this process."""
        return self._bell.watchers

    async def keep_listening(self) -> None:
        """Root of the task that hears what happens in other processes."""
        await self._bell.keep_listening()

    def drain(self) -> None:
        """Asks every watcher to come back elsewhere."""
        self._draining = True
        self._bell.ring_all()

    async def watch(self, caller: Caller, name: str, cursor: str) -> AsyncGenerator[Item, None]:
        """Every event behind the cursor, in order, at least once; without a cursor, from now on.

        The first item is a sign of life with the cursor, so that nothing is missed by who loses the connection before
        anything happens. Raises NOT_FOUND, and INVALID_ARGUMENT for a cursor of another conversation or caller; once
        the stream has begun it ends with ComeBack and never with an error.
        """
        conversation = conversation_id(name)
        news = self._bell.join(caller.tenant, conversation)
        try:
            seq = await self._start(caller, conversation, cursor)
            until = must_come_back_at(caller, self._limits.max_age)
            yield Alive(self._cursor(caller, conversation, seq))
            while not self._leaves(until):
                news.clear()
                found = await self._read(caller.tenant, conversation, seq)
                if found is None:
                    break
                for event in found:
                    asked = time.monotonic()
                    yield Told(self._cursor(caller, conversation, event.seq), event)
                    seq = event.seq
                    if time.monotonic() - asked > self._slow:
                        until = 0.0  # sent away: the rest of what was read is not kept for it
                        break
                while len(found) < _BATCH and not await self._rings(news, until):
                    yield Alive(self._cursor(caller, conversation, seq))
            yield ComeBack(self._cursor(caller, conversation, seq), random.uniform(0.1, _SPREAD))  # noqa: S311  # no secret
        finally:
            self._bell.leave(caller.tenant, conversation, news)

    async def _start(self, caller: Caller, conversation: str, cursor: str) -> int:
        async with self._readers, self._database.connection() as connection:
            last = await feed.last_seq(connection, caller.tenant, conversation, outlet_scope(caller))
        if last is None:
            raise not_found(f"conversations/{conversation}")
        if not cursor:
            return last
        position = self._tokens.read(_query(caller, conversation), cursor, 1).after
        return int(position[0]) if position else 0

    async def _read(self, tenant: str, conversation: str, seq: int) -> list[FeedEvent] | None:
        """The next events, or None when the store is away: the watcher comes back for them."""
        try:
            async with self._readers, self._database.connection() as connection:
                return await feed.events(connection, self._vault, tenant, conversation, seq, _BATCH)
        except AppError as away:
            if away.code is not Code.UNAVAILABLE:
                raise
            log.info("conversation events not readable", extra={"reason": away.reason.value})
            return None

    def _leaves(self, until: float) -> bool:
        return self._draining or time.monotonic() >= until

    async def _rings(self, news: asyncio.Event, until: float) -> bool:
        """Waits; True when there is something to do, False when only a heartbeat is due."""
        patience = min(self._limits.heartbeat, until - time.monotonic())
        return await within(news, max(0.0, patience)) or self._leaves(until)

    def _cursor(self, caller: Caller, conversation: str, seq: int) -> str:
        return self._tokens.make(_query(caller, conversation), (str(seq),))


def _query(caller: Caller, conversation: str) -> str:
    return f"WatchConversation\n{caller.tenant}\n{outlet_scope(caller)}\n{conversation}"
