"""Runs of other processes, followed here: a mirror of each run's shared log, one connection that waits for them all.

A mirror is read whole once, then kept up to date; its followers share it as those of a run's own log do. When Redis is
away or a log ends without its terminal, mirrors are given up, and followers look again (server/chat/following.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from server.audit.sealing import NO_KEYS, Keys, Vault
from server.chat import leases, shared_log
from server.chat.access import run_ids
from server.chat.cluster_reader import ClusterReader
from server.chat.events import WireEntry
from server.chat.runlog import RunLog
from server.chat.shared_log import AWAY, LogReader, News, Sealed, SharedLog
from server.db.pool import Database
from server.errors import AppError

log = logging.getLogger(__name__)

_PAUSE = 0.5  # seconds between tries while Redis is away
_LOOK = 2.0  # seconds between looks at the rows of mirrored runs, and the silence after which one is looked at
_TOUCH = 15.0  # seconds between notes that somebody waits, at most


class _Mirror:
    """A log with what is needed to read on."""

    def __init__(self, log: RunLog) -> None:
        self.log = log
        self.key = shared_log.log_key(log.tenant, log.run)
        self.position = "0-0"
        self.keys: Keys = NO_KEYS

    @property
    def ids(self) -> tuple[str, str, str]:
        return self.log.tenant, *run_ids(self.log.run)


class Mirrors:
    """The mirrors of one process. `alone` is how many seconds a run goes on that nobody is known to follow."""

    def __init__(
        self, store: SharedLog, reader: LogReader | ClusterReader, database: Database, vault: Vault, *, alone: float
    ) -> None:
        self._store = store
        self._reader = reader
        self._database = database
        self._vault = vault
        self._mirrors: dict[str, _Mirror] = {}
        self._wanted = asyncio.Event()
        self._touch = min(_TOUCH, alone / 4)
        self._touched_at = 0.0

    @property
    def held(self) -> int:
        """Mirrors in memory."""
        return len(self._mirrors)

    async def mirror(self, tenant: str, run: str, outlet: str, *, coming: bool) -> RunLog | None:
        """The log of a run that another process has; None when there is none, unless it is `coming`, or when Redis is
        away."""
        held = self._mirrors.get(shared_log.log_key(tenant, run))
        if held is not None and not held.log.given_up:
            return held.log
        made = _Mirror(RunLog(run, tenant, outlet))
        try:
            found = await self._store.read(tenant, run)
            if found is None and not coming:
                return None
            if found is not None and not await self._take(made, found):
                return None
            if held := self._mirrors.get(made.key):
                return held.log  # somebody else was quicker
            if not made.log.ended:
                self._mirrors[made.key] = made
                self._wanted.set()
                await self._reader.ring()
        except AWAY as problem:
            log.info("shared log not read: %s", type(problem).__name__)
            return None
        return made.log

    def drop_all(self) -> None:
        """Lets every follower look again."""
        for mirror in self._mirrors.values():
            mirror.log.give_up()
        self._mirrors.clear()

    def forget(self, tenant: str, _person: str) -> None:
        """Somebody of the tenant was erased: what is theirs is not told from what is not, and can be read again."""
        for key in [key for key, mirror in self._mirrors.items() if mirror.log.tenant == tenant]:
            self._mirrors.pop(key).log.give_up()

    def wake_all(self) -> None:
        for mirror in self._mirrors.values():
            mirror.log.wake()

    async def keep_reading(self) -> None:
        """Root of the reading task."""
        while True:
            await self._wanted.wait()
            if not self._mirrors:
                self._wanted.clear()
                continue
            try:
                news = await self._reader.news({key: mirror.position for key, mirror in self._mirrors.items()})
                for key, found in news.items():
                    await self._hear(key, found)
            except AWAY as problem:
                log.warning("other processes' runs are not seen: %s", type(problem).__name__)
                self.drop_all()
                await asyncio.sleep(_PAUSE)

    async def keep_looking(self) -> None:
        """Root of the task that says who is waited for, and finds out which runs ended unheard."""
        while True:
            await asyncio.sleep(min(_LOOK, self._touch))
            long_ago = time.monotonic() - _LOOK
            for key, mirror in list(self._mirrors.items()):
                if not mirror.log.followers and max(mirror.log.alone_since, mirror.log.changed_at) < long_ago:
                    del self._mirrors[key]
            try:
                await self._look()
            except AppError as problem:
                log.debug("mirrored runs not looked at", extra={"reason": problem.reason})

    async def _look(self) -> None:
        now = time.monotonic()
        followed = [mirror for mirror in self._mirrors.values() if mirror.log.followers]
        silent = [mirror for mirror in followed if now - mirror.log.changed_at > _LOOK]
        if not followed:
            return
        async with self._database.connection() as connection:
            going_on = await leases.going_on(connection, [mirror.ids for mirror in silent]) if silent else set()
            if now - self._touched_at > self._touch:
                await leases.touch(connection, [mirror.ids for mirror in followed])
                self._touched_at = now
        for mirror in silent:
            if mirror.ids not in going_on and now - mirror.log.changed_at > _LOOK:
                self._mirrors.pop(mirror.key, None)
                mirror.log.give_up()

    async def _hear(self, key: str, found: News) -> None:
        mirror = self._mirrors.get(key)
        if mirror is None:
            return
        try:
            readable = await self._take(mirror, found)
        except AppError as problem:
            log.info("a shared log cannot be opened", extra={"reason": problem.reason})
            readable = False
        if not readable:
            mirror.log.give_up()
        if mirror.log.ended or mirror.log.given_up:
            self._mirrors.pop(key, None)

    async def _take(self, mirror: _Mirror, news: News) -> bool:
        """Adds what was read; False when it cannot be opened, or something before it is missing."""
        entries = self._opened(mirror, news.events)
        if entries is None:
            boxes = [event.box for event in news.events]
            async with self._database.connection() as connection:
                mirror.keys = await self._vault.keys_of(connection, mirror.log.tenant, boxes)
            entries = self._opened(mirror, news.events)
        if entries is None:
            return False
        mirror.log.adopt(entries)
        mirror.position = news.last
        return not entries or mirror.log.last_seq >= entries[-1].seq

    def _opened(self, mirror: _Mirror, found: Sequence[Sealed]) -> list[WireEntry] | None:
        entries = []
        for item in found:
            wire = mirror.keys.content(item.box, *shared_log.place(mirror.log.run, item.seq))
            if wire is None:
                return None
            entries.append(WireEntry(item.seq, wire, item.epoch, item.terminal))
        return entries
