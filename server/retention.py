"""Removes what is too old, every night: in small transactions, each with its audit leaf."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, LiteralString

import asyncpg

from server.audit.actions import Action
from server.audit.actor import Shown
from server.audit.changes import Author
from server.caller import AuthMethod, Caller, Role
from server.db.pool import Database
from server.retention_policy import AUDIT, Kind, RetentionDays, cutoffs

log = logging.getLogger(__name__)

_BATCH = 500

NOTE_RUN: Final[LiteralString] = """
insert into retention_run (started_at, removed) values ($1, $2)"""


@dataclass(frozen=True, slots=True)
class Retention:
    """The night's work. `batch` bounds a transaction."""

    database: Database
    days: RetentionDays
    batch: int = _BATCH

    async def old(self, now: datetime) -> Mapping[str, int]:
        """How many rows of each kind `run` would remove."""
        found = {}
        async with self.database.transaction(readonly=True) as connection:
            for name, (kind, cutoff) in cutoffs(self.days, now).items():
                found[name] = sum([row["count"] for row in await connection.fetch(kind.old, cutoff)])
        return found

    async def run(self, now: datetime) -> Mapping[str, int]:
        """Removes them, and returns how many there were."""
        removed = {}
        for name, (kind, cutoff) in cutoffs(self.days, now).items():
            removed[name] = await self._remove(kind, cutoff)
        async with self.database.connection() as connection:
            await connection.execute(NOTE_RUN, now, json.dumps(removed))
        log.info("retention", extra={"removed": removed})
        return removed

    async def nightly(self) -> None:
        """The periodic job of the worker."""
        await self.run(datetime.now(UTC))

    async def _remove(self, kind: Kind, cutoff: datetime) -> int:
        total = 0
        while True:
            try:
                count = await self._batch(kind, cutoff)
            except asyncpg.RaiseError as refused:
                # The log does not let go of what no checkpoint covers; the other kinds need not wait for it.
                log.warning("retention of %s was refused: %s", kind.name, refused)
                return total
            total += count
            # The audit log goes by whole months and in one piece.
            if count < self.batch or kind is AUDIT:
                return total

    async def _batch(self, kind: Kind, cutoff: datetime) -> int:
        """One transaction: some rows, and a leaf in the log of each tenant that they belonged to."""
        async with self.database.transaction() as connection:
            rows = await connection.fetch(kind.remove, cutoff, self.batch)
            for row in rows:
                system = Caller(row["tenant"], "system:retention", frozenset({Role.SERVICE}), AuthMethod.NONE)
                details = {"kind": kind.name, "removed": row["count"], "older_than": cutoff.isoformat()}
                await Author(system, None, Shown(None)).record(
                    connection, Action.DATA_DELETE, (f"retention/{kind.name}",), details
                )
            return sum(row["count"] for row in rows)
