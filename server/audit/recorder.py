"""Durable recording of audit leaves: group commit into PostgreSQL, a spool on disk while PostgreSQL is away.

One writer task per process takes whatever has gathered and inserts it in one statement, so the cost of durability is
shared by the calls that wait for it. When the insert fails for any reason the same batch goes to an fsynced spool file
and is replayed later; `event_id` is unique, so a batch whose commit was in doubt is not doubled. Only when both fail is
a leaf lost: it is counted, logged, and whoever waited for it gets AUDIT_UNAVAILABLE.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeAlias

import asyncpg

from server.audit import store
from server.audit.actions import Action, Decision
from server.audit.actor import Shown
from server.audit.changes import Author
from server.audit.file import AuditFile
from server.audit.leaf import Leaf, Plain
from server.audit.spool import Segment, Spool
from server.audit.store import Entry
from server.caller import Caller, Request
from server.db.errors import ConstraintViolated
from server.db.pool import Connection, Database
from server.errors import AppError, Code, Reason
from server.owned_tasks import end
from server.pii.pseudonym import Pseudonyms

log = logging.getLogger(__name__)

_REFUSED = (AppError, ConstraintViolated, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
"""What an insert may end with when PostgreSQL is away, read-only, full, not migrated … (TimeoutError is an OSError)."""

_BAD_CONTENT = (asyncpg.DataError, ConstraintViolated)

Waiting: TypeAlias = tuple[Entry, "asyncio.Future[None]"]


@dataclass(frozen=True, slots=True)
class RecorderSettings:
    """Times in seconds. `linger` is waited for company under load only; `queue` bounds the leaves that wait;
    `wake_interval` is how often at most the sequencer is told."""

    linger: float = 0.002
    batch: int = 1000
    queue: int = 10_000
    insert_timeout: float = 2.0
    replay_interval: float = 0.5
    replay_batch: int = 1000
    spool_retry: float = 1.0
    wake_interval: float = 0.1


@dataclass(slots=True)
class RecorderStats:
    """Counts since the start; `queued` is now. `lost` must stay 0; `bare` are leaves without the details that could not
    be encoded."""

    written: int = 0
    spooled: int = 0
    replayed: int = 0
    rejected: int = 0
    lost: int = 0
    bare: int = 0
    file_failures: int = 0
    queued: int = 0
    spool_pending: int = 0


@dataclass(slots=True)
class _Queue:
    waiting: deque[Waiting] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    empty: asyncio.Event = field(default_factory=asyncio.Event)


def unavailable() -> AppError:
    """UNAVAILABLE: what must be recorded cannot be."""
    return AppError(Code.UNAVAILABLE, Reason.AUDIT_UNAVAILABLE, "the audit log cannot be written", retry_after=1.0)


class AuditRecorder:
    """Records leaves for one process. Use as `async with` or with `start()` and `close()`; `close` drains the queue."""

    def __init__(
        self,
        database: Database,
        spool: Spool,
        file: AuditFile | None,
        settings: RecorderSettings | None = None,
        *,
        pseudonyms: Pseudonyms | None = None,
    ) -> None:
        self.shown = Shown(pseudonyms)
        self._database = database
        self._spool = spool
        self._file = file
        self._settings = settings or RecorderSettings()
        self._queue = _Queue()
        self._queue.room.set()
        self._queue.empty.set()
        self._disk = asyncio.Lock()  # the spool is used by the writer and the replayer
        self._spooled = asyncio.Event()
        self._broken_until = 0.0
        self._wake_at = 0.0
        self._loaded = False
        self._stats = RecorderStats()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Starts the writer, and the replay of what an earlier process left in the spool."""
        self._spooled.set()
        self._tasks = [
            asyncio.create_task(self._keep_writing(), name="audit-writer"),
            asyncio.create_task(self._keep_replaying(), name="audit-replay"),
        ]

    async def close(self) -> None:
        """Returns when everything submitted is in PostgreSQL or in the spool, and the tasks have ended."""
        if self._tasks:
            await self._queue.empty.wait()
        await end(self._tasks)
        self._tasks = []
        await asyncio.to_thread(self._spool.close)
        if self._file is not None:
            await asyncio.to_thread(self._file.close)

    def stats(self) -> RecorderStats:
        """The counters, live; read them, do not write them."""
        self._stats.queued = len(self._queue.waiting)
        return self._stats

    def check(self) -> None:
        """Raises AUDIT_UNAVAILABLE for a moment after neither PostgreSQL nor the spool took a leaf; never waits.

        A mutating call asks before it does anything, so that it fails closed instead of leaving an unrecorded change.
        """
        if asyncio.get_running_loop().time() < self._broken_until:
            raise unavailable()

    async def writable(self) -> bool:
        """Whether a leaf could be recorded now, in PostgreSQL or in the spool; tries both without leaving a leaf."""
        try:
            async with self._database.connection(self._settings.insert_timeout) as connection:
                await store.add(connection, [])
        except _REFUSED:
            try:
                async with self._disk:
                    await asyncio.to_thread(self._spool.append, [])
            except OSError:
                return False
        return True

    async def record(self, leaf: Leaf) -> None:
        """Returns when the leaf is durable. Raises AUDIT_UNAVAILABLE when it could not be made so."""
        try:
            await self._queue.room.wait()
        finally:
            recorded = self.submit(leaf)  # also when the caller is cancelled while it waits for room
        await asyncio.shield(recorded)

    def submit(self, leaf: Leaf) -> asyncio.Future[None]:
        """Hands the leaf to the writer without waiting; for calls that are being cancelled, and for `record`."""
        queue = self._queue
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = Entry.of(leaf)
        self._stats.bare += entry.bare
        queue.waiting.append((entry, future))
        queue.arrived.set()
        queue.empty.clear()
        if len(queue.waiting) >= self._settings.queue:
            queue.room.clear()
        return future

    async def record_change(
        self,
        connection: Connection,
        caller: Caller,
        request: Request | None,
        action: Action,
        targets: Sequence[str],
        details: Mapping[str, Plain],
        *,
        decision: Decision = Decision.ALLOWED,
    ) -> Leaf:
        """Writes a CHANGE leaf inside the caller's own transaction: the change and its record commit together."""
        author = Author(caller, request, self.shown)
        return await author.record(connection, action, targets, details, decision=decision)

    async def _keep_writing(self) -> None:
        """Root of the writer task."""
        queue = self._queue
        while True:
            await queue.arrived.wait()
            if self._loaded:
                await asyncio.sleep(self._settings.linger)
            batch = self._take()
            self._loaded = len(batch) > 1
            try:
                await self._store(batch)
            except asyncio.CancelledError:
                raise
            except Exception as defect:  # the root of the writer: the next batch must still be written
                log.exception("audit writer")
                self._lose(batch, defect)
            if not queue.waiting:
                queue.empty.set()

    def _take(self) -> list[Waiting]:
        queue = self._queue
        batch = [queue.waiting.popleft() for _ in range(min(len(queue.waiting), self._settings.batch))]
        if not queue.waiting:
            queue.arrived.clear()
        if len(queue.waiting) < self._settings.queue:
            queue.room.set()
        return batch

    async def _store(self, batch: list[Waiting]) -> None:
        entries = [entry for entry, _ in batch]
        try:
            await self._insert(entries)
            self._stats.written += len(entries)
            self._broken_until = 0.0
        except _REFUSED as refused:
            if not await self._keep(entries, refused):
                self._lose(batch, refused)
                return
        for _, future in batch:
            if not future.done():
                future.set_result(None)
        await self._append_to_file(entries)

    async def _insert(self, entries: Sequence[Entry]) -> None:
        timeout = self._settings.insert_timeout
        async with asyncio.timeout(timeout):
            async with self._database.connection(timeout) as connection:
                await store.add(connection, entries)
                now = asyncio.get_running_loop().time()
                if now >= self._wake_at:
                    self._wake_at = now + self._settings.wake_interval
                    await store.wake(connection)

    async def _keep(self, entries: Sequence[Entry], refused: BaseException) -> bool:
        """Spools the entries; False when the disk refuses too."""
        try:
            async with self._disk:
                await asyncio.to_thread(self._spool.append, [entry.encoded for entry in entries])
        except OSError:
            log.exception("the audit spool cannot be written")
            self._broken_until = asyncio.get_running_loop().time() + self._settings.spool_retry
            return False
        if not self._spooled.is_set():
            log.warning("audit leaves go to the spool: %s", type(refused).__name__)
        self._broken_until = 0.0
        self._stats.spooled += len(entries)
        self._stats.spool_pending += len(entries)
        self._spooled.set()
        return True

    def _lose(self, batch: Sequence[Waiting], cause: BaseException) -> None:
        log.critical("%d audit leaves are lost: %s", len(batch), type(cause).__name__)
        self._stats.lost += len(batch)
        for _, future in batch:
            if not future.done():
                future.set_exception(unavailable())
                future.exception()  # a cancelled call has nobody left to look at it

    async def _append_to_file(self, entries: Sequence[Entry]) -> None:
        if self._file is None:
            return
        try:
            await asyncio.to_thread(self._file.append, [entry.encoded for entry in entries])
        except OSError:
            self._stats.file_failures += 1
            log.exception("the audit file cannot be written")

    async def _keep_replaying(self) -> None:
        """Root of the replay task: whenever something is spooled and PostgreSQL is there, bring it over."""
        while True:
            await self._spooled.wait()
            self._spooled.clear()
            try:
                done = await self._replay()
            except asyncio.CancelledError:
                raise
            except Exception:  # the root of the replay: the segment stays where it is and is tried again
                log.exception("audit replay")
                done = False
            if not done:
                self._spooled.set()
                await asyncio.sleep(self._settings.replay_interval)

    async def _replay(self) -> bool:
        """True when nothing is left in the spool that this process could claim."""
        while self._database.available:
            async with self._disk:
                segment = await asyncio.to_thread(self._spool.claim)
            if segment is None:
                return True
            try:
                await self._bring_over(segment)
            except _REFUSED as refused:
                log.info("the audit spool waits: %s", type(refused).__name__)
                segment.release()
                return False
            except BaseException:  # also when cancelled: a segment that stays claimed is never replayed
                segment.release()
                raise
            await asyncio.to_thread(segment.remove)
            self._stats.replayed += len(segment.leaves)
            self._stats.spool_pending = max(0, self._stats.spool_pending - len(segment.leaves))
            log.info("%d audit leaves were replayed from the spool", len(segment.leaves))
        return False

    async def _bring_over(self, segment: Segment) -> None:
        size = self._settings.replay_batch
        for start in range(0, len(segment.leaves), size):
            chunk = segment.leaves[start : start + size]
            try:
                await self._insert([Entry.from_bytes(leaf) for leaf in chunk])
            except (ValueError, *_BAD_CONTENT):
                for leaf in chunk:
                    await self._bring_over_one(leaf)

    async def _bring_over_one(self, leaf: bytes) -> None:
        try:
            await self._insert([Entry.from_bytes(leaf)])
        except (ValueError, *_BAD_CONTENT):
            # One leaf that can never be inserted must not hold up all the others.
            log.exception("an audit leaf was set aside")
            self._stats.rejected += 1
            await asyncio.to_thread(self._spool.reject, leaf)
