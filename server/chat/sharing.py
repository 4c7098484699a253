"""What this process's runs say, written to the shared log behind their backs: a run never waits for it.

One task writes for all runs: what came since its last round trip goes out with the next, in one pipeline. While Redis
is away the chat goes on, each run warns its followers once, and everything that is missing is written when Redis is
back, since a run's own log holds it all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from server.audit.sealing import SubjectKey, Vault
from server.chat import shared_log
from server.chat.events import Entry, LogEntry, Warned, WarningCode, WireEntry
from server.chat.runlog import RunLog
from server.chat.shared_log import AWAY, Batch, SharedLog, Written
from server.db.pool import Database
from server.errors import AppError
from server.waiting import within

log = logging.getLogger(__name__)

_LINGER = 0.004  # seconds in which what comes goes out together
_PAUSE = 0.5  # seconds between tries while Redis is away
_MOST_EVENTS = 500  # of one run in one round trip
_GONE_AFTER = 60.0  # seconds after which an ended log that could not be written is let go

Encode = Callable[[str, LogEntry], bytes]
"""An event of a run, by the run's name, as its followers get it."""


class _Share:
    """One log on its way out: what of it is written, and with which key."""

    def __init__(self, log: RunLog) -> None:
        self.log = log
        self.written = 0
        self.key: SubjectKey | None = None
        self.warned = False
        self.ended_at: float | None = None


class Sharing:
    """Writes the logs of one process. `fenced` hears of a log whose run another process has by now."""

    def __init__(self, store: SharedLog, database: Database, vault: Vault, encode: Encode) -> None:
        self._store = store
        self._database = database
        self._vault = vault
        self._encode = encode
        self._shares: dict[RunLog, _Share] = {}
        self._dirty: set[RunLog] = set()
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.fenced: Callable[[RunLog], None] = _ignore
        self.away = False

    def changed(self, run_log: RunLog) -> None:
        """Something was added to the log."""
        share = self._shares.get(run_log)
        if share is None:
            share = self._shares[run_log] = _Share(run_log)
        if self.away:
            self._warn(share)
        if run_log.ended:
            share.ended_at = time.monotonic()
        self._dirty.add(run_log)
        self._idle.clear()
        self._news.set()

    def continued(self, run_log: RunLog, written: int) -> None:
        """A log that was taken over: what came before is there already."""
        self._shares[run_log] = _Share(run_log)
        self._shares[run_log].written = written

    async def flushed(self, patience: float) -> bool:
        """Waits until everything is written; False when it took too long."""
        return await within(self._idle, patience)

    async def keep_writing(self) -> None:
        """Root of the writing task."""
        while True:
            await self._news.wait()
            self._news.clear()
            await asyncio.sleep(_LINGER)
            try:
                await self._write()
            except AWAY as problem:
                self._lost_sight(problem)
                await asyncio.sleep(_PAUSE)
                self._news.set()
            except AppError as problem:  # a key could not be read: PostgreSQL is away
                log.debug("runs not shared yet", extra={"reason": problem.reason})
                await asyncio.sleep(_PAUSE)
                self._news.set()

    async def _write(self) -> None:
        shares = [self._shares[run_log] for run_log in self._dirty if run_log in self._shares]
        ready = [(share, share.log.since(share.written)[:_MOST_EVENTS]) for share in shares]
        ready = [(share, entries) for share, entries in ready if entries]
        batches = [await self._batch(share, entries) for share, entries in ready]
        if batches:
            results = await self._store.append(batches)
            self.away = False
            for (share, _), (written, last) in zip(ready, results, strict=True):
                self._note(share, written, last)
        self._tidy(shares)

    async def _batch(self, share: _Share, entries: Sequence[Entry]) -> Batch:
        run = share.log.run
        if share.key is None:
            async with self._database.connection() as connection:
                share.key = await self._vault.key_for(connection, share.log.tenant, share.log.person)
        boxes = []
        for entry in entries:
            wire = entry.wire if isinstance(entry, WireEntry) else self._encode(run, entry)
            boxes.append((entry.terminal, shared_log.seal(share.key, run, entry.seq, wire)))
        return Batch(share.log.tenant, run, share.log.epoch, entries[0].seq, boxes)

    def _note(self, share: _Share, written: Written, last: int) -> None:
        if written is Written.FENCED:
            log.warning("run has another owner", extra={"run": share.log.run, "epoch": share.log.epoch})
            self._shares.pop(share.log, None)
            self.fenced(share.log)
        elif written is Written.GAP and not share.log.reaches_back_to(last):
            self._shares.pop(share.log, None)  # Redis lost it, and what is here does not reach back
        else:
            share.written = last

    def _tidy(self, shares: Sequence[_Share]) -> None:
        """Forgets what is done; what is not stays on the list."""
        for share in shares:
            if share.log not in self._shares or share.written >= share.log.last_seq or share.log.given_up:
                self._dirty.discard(share.log)
                if share.log.ended or share.log.given_up:
                    self._shares.pop(share.log, None)
        if self._dirty:
            self._news.set()
        else:
            self._idle.set()

    def _lost_sight(self, problem: BaseException) -> None:
        if not self.away:
            log.warning("runs are followed here only: %s", type(problem).__name__)
        self.away = True
        long_ago = time.monotonic() - _GONE_AFTER
        for run_log in list(self._dirty):
            share = self._shares.get(run_log)
            if share is None or (share.ended_at is not None and share.ended_at < long_ago):
                self._dirty.discard(run_log)
                self._shares.pop(run_log, None)
            else:
                self._warn(share)

    def _warn(self, share: _Share) -> None:
        """Says once that the run can be followed here only."""
        if not share.warned and not share.log.ended and not share.log.closing:
            share.warned = True
            share.log.append(Warned(WarningCode.RESUME_UNAVAILABLE))


def _ignore(_: RunLog) -> None:
    """Nobody wants to hear of it."""
