"""How a range of leaves hangs together with the whole tree: the perfect subtrees that cover it (pure, no I/O).

Cut the tree of `tree_size` leaves at the two ends of a range, and inside the range at every multiple of BLOCK; the
perfect subtrees that each part falls into, from left to right, are its cover. Hashed together they make the root, so
once they do, each of them is known to be in the signed tree, and every leaf of the range has to fit into its own: none
can be changed, left out, doubled or moved without its block failing. This needs no proof per leaf, and finds the bad
ones within BLOCK leaves even where their hashes were forged as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from server.audit.proofs import EMPTY_ROOT, node_hash

BLOCK = 256


@dataclass(frozen=True, slots=True)
class Piece:
    """A perfect subtree: `size` leaves, a power of two, from `start`, a multiple of it."""

    start: int
    size: int


def pieces(start: int, stop: int, largest: int = 1 << 62) -> Iterator[Piece]:
    """The fewest perfect subtrees of at most `largest` leaves that [start, stop) falls into, from left to right."""
    while start < stop:
        aligned = start & -start or largest
        room = 1 << ((stop - start).bit_length() - 1)
        size = min(aligned, room, largest)
        yield Piece(start, size)
        start += size


def before(first: int) -> list[Piece]:
    """The part of the cover left of a range that starts at `first`."""
    return list(pieces(0, first))


def within(first: int, stop: int) -> Iterator[Piece]:
    """The part of the cover that is the range [first, stop)."""
    return pieces(first, stop, BLOCK)


def after(stop: int, tree_size: int) -> list[Piece]:
    """The part of the cover right of a range that ends before `stop`."""
    return list(pieces(stop, tree_size))


class Growing:
    """A tree that grows to the right and remembers only its perfect subtrees: at most 63 hashes."""

    def __init__(self) -> None:
        self.size = 0
        self._stack: list[tuple[int, bytes]] = []

    def push(self, size: int, digest: bytes) -> None:
        """Adds the perfect subtree of `size` leaves that comes next; `size` divides what is there already."""
        self.size += size
        while self._stack and self._stack[-1][0] == size:
            digest = node_hash(self._stack.pop()[1], digest)
            size *= 2
        self._stack.append((size, digest))

    def hashes(self) -> list[bytes]:
        """The perfect subtrees, from left to right: what `before(size)` names."""
        return [digest for _, digest in self._stack]

    def parts(self) -> list[tuple[int, bytes]]:
        """The perfect subtrees with their sizes, from left to right."""
        return list(self._stack)

    def root(self) -> bytes:
        """The root of the tree as it is now."""
        if not self._stack:
            return EMPTY_ROOT
        digest = self._stack[-1][1]
        for _, left in reversed(self._stack[:-1]):
            digest = node_hash(left, digest)
        return digest

    def copy(self) -> Growing:
        """The same tree, to grow differently."""
        made = Growing()
        made.size, made._stack = self.size, list(self._stack)
        return made
