"""Checking what the log claims: RFC 9162 §2.1 with SHA-256, nothing but arithmetic.

For the offline verifier above all: no input, no output, no clock, nothing of the server. Each check raises NotProven
and says what does not hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root over no leaves at all."""

HASH_BYTES = 32


class NotProven(Exception):
    """The proof does not lead to the root."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root over these leaf hashes, in one pass with memory for the logarithm of their number."""
    roots: list[bytes] = []
    for size, leaf in enumerate(leaf_hashes):
        node, rest = leaf, size
        while rest & 1:
            node, rest = node_hash(roots.pop(), node), rest >> 1
        roots.append(node)
    if not roots:
        return EMPTY_ROOT
    root = roots.pop()
    while roots:
        root = node_hash(roots.pop(), root)
    return root


def verify_inclusion(leaf: bytes, seq: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """That the leaf with hash `leaf` is number `seq` of the tree of `size` leaves under `root` (RFC 9162 §2.1.3.2)."""
    if not 0 <= seq < size:
        raise NotProven(f"there is no leaf {seq} in a tree of {size}")
    index, last, node = seq, size - 1, leaf
    for sibling in _hashes(path):
        if last == 0:
            raise NotProven("the inclusion proof is too long")
        if index & 1 or index == last:
            node = node_hash(sibling, node)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        index, last = index >> 1, last >> 1
    if last:
        raise NotProven("the inclusion proof is too short")
    if node != root:
        raise NotProven(f"leaf {seq} is not under this root")


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]) -> None:
    """That the tree of `second` leaves begins with exactly the tree of `first` leaves (RFC 9162 §2.1.4.2)."""
    if not 0 <= first <= second:
        raise NotProven(f"a tree of {second} leaves cannot continue one of {first}")
    if first in {0, second}:
        if path:
            raise NotProven("the consistency proof is too long")
        if first_root != (second_root if first else EMPTY_ROOT):
            raise NotProven("two trees of one size have different roots" if first else "not the empty root")
        return
    hashes = _hashes(path)
    if first & (first - 1) == 0:
        hashes = [first_root, *hashes]
    if not hashes:
        raise NotProven("the consistency proof is too short")
    index, last = first - 1, second - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    _climb(hashes, index, last, first_root, second_root)


def _climb(hashes: Sequence[bytes], index: int, last: int, first_root: bytes, second_root: bytes) -> None:
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise NotProven("the consistency proof is too long")
        if index & 1 or index == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        index, last = index >> 1, last >> 1
    if last:
        raise NotProven("the consistency proof is too short")
    if old != first_root:
        raise NotProven("the proof does not lead to the first root: what was there has been changed")
    if new != second_root:
        raise NotProven("the proof does not lead to the second root")


def _hashes(path: Sequence[bytes]) -> list[bytes]:
    if any(len(node) != HASH_BYTES for node in path):
        raise NotProven("a hash of the proof is not 32 bytes long")
    return list(path)
