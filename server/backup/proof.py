"""What a restored audit log is proven to be: each tenant's log is exported and verified as anybody else would, against
the checkpoint of the backup and those that were kept elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from server.audit import events, tree_store
from server.audit.checkpoint import Checkpoint, NoteInvalid, open_note
from server.audit.exporting import Exporting, FormatName, format_of
from server.audit.proofs import NotProven, verify_consistency
from server.audit.tree_store import Head
from server.audit.verifying import ExportVerifier, Rejected
from server.backup.manifest import LogState
from server.db.pool import Database
from server.errors import AppError
from server.signing import PublicKey

_ABSENT = LogState(0, 0, "")


class LogBroken(Exception):
    """A log is not what was signed; the message names the tenant and the first thing that is wrong."""


@dataclass(frozen=True, slots=True)
class LogProof:
    """One tenant's log. `proven` records are read and under a signature, `retired` were dropped by retention before,
    `unsigned` are in the tree above the newest checkpoint. `compared` is the size of the largest kept checkpoint that
    the log was found to continue, `newest_kept` that of the newest there is: between `size` and it records are lost."""

    tenant: str
    size: int
    proven: int
    retired: int
    unsigned: int
    compared: int
    newest_kept: int

    @property
    def lost(self) -> int:
        return max(0, self.newest_kept - self.size)


@dataclass(frozen=True, slots=True)
class LogProofs:
    """Proves logs of one database; `keys` may sign them."""

    database: Database
    keys: Sequence[PublicKey]
    tell: Callable[[str, int, int], None]

    async def prove(self, logs: Mapping[str, LogState], kept: Mapping[str, Sequence[Checkpoint]]) -> Sequence[LogProof]:
        """All logs that the backup, a kept checkpoint or the database tells of: one that is not there has no records,
        and all that was signed of it is lost. Raises LogBroken, AppError when the database goes away."""
        async with self.database.connection() as connection:
            there = await tree_store.tenants(connection)
        tenants = sorted({*logs, *kept, *there})
        return [await self._log(tenant, logs.get(tenant, _ABSENT), kept.get(tenant, ())) for tenant in tenants]

    async def _log(self, tenant: str, state: LogState, kept: Sequence[Checkpoint]) -> LogProof:
        async with self.database.connection() as connection:
            head = await tree_store.head(connection, tenant)
            first = await events.first_kept(connection, tenant)
            latest = await tree_store.latest_checkpoint(connection, tenant)
        signed = latest.size if latest else 0
        if head.size < state.size:
            raise LogBroken(f"the log of {tenant} has {head.size} records, the backup had {state.size}")
        if signed < state.signed:
            raise LogBroken(
                f"the log of {tenant} is signed for {signed} records, that of the backup for {state.signed}"
            )
        try:
            if signed > first:
                ours = await self._verified(tenant, first)
                proven = ours.size - first
            else:  # nothing that is signed is left to read: a log without a checkpoint, or retired
                ours, proven = head, 0
            if state.note:
                await self._same_log(tenant, ours, open_note(state.note, self.keys).checkpoint)
            compared = await self._compared(tenant, ours, [each for each in kept if each.size <= head.size])
        except (Rejected, NotProven, NoteInvalid) as error:
            raise LogBroken(f"the log of {tenant}: {error}") from error
        except AppError as error:
            raise LogBroken(f"the log of {tenant}: {error.message}") from error
        newest = max((checkpoint.size for checkpoint in kept), default=0)
        return LogProof(tenant, head.size, proven, first, head.size - first - proven, compared, newest)

    async def _verified(self, tenant: str, first: int) -> Head:
        """The newest signed head, when the records are those that it signs."""
        exporting = Exporting(self.database, self.keys, math.inf)
        plan = await exporting.plan(tenant, first, None)
        verifier = ExportVerifier(keys=self.keys)
        async with aclosing(exporting.pieces(plan, format_of(FormatName.NDJSON, plan))) as pieces:
            async for piece in pieces:
                for line in piece.lines.splitlines(keepends=True):
                    verifier.feed(line)
                self.tell(f"verifying the log of {tenant}", piece.next_seq - plan.first, plan.count)
        found = verifier.finish()
        return Head(found.header.tree_size, found.root)

    async def _compared(self, tenant: str, ours: Head, reached: Sequence[Checkpoint]) -> int:
        """Every kept checkpoint that the log reaches must be of this log; the size of the largest."""
        for number, checkpoint in enumerate(reached, start=1):
            await self._same_log(tenant, ours, checkpoint)
            self.tell(f"comparing the checkpoints of {tenant}", number, len(reached))
        return reached[-1].size if reached else 0

    async def _same_log(self, tenant: str, ours: Head, other: Checkpoint) -> None:
        """Raises NotProven when the one does not continue the other."""
        first, second = sorted(((ours.size, ours.root), (other.size, other.root)))
        async with self.database.connection() as connection:
            try:
                hashes = await tree_store.consistency_proof(connection, tenant, first[0], second[0])
            except ValueError as error:
                raise NotProven(str(error)) from error
        verify_consistency(first[0], second[0], first[1], second[1], hashes)
