"""Signs the heads of the trees: one checkpoint a tenant every so often, and none that does not continue the last.

Before it signs it opens the last checkpoint (the signature is asked, not the row) and proves from the tiles that the
new tree continues that one. A tree that was tampered with in the database is therefore not signed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

import asyncpg

from server.audit import log_store
from server.audit.checkpoint import Checkpoint, NoteInvalid, countersign, open_note, origin_of, sign
from server.audit.proofs import NotProven, verify_consistency
from server.audit.tree_store import consistency_proof
from server.db.pool import Connection
from server.signing import PublicKey, SigningKey

log = logging.getLogger(__name__)

_IDLE = 3600.0


@dataclass(frozen=True, slots=True)
class Keyring:
    """The key that signs, and older ones whose signatures still count."""

    current: SigningKey
    older: Sequence[PublicKey] = ()

    @property
    def public(self) -> tuple[PublicKey, ...]:
        """All that verify, the newest first."""
        return (self.current.public, *self.older)


@dataclass(slots=True)
class NotaryStats:
    """Counts since the start. `refused` must stay 0: somebody has changed the log."""

    signed: int = 0
    countersigned: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class _Signed:
    tenant: str
    size: int
    root: bytes
    note: str


class Notary:
    """Signs with the sequencer's connection and under its fence."""

    def __init__(self, keys: Keyring, interval: float) -> None:
        self._keys = keys
        self._interval = interval
        self._not_before = 0.0
        self._looking = False
        self.stats = NotaryStats()

    def look_again(self) -> None:
        """Something was appended, or may have been by an earlier leader."""
        self._looking = True

    def due_in(self) -> float:
        """Seconds until `sign` should be called."""
        if not self._looking:
            return _IDLE
        return max(0.0, self._not_before - asyncio.get_running_loop().time())

    async def sign(self, connection: Connection, epoch: int) -> None:
        """Signs every tree that has grown since its last checkpoint. Raises Overtaken, and the driver's errors."""
        if not self._looking:
            return
        async with connection.transaction():
            await log_store.fence(connection, epoch)
            made = [note for row in await _grown(connection, self._keys) for note in await self._notes(connection, row)]
            if made:
                await _keep(connection, made, self._keys.current.public.id)
        self._looking = False
        self._not_before = asyncio.get_running_loop().time() + self._interval

    async def _notes(self, connection: Connection, row: asyncpg.Record) -> list[_Signed]:
        tenant, head = row["tenant"], Checkpoint(origin_of(row["tenant"]), row["size"], row["root"])
        made = []
        if row["note"] is not None:
            try:
                last = await self._continued(connection, tenant, row["note"], head)
                if row["key_id"] != self._keys.current.public.id:
                    again = countersign(row["note"], self._keys.current, self._keys.public)
                    made.append(_Signed(tenant, last.size, last.root, again))
                    self.stats.countersigned += 1
            except (NoteInvalid, NotProven, ValueError) as problem:
                self.stats.refused += 1
                log.critical("no checkpoint for %s: its log does not continue what was signed: %s", tenant, problem)
                return []
            if last.size == head.size:
                return made
        made.append(_Signed(tenant, head.size, head.root, sign(head, self._keys.current)))
        self.stats.signed += 1
        return made

    async def _continued(self, connection: Connection, tenant: str, note: str, head: Checkpoint) -> Checkpoint:
        """The last checkpoint, when it is genuine and the tree continues it."""
        last = open_note(note, self._keys.public).checkpoint
        if last.origin != head.origin:
            raise NoteInvalid("it is of another log")
        path = await consistency_proof(connection, tenant, last.size, head.size)
        verify_consistency(last.size, head.size, last.root, head.root, path)
        return last


_GROWN: LiteralString = """
    select tree.tenant, tree.size, tree.root, last.note, last.key_id
    from audit_tree as tree left join lateral (
        select size, root, note, key_id from audit_checkpoint as checkpoint
        where checkpoint.tenant = tree.tenant order by size desc, signed_at desc, key_id = $1 desc limit 1
    ) as last on true
    where last.size is null or last.size <> tree.size or last.root <> tree.root or last.key_id <> $1
    order by tree.tenant
"""


async def _grown(connection: Connection, keys: Keyring) -> list[asyncpg.Record]:
    """Trees whose last checkpoint is not of this very head, or not of the current key."""
    return await connection.fetch(_GROWN, keys.current.public.id)


_KEEP: LiteralString = """
    insert into audit_checkpoint (tenant, size, root, note, key_id, signed_at)
    select *, $5, greatest(now(), (select max(signed_at) from audit_checkpoint))
    from unnest($1::text[], $2::bigint[], $3::bytea[], $4::text[])
"""


async def _keep(connection: Connection, made: Sequence[_Signed], key_id: str) -> None:
    """Stores the notes. Their time never goes back, because sinks are served by it."""
    await connection.execute(
        _KEEP,
        [item.tenant for item in made],
        [item.size for item in made],
        [item.root for item in made],
        [item.note for item in made],
        key_id,
    )
