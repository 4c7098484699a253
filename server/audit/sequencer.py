"""The one writer of the log: takes leaves out of audit_pending and gives them their numbers, batch by batch.

Every worker has a sequencer; one leads. Leading is holding an advisory lock with the very connection that appends: who
loses the connection has lost the lock and cannot append any more, both at once. As a second fence each batch locks the
row of `audit_sequencer` and compares the epoch there, in case a pooler or a proxy has broken that bond.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import asyncpg

from server.audit import log_store
from server.audit.batch import Sorted, Tree, place
from server.audit.log_store import Overtaken
from server.audit.notary import Notary
from server.audit.store import CHANNEL
from server.db.errors import AWAY
from server.db.pool import Connection
from server.waiting import within

log = logging.getLogger(__name__)

_LOCK = 0x74726961_61756474  # "triaaudt"; advisory locks are per database
_TRY_LOCK = "select pg_try_advisory_lock($1)"
_LOST = (*AWAY, asyncpg.InterfaceError)
_BAD_CONTENT = (
    asyncpg.DataError,
    asyncpg.CharacterNotInRepertoireError,
    asyncpg.UntranslatableCharacterError,
    asyncpg.ProgramLimitExceededError,
)
"""What one row can do to the whole batch. Nothing else sets rows aside: a damaged tree must not empty the queue."""


@dataclass(frozen=True, slots=True)
class SequencerSettings:
    """Times in seconds. `linger` is waited for company after a wake-up, `poll` is the longest wait without one.

    `standby` is how often a sequencer that does not lead asks for the lock; `statement` bounds a statement.
    """

    batch: int = 4000
    linger: float = 0.01
    poll: float = 1.0
    standby: float = 1.0
    backoff: float = 0.2
    backoff_max: float = 5.0
    statement: float = 30.0


@dataclass(slots=True)
class SequencerStats:
    """Counts since the start. `doubled` leaves came again and were in the log already."""

    leading: bool = False
    leaves: int = 0
    batches: int = 0
    doubled: int = 0
    set_aside: int = 0
    failures: int = 0


class Sequencer:
    """One for each worker process; `run` is its root. The notary signs what it has written."""

    def __init__(self, dsn: str, notary: Notary, settings: SequencerSettings | None = None) -> None:
        self._dsn = dsn
        self._notary = notary
        self._settings = settings or SequencerSettings()
        self._stopping = asyncio.Event()
        self._woken = asyncio.Event()
        self._limit = self._settings.batch
        self._months: set[tuple[int, int]] = set()
        self._backoff = self._settings.backoff
        self.stats = SequencerStats()
        self.leads = asyncio.Event()

    def request_stop(self) -> None:
        """Makes `run` return after the batch that is being written."""
        self._stopping.set()
        self._woken.set()

    async def run(self) -> None:
        """Leads whenever it can, whatever happens to PostgreSQL meanwhile, until told to stop."""
        while not self._stopping.is_set():
            try:
                await self._session()
            except asyncio.CancelledError:
                raise
            except (*_LOST, Overtaken) as lost:
                log.warning("the audit log is not led by this process: %s", type(lost).__name__)
            except Exception:  # the root of the sequencer: leaves wait, and the next attempt may succeed
                self.stats.failures += 1
                log.exception("audit sequencer")
            finally:
                self._step_down()
            await within(self._stopping, self._backoff)
            self._backoff = min(self._backoff * 2, self._settings.backoff_max)

    def _step_down(self) -> None:
        self.stats.leading = False
        self.leads.clear()
        self._months.clear()

    async def _session(self) -> None:
        """One connection: waits for the lock, leads, and ends when told to stop. Raises when the connection is lost."""
        settings = {
            "application_name": "tria-sequencer",
            "statement_timeout": f"{self._settings.statement * 1000:.0f}",
            "lock_timeout": "5000",
            "idle_in_transaction_session_timeout": "10000",
            "tcp_keepalives_idle": "5",
            "tcp_keepalives_interval": "2",
            "tcp_keepalives_count": "3",
        }
        timeout = self._settings.statement + 5.0  # for a peer that vanished without a word
        made = await asyncpg.connect(self._dsn, timeout=5, command_timeout=timeout, server_settings=settings)
        connection = cast("Connection", made)  # what the pool hands out has the same methods
        try:
            while not await connection.fetchval(_TRY_LOCK, _LOCK):
                if await within(self._stopping, self._settings.standby):
                    return
            epoch = await log_store.take_over(connection, f"{socket.gethostname()}-{os.getpid()}")
            await connection.add_listener(CHANNEL, lambda *_: self._woken.set())
            self._notary.look_again()
            self.stats.leading = True
            self.leads.set()
            self._backoff = self._settings.backoff
            log.info("this process leads the audit log", extra={"epoch": epoch})
            await self._lead(connection, epoch)
        finally:
            self._step_down()
            connection.terminate()  # at once, and the lock with it

    async def _lead(self, connection: Connection, epoch: int) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            full = await self._write(connection, epoch)
            if self._notary.due_in() <= 0:
                await self._notary.sign(connection, epoch)
            wait = min(self._settings.poll, self._notary.due_in())
            if not full and await within(self._woken, wait):
                await within(self._stopping, self._settings.linger)
        await self._notary.sign(connection, epoch)

    async def _write(self, connection: Connection, epoch: int) -> bool:
        """One batch; whether there is more. When it fails for its content, smaller ones find the row to blame."""
        try:
            taken = await self._append(connection, epoch)
        except _BAD_CONTENT as bad:
            log.exception("a batch of the audit log failed for its content")
            if self._limit > 1:
                self._limit = 1 + self._limit // 8
                return True
            await self._set_first_aside(connection, epoch, type(bad).__name__)
            return True
        full = taken >= self._limit
        self._limit = min(self._limit * 2, self._settings.batch)
        return full

    async def _append(self, connection: Connection, epoch: int) -> int:
        """Takes, places and writes one batch in one transaction; how many rows it took."""
        async with connection.transaction():
            now = await log_store.fence(connection, epoch)
            rows = await log_store.take(connection, self._limit)
            if not rows:
                return 0
            trees = await log_store.lock_trees(connection, {row.tenant for row in rows})
            batch = place(rows, trees)
            if batch.again:
                for id in await log_store.forget_doubles(connection, batch.again):
                    batch.unfit[id] = "another event has this id"
            if batch.unfit:
                await log_store.set_aside(connection, batch.unfit)
            if batch.placed:
                recorded_at = _not_before(now, trees.values())
                await self._make_room(connection, recorded_at)
                await log_store.append(connection, recorded_at, batch.placed)
                await log_store.grow(connection, recorded_at, batch.growth)
        self._count(batch)
        return len(rows)

    async def _make_room(self, connection: Connection, at: datetime) -> None:
        """The partitions of this month and the next; asked for once a month."""
        if (at.year, at.month) not in self._months:
            await log_store.make_partition(connection, at)
            await log_store.make_partition(connection, at.replace(day=28) + timedelta(days=7))
            self._months = {(at.year, at.month)}

    async def _set_first_aside(self, connection: Connection, epoch: int, reason: str) -> None:
        async with connection.transaction():
            await log_store.fence(connection, epoch)
            unfit = {row.id: reason for row in await log_store.take(connection, 1)}
            await log_store.set_aside(connection, unfit)
        self._count(Sorted(unfit=unfit))

    def _count(self, batch: Sorted) -> None:
        self.stats.batches += 1
        if batch.placed:
            self._notary.look_again()
        self.stats.leaves += len(batch.placed)
        self.stats.doubled += len(batch.again)
        self.stats.set_aside += len(batch.unfit)
        if batch.unfit:
            log.critical("%d audit leaves were set aside: see audit_quarantine", len(batch.unfit))


def _not_before(now: datetime, trees: Iterable[Tree]) -> datetime:
    """The time, or that of the newest event: time in the log never goes back, whatever the clock does."""
    return max([now, *(tree.recorded_at for tree in trees if tree.recorded_at)])
