"""Removes what is too old, every night: in small transactions, each with its audit leaf. One kind of data that cannot
be removed does not keep the others."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, LiteralString

import asyncpg
from asyncpg import Record

from server.audit.actions import Action
from server.audit.actor import Shown
from server.audit.changes import Author
from server.caller import AuthMethod, Caller, Role
from server.db.errors import ConstraintViolated
from server.db.pool import Connection, Database
from server.errors import AppError
from server.retention_policy import AUDIT, Kind, RetentionDays, cutoffs

log = logging.getLogger(__name__)

_BATCH = 500
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_FAILURES = (AppError, ConstraintViolated, asyncpg.PostgresError, asyncpg.InterfaceError)

NOTE_RUN: Final[LiteralString] = """
insert into retention_run (started_at, removed, failed) values ($1, $2, $3)"""

BE_PATIENT: Final[LiteralString] = "select set_config('statement_timeout', $1, true)"


@dataclass(frozen=True, slots=True)
class Report:
    """What a night did: rows removed by kind, and why some kinds could not be brought to an end."""

    removed: Mapping[str, int]
    failed: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Retention:
    """The night's work. `batch` bounds a transaction; `failed` is told each kind that could not be removed."""

    database: Database
    days: RetentionDays
    batch: int = _BATCH
    failed: Callable[[str], None] = lambda _kind: None

    async def old(self, now: datetime) -> Mapping[str, int]:
        """How many rows of each kind `run` would remove."""
        found = {}
        async with self.database.transaction(readonly=True) as connection:
            for name, (kind, cutoff) in cutoffs(self.days, now).items():
                found[name] = sum([row["count"] for row in await _patiently(connection, kind, kind.old, cutoff)])
        return found

    async def run(self, now: datetime) -> Report:
        """Removes them. Raises AppError when not even the report can be written."""
        removed: dict[str, int] = {}
        failed: dict[str, str] = {}
        for name, (kind, cutoff) in cutoffs(self.days, now).items():
            removed[name] = 0
            try:
                async for count in self._batches(kind, cutoff):
                    removed[name] += count
            except _FAILURES as failure:
                # The log does not let go of what no checkpoint covers, a table is locked: the others need not wait.
                failed[name] = failure.message if isinstance(failure, AppError) else str(failure)
                self.failed(name)
                log.exception("retention of %s failed", name)
        async with self.database.connection() as connection:
            await connection.execute(NOTE_RUN, now, json.dumps(removed), json.dumps(failed))
        log.info("retention", extra={"removed": removed, "failed": failed})
        return Report(removed, failed)

    async def nightly(self) -> None:
        """The periodic job of the worker."""
        await self.run(datetime.now(UTC))

    async def _batches(self, kind: Kind, cutoff: datetime) -> AsyncIterator[int]:
        since, count = _BEGINNING, self.batch
        # The audit log goes by whole months and in one piece.
        while count >= self.batch and since < cutoff:
            count, since = await self._batch(kind, cutoff, since)
            yield count
            if kind is AUDIT:
                return

    async def _batch(self, kind: Kind, cutoff: datetime, since: datetime) -> tuple[int, datetime]:
        """One transaction: some rows, and a leaf in the log of each tenant that they belonged to. Returns how many, and
        how new the newest was."""
        async with self.database.transaction() as connection:
            rows = await _patiently(connection, kind, kind.remove, cutoff, self.batch, since)
            for row in rows:
                system = Caller(row["tenant"], "system:retention", frozenset({Role.SERVICE}), AuthMethod.NONE)
                details = {"kind": kind.name, "removed": row["count"], "older_than": cutoff.isoformat()}
                await Author(system, None, Shown(None)).record(
                    connection, Action.DATA_DELETE, (f"retention/{kind.name}",), details
                )
        return sum(row["count"] for row in rows), max((row["until"] for row in rows), default=cutoff)


async def _patiently(connection: Connection, kind: Kind, sql: LiteralString, *arguments: object) -> list[Record]:
    """The rows of a statement that may take as long as its kind does."""
    if kind.patience is None:
        return await connection.fetch(sql, *arguments)
    await connection.execute(BE_PATIENT, f"{kind.patience * 1000:.0f}")
    return await connection.fetch(sql, *arguments, timeout=kind.patience + 5.0)
