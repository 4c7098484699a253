"""The Merkle tree of RFC 9162 as its definition reads, recursive and slow: what ours is checked against."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of the leaves' bytes (§2.1.1)."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def naive_path(seq: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH (§2.1.3.1)."""
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if seq < split:
        return [*naive_path(seq, leaves[:split]), naive_root(leaves[split:])]
    return [*naive_path(seq - split, leaves[split:]), naive_root(leaves[:split])]


def naive_consistency(first: int, leaves: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    """PROOF and SUBPROOF (§2.1.4.1)."""
    if first == len(leaves):
        return [] if whole else [naive_root(leaves)]
    split = _split(len(leaves))
    if first <= split:
        return [*naive_consistency(first, leaves[:split], whole=whole), naive_root(leaves[split:])]
    return [*naive_consistency(first - split, leaves[split:], whole=False), naive_root(leaves[:split])]


def _split(count: int) -> int:
    split = 1
    while split * 2 < count:
        split *= 2
    return split
