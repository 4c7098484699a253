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
from server.audit.verifying import ExportVerifier, Proven, Rejected
from server.backup.manifest import LogState
from server.db.pool import Database
from server.errors import AppError
from server.signing import PublicKey


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
        """All of the backup's logs. Raises LogBroken, AppError when the database goes away."""
        return [await self._log(tenant, state, kept.get(tenant, ())) for tenant, state in logs.items()]

    async def _log(self, tenant: str, state: LogState, kept: Sequence[Checkpoint]) -> LogProof:
        async with self.database.connection() as connection:
            head = await tree_store.head(connection, tenant)
            first = await events.first_kept(connection, tenant)
        if head.size < state.size:
            raise LogBroken(f"the log of {tenant} has {head.size} records, the backup had {state.size}")
        newest = max((checkpoint.size for checkpoint in kept), default=0)
        if state.signed <= first:  # nothing that is signed is left to read: a log without a checkpoint, or retired
            return LogProof(tenant, head.size, 0, first, head.size - first, 0, newest)
        try:
            found = await self._verified(tenant, first, open_note(state.note, self.keys).checkpoint)
            compared = await self._compared(found, [each for each in kept if each.size <= head.size])
        except (Rejected, NotProven, NoteInvalid) as error:
            raise LogBroken(f"the log of {tenant}: {error}") from error
        except AppError as error:
            raise LogBroken(f"the log of {tenant}: {error.message}") from error
        size = found.header.tree_size
        return LogProof(tenant, head.size, size - first, first, head.size - size, compared, newest)

    async def _verified(self, tenant: str, first: int, of_backup: Checkpoint) -> Proven:
        exporting = Exporting(self.database, self.keys, math.inf)
        plan = await exporting.plan(tenant, first, None)
        verifier = ExportVerifier(keys=self.keys)
        async with aclosing(exporting.pieces(plan, format_of(FormatName.NDJSON, plan))) as pieces:
            async for piece in pieces:
                for line in piece.lines.splitlines(keepends=True):
                    verifier.feed(line)
                self.tell(f"verifying the log of {tenant}", piece.next_seq - plan.first, plan.count)
        found = verifier.finish()
        await self._same_log(found, of_backup)
        return found

    async def _compared(self, found: Proven, reached: Sequence[Checkpoint]) -> int:
        """The largest kept checkpoint that the log reaches must be of this log, and with it all that it continues."""
        for checkpoint in reached[-1:]:
            await self._same_log(found, checkpoint)
        return reached[-1].size if reached else 0

    async def _same_log(self, found: Proven, other: Checkpoint) -> None:
        """Raises NotProven when the one does not continue the other."""
        tenant, ours = found.header.tenant, (found.header.tree_size, found.root)
        first, second = sorted((ours, (other.size, other.root)))
        async with self.database.connection() as connection:
            hashes = await tree_store.consistency_proof(connection, tenant, first[0], second[0])
        verify_consistency(first[0], second[0], first[1], second[1], hashes)
