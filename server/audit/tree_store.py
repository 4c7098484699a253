"""The tree in PostgreSQL, read: heads, tiles, proofs and checkpoints. Only the sequencer writes (log_store.py)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from server.audit.merkle import TILE_WIDTH, Span, TileId, consistency_spans, inclusion_spans, span_hashes, tiles_of
from server.audit.proofs import EMPTY_ROOT, HASH_BYTES
from server.db.pool import Connection


@dataclass(frozen=True, slots=True)
class Head:
    """Size and root of a tree."""

    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A checkpoint as it is stored; `note` is what a verifier takes."""

    tenant: str
    size: int
    root: bytes
    note: str
    key_id: str
    signed_at: datetime


_HEAD: LiteralString = "select size, root from audit_tree where tenant = $1"


async def head(connection: Connection, tenant: str) -> Head:
    """The tree as it is now; one that was never appended to is empty."""
    row = await connection.fetchrow(_HEAD, tenant)
    return Head(row["size"], row["root"]) if row else Head(0, EMPTY_ROOT)


_TENANTS: LiteralString = "select tenant from audit_tree order by tenant"


async def tenants(connection: Connection) -> list[str]:
    """Whose logs have records."""
    return [row["tenant"] for row in await connection.fetch(_TENANTS)]


_LATEST: LiteralString = """
    select tenant, size, root, note, key_id, signed_at from audit_checkpoint
    where tenant = $1 order by size desc, signed_at desc limit 1
"""


async def latest_checkpoint(connection: Connection, tenant: str) -> SignedHead | None:
    """The newest checkpoint of the tenant's log."""
    row = await connection.fetchrow(_LATEST, tenant)
    return SignedHead(**row) if row else None


_COVERING: LiteralString = """
    select tenant, size, root, note, key_id, signed_at from audit_checkpoint
    where tenant = $1 and size > $2 order by size, signed_at desc limit 1
"""


async def checkpoint_covering(connection: Connection, tenant: str, seq: int) -> SignedHead | None:
    """The first checkpoint whose tree holds the event."""
    row = await connection.fetchrow(_COVERING, tenant, seq)
    return SignedHead(**row) if row else None


async def inclusion_proof(connection: Connection, tenant: str, seq: int, size: int) -> list[bytes]:
    """The hashes that prove event `seq` in the tree of `size`. Raises ValueError when there is no such proof.

    `size` must not be above the head's: ask in one transaction, or with a size that was read before.
    """
    return await _proof(connection, tenant, inclusion_spans(seq, size), size)


async def consistency_proof(connection: Connection, tenant: str, first: int, second: int) -> list[bytes]:
    """The hashes that prove that the tree of `second` continues the one of `first`; else like `inclusion_proof`."""
    return await _proof(connection, tenant, consistency_spans(first, second), second)


async def inclusion_proofs(
    connection: Connection, tenant: str, seqs: Sequence[int], size: int
) -> dict[int, list[bytes]]:
    """Proofs for many events of one tree, each tile read once: for exports."""
    spans = {seq: inclusion_spans(seq, size) for seq in seqs}
    known = await tiles(connection, tenant, set().union(*map(tiles_of, spans.values())), size)
    return {seq: span_hashes(path, known) for seq, path in spans.items()}


async def _proof(connection: Connection, tenant: str, spans: Sequence[Span], size: int) -> list[bytes]:
    return span_hashes(spans, await tiles(connection, tenant, tiles_of(spans), size))


_TILES: LiteralString = """
    select level, index, hashes from audit_tile
    where (tenant, level, index) in (select $1, * from unnest($2::smallint[], $3::bigint[]))
"""


async def tiles(
    connection: Connection, tenant: str, wanted: Collection[TileId], size: int
) -> Mapping[TileId, list[bytes]]:
    """The hashes of these tiles in the tree of `size` leaves. Raises ValueError when the log is not that long."""
    full = [tile for tile in wanted if tile.width(size) == TILE_WIDTH]
    rows = await connection.fetch(_TILES, tenant, [tile.level for tile in full], [tile.number for tile in full])
    found = {TileId(row["level"], row["index"]): split(row["hashes"]) for row in rows}
    for tile in set(wanted) - set(full):
        found[tile] = await partial(connection, tenant, tile, tile.width(size))
    if any(len(found.get(tile, ())) < tile.width(size) for tile in wanted):
        raise ValueError(f"the log of {tenant} has no {size} leaves")
    return found


_LEAF_HASHES: LiteralString = """
    select leaf_hash from (
        select seq, leaf_hash from audit_event where tenant = $1 and seq >= $2 and seq < $3
        union all
        select seq, leaf_hash from audit_leaf_kept where tenant = $1 and seq >= $2 and seq < $3
    ) as leaf order by seq
"""

_TILE_ROOTS: LiteralString = """
    select root from audit_tile where tenant = $1 and level = $2 and index >= $3 and index < $4 order by index
"""


async def partial(connection: Connection, tenant: str, tile: TileId, width: int) -> list[bytes]:
    """The first `width` hashes of a tile that is not stored (or not yet)."""
    start = tile.number * TILE_WIDTH
    if tile.level == 0:
        rows = await connection.fetch(_LEAF_HASHES, tenant, start, start + width)
    else:
        rows = await connection.fetch(_TILE_ROOTS, tenant, tile.level - 1, start, start + width)
    return [row[0] for row in rows]


def split(hashes: bytes) -> list[bytes]:
    """The hashes of a stored tile."""
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
