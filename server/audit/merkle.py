"""The Merkle tree of RFC 9162 §2.1, kept as tiles of 256 hashes: appending, roots, and which hashes a proof is made of.

Pure: it is told hashes and says hashes; `server/audit/tree_store.py` reads and writes them. A tile (level, number)
holds the roots of 256 perfect subtrees of 256^level leaves each, as in C2SP tlog-tiles; full tiles never change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from server.audit.proofs import EMPTY_ROOT, HASH_BYTES, node_hash

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT


class TileId(NamedTuple):
    """Which tile."""

    level: int
    number: int

    def width(self, size: int) -> int:
        """How many hashes it has in a tree of `size` leaves: 0 to 256."""
        return max(0, min((size >> (TILE_HEIGHT * self.level)) - self.number * TILE_WIDTH, TILE_WIDTH))


class Node(NamedTuple):
    """The root of a perfect subtree: leaves [number << level, (number + 1) << level)."""

    level: int
    number: int

    @property
    def tile(self) -> TileId:
        """The tile that holds the hashes which it is computed from."""
        return TileId(self.level // TILE_HEIGHT, (self.number << (self.level % TILE_HEIGHT)) >> TILE_HEIGHT)


class Span(NamedTuple):
    """Leaves [start, end), where `start` is where a subtree of that many leaves may begin."""

    start: int
    end: int

    def nodes(self) -> list[Node]:
        """The perfect subtrees that it consists of, from the left."""
        found, start = [], self.start
        while start < self.end:
            level = (self.end - start).bit_length() - 1
            found.append(Node(level, start >> level))
            start += 1 << level
        return found


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that appending needs to know of a tree: its size and the roots of its perfect subtrees, largest first."""

    size: int = 0
    roots: tuple[bytes, ...] = ()

    @classmethod
    def from_bytes(cls, size: int, encoded: bytes) -> Frontier:
        """What `to_bytes` wrote; raises ValueError when it does not belong to a tree of this size."""
        roots = tuple(encoded[at : at + HASH_BYTES] for at in range(0, len(encoded), HASH_BYTES))
        if len(roots) != size.bit_count() or len(encoded) % HASH_BYTES:
            raise ValueError(f"not the frontier of a tree of {size} leaves")
        return cls(size, roots)

    def to_bytes(self) -> bytes:
        return b"".join(self.roots)

    def root(self) -> bytes:
        """The root of the tree."""
        return fold(self.roots)

    def extend(self, leaf_hashes: Sequence[bytes]) -> Frontier:
        """The frontier after these leaves too."""
        roots, size = list(self.roots), self.size
        for leaf in leaf_hashes:
            node, rest = leaf, size
            while rest & 1:
                node, rest = sha256(b"\x01" + roots.pop() + node).digest(), rest >> 1
            roots.append(node)
            size += 1
        return Frontier(size, tuple(roots))


def fold(roots: Sequence[bytes]) -> bytes:
    """The root over perfect subtrees that stand side by side, largest first; over none, the empty root."""
    if not roots:
        return EMPTY_ROOT
    *left, node = roots
    for root in reversed(left):
        node = node_hash(root, node)
    return node


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of hashes."""
    row = list(hashes)
    while len(row) > 1:
        pairs = iter(row)
        row = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return row[0]


def filled_tiles(size: int, added: int, level: int = 0) -> range:
    """The numbers of the tiles of `level` that become full when a tree of `size` leaves gets `added` more."""
    shift = TILE_HEIGHT * (level + 1)
    return range(size >> shift, (size + added) >> shift)


def inclusion_spans(seq: int, size: int) -> list[Span]:
    """The subtrees whose roots prove leaf `seq` in a tree of `size`, nearest first. Raises ValueError."""
    if not 0 <= seq < size:
        raise ValueError(f"there is no leaf {seq} in a tree of {size}")
    start, end, path = 0, size, []
    while end - start > 1:
        middle = start + _split(end - start)
        if seq < middle:
            path.append(Span(middle, end))
            end = middle
        else:
            path.append(Span(start, middle))
            start = middle
    return path[::-1]


def consistency_spans(first: int, second: int) -> list[Span]:
    """The subtrees whose roots prove that the tree of `second` continues the one of `first`. Raises ValueError."""
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {second} leaves cannot continue one of {first}")
    if first in {0, second}:
        return []
    start, end, path, whole = 0, second, [], True
    while end != first:
        middle = start + _split(end - start)
        if first <= middle:
            path.append(Span(middle, end))
            end = middle
        else:
            path.append(Span(start, middle))
            start, whole = middle, False
    if not whole:  # the first tree is not a subtree of the second: its right edge is part of the proof
        path.append(Span(start, end))
    return path[::-1]


def tiles_of(spans: Sequence[Span]) -> set[TileId]:
    """The tiles that `span_hashes` needs."""
    return {node.tile for span in spans for node in span.nodes()}


def span_hashes(spans: Sequence[Span], tiles: Mapping[TileId, Sequence[bytes]]) -> list[bytes]:
    """The root of each span, from the tiles (a tile at the right edge holds what there is of it)."""
    return [fold([_node(node, tiles) for node in span.nodes()]) for span in spans]


def _node(node: Node, tiles: Mapping[TileId, Sequence[bytes]]) -> bytes:
    within = node.level % TILE_HEIGHT
    start = (node.number << within) % TILE_WIDTH
    return perfect_root(tiles[node.tile][start : start + (1 << within)])


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)
