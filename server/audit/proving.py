"""Checkpoints and proofs, for whoever keeps them outside."""

from __future__ import annotations

from dataclasses import dataclass

from server.audit import tree_store
from server.audit.merkle import Span, span_hashes, tiles_of
from server.audit.ranges import outside
from server.audit.tree_store import SignedHead
from server.db.pool import Connection, Database
from server.errors import not_found


@dataclass(frozen=True, slots=True)
class Inclusion:
    """Record `seq`, whose hash is `leaf_hash`, is in the tree of `tree_size`: the siblings from the leaf up."""

    seq: int
    tree_size: int
    leaf_hash: bytes
    hashes: list[bytes]


@dataclass(frozen=True, slots=True)
class Consistency:
    """The tree of `second` records begins with the one of `first`."""

    first: int
    second: int
    hashes: list[bytes]


class Proving:
    """The use cases behind GetCheckpoint, GetInclusionProof and GetConsistencyProof."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def checkpoint(self, tenant: str) -> SignedHead:
        """The newest one. Raises NOT_FOUND before the first."""
        async with self._database.connection() as connection:
            found = await tree_store.latest_checkpoint(connection, tenant)
        if found is None:
            raise not_found("audit/checkpoint")
        return found

    async def inclusion(self, tenant: str, seq: int, tree_size: int) -> Inclusion:
        """In the tree of any size that the log had; 0 means the newest checkpoint's. Raises OUT_OF_RANGE."""
        async with self._database.connection() as connection:
            head = await tree_store.head(connection, tenant)
            size = tree_size or await _signed_size(connection, tenant)
            if size > head.size:
                raise outside("tree sizes", 1, head.size, head.size)
            if seq >= size:
                raise outside("records", 0, size - 1, size)
            hashes = await tree_store.inclusion_proof(connection, tenant, seq, size)
            leaf_hash = await _leaf_hash(connection, tenant, seq, size)
        return Inclusion(seq, size, leaf_hash, hashes)

    async def consistency(self, tenant: str, first: int, second: int) -> Consistency:
        """Between any two sizes that the log had; `second` 0 means the newest checkpoint's. Raises OUT_OF_RANGE."""
        async with self._database.connection() as connection:
            head = await tree_store.head(connection, tenant)
            size = second or await _signed_size(connection, tenant)
            if not first <= size <= head.size:
                raise outside("tree sizes", 0, min(size, head.size), head.size)
            hashes = await tree_store.consistency_proof(connection, tenant, first, size)
        return Consistency(first, size, hashes)


async def _signed_size(connection: Connection, tenant: str) -> int:
    found = await tree_store.latest_checkpoint(connection, tenant)
    return found.size if found else 0


async def _leaf_hash(connection: Connection, tenant: str, seq: int, size: int) -> bytes:
    """Also of an event that retention has dropped."""
    spans = [Span(seq, seq + 1)]
    return span_hashes(spans, await tree_store.tiles(connection, tenant, tiles_of(spans), size))[0]
