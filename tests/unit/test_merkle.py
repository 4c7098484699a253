"""The tree against RFC 9162 word for word (tests/support/naive_tree.py), and against constants that everybody knows."""

from __future__ import annotations

from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.audit.leaf import leaf_hash
from server.audit.merkle import (
    TILE_WIDTH,
    Frontier,
    TileId,
    consistency_spans,
    filled_tiles,
    fold,
    inclusion_spans,
    perfect_root,
    span_hashes,
    tiles_of,
)
from server.audit.proofs import EMPTY_ROOT, NotProven, root_of, verify_consistency, verify_inclusion
from tests.support import naive_tree

# The test tree that implementations of Certificate Transparency share: eight leaves, and the roots of its prefixes.
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def leaves(size: int) -> list[bytes]:
    return [f"leaf {number}".encode() for number in range(size)]


@lru_cache(2048)
def mth(size: int) -> bytes:
    return naive_tree.mth(leaves(size))


def tiles(size: int) -> dict[TileId, list[bytes]]:
    """Every tile of the tree, full or not."""
    row, level, found = [leaf_hash(leaf) for leaf in leaves(size)], 0, {}
    while row:
        for index in range(-(-len(row) // TILE_WIDTH)):
            tile = TileId(level, index)
            found[tile] = row[index * TILE_WIDTH : (index + 1) * TILE_WIDTH]
            assert len(found[tile]) == tile.width(size)
        row = [perfect_root(row[at : at + TILE_WIDTH]) for at in range(0, len(row) - TILE_WIDTH + 1, TILE_WIDTH)]
        level += 1
    return found


def test_known_constants() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert fold(()) == root_of([]) == Frontier().root() == EMPTY_ROOT


@pytest.mark.parametrize("size", range(1, 9))
def test_the_shared_test_tree(size: int) -> None:
    entries = CT_LEAVES[:size]
    assert naive_tree.mth(entries).hex() == CT_ROOTS[size - 1]
    hashes = [leaf_hash(entry) for entry in entries]
    assert root_of(hashes).hex() == Frontier().extend(hashes).root().hex() == CT_ROOTS[size - 1]


@given(parts=st.lists(st.integers(0, 200), max_size=6))
def test_a_tree_that_grew_in_batches_is_the_tree(parts: list[int]) -> None:
    hashes, frontier = [leaf_hash(leaf) for leaf in leaves(sum(parts))], Frontier()
    for part in parts:
        before = frontier.size
        frontier = frontier.extend(hashes[before : before + part])
        assert Frontier.from_bytes(frontier.size, frontier.to_bytes()) == frontier
    assert frontier.size == len(hashes)
    assert frontier.root() == root_of(hashes) == mth(len(hashes))


def test_a_frontier_of_another_size_is_refused() -> None:
    frontier = Frontier().extend([leaf_hash(leaf) for leaf in leaves(5)])
    for size, encoded in ((7, frontier.to_bytes()), (5, frontier.to_bytes()[:-1])):
        with pytest.raises(ValueError, match="frontier"):
            Frontier.from_bytes(size, encoded)


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 511, 513, 700])
def test_every_inclusion_proof_is_the_rfc_s_and_verifies(size: int) -> None:
    known, entries = tiles(size), leaves(size)
    for seq in {*range(0, size, 37), *range(min(size, 5)), size - 1, max(0, size - 2), size // 2}:
        spans = inclusion_spans(seq, size)
        assert tiles_of(spans) <= set(known)
        proof = span_hashes(spans, known)
        assert proof == naive_tree.path(seq, entries)
        verify_inclusion(leaf_hash(entries[seq]), seq, size, proof, mth(size))


@settings(deadline=None)
@given(second=st.integers(1, 300), data=st.data())
def test_every_consistency_proof_is_the_rfc_s_and_verifies(second: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, second))
    proof = span_hashes(consistency_spans(first, second), tiles(second))
    assert proof == naive_tree.proof(first, leaves(second))
    verify_consistency(first, second, mth(first), mth(second), proof)


@pytest.mark.parametrize("second", [1, 2, 7, 8, 9, 31, 64, 65])
def test_all_pairs_of_small_trees(second: int) -> None:
    known = tiles(second)
    for first in range(second + 1):
        proof = span_hashes(consistency_spans(first, second), known)
        verify_consistency(first, second, mth(first), mth(second), proof)
    for seq in range(second):
        verify_inclusion(
            leaf_hash(leaves(second)[seq]), seq, second, span_hashes(inclusion_spans(seq, second), known), mth(second)
        )


def test_proofs_across_tiles_of_tiles() -> None:
    size = TILE_WIDTH * TILE_WIDTH + TILE_WIDTH + 3
    known, root = tiles(size), root_of(leaf_hash(leaf) for leaf in leaves(size))
    for seq in (0, 65_535, 65_536, size - 1):
        proof = span_hashes(inclusion_spans(seq, size), known)
        assert len(proof) <= 18
        verify_inclusion(leaf_hash(leaves(size)[seq]), seq, size, proof, root)
    for first in (1, 255, 65_536, 65_537, size - 1):
        old = root_of(leaf_hash(leaf) for leaf in leaves(first))
        verify_consistency(first, size, old, root, span_hashes(consistency_spans(first, size), known))


@given(size=st.integers(1, 300), data=st.data())
def test_a_changed_proof_proves_nothing(size: int, data: st.DataObject) -> None:
    seq = data.draw(st.integers(0, size - 1))
    proof = naive_tree.path(seq, leaves(size))
    leaf = leaf_hash(leaves(size)[seq])
    spoiled: list[tuple[bytes, int, int, list[bytes]]] = [
        (leaf_hash(b"another"), seq, size, proof),
        (leaf, seq, size, [*proof, b"\x00" * 32]),
        (leaf, size, size, proof),
    ]
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        flipped = bytes([proof[at][0] ^ 1]) + proof[at][1:]
        spoiled += [
            (leaf, seq, size, proof[:-1]),
            (leaf, seq, size, [*proof[:at], flipped, *proof[at + 1 :]]),
            (leaf, seq, size, [*proof[:at], proof[at][:31], *proof[at + 1 :]]),
            (leaf, (seq + 1) % size, size, proof),
        ]
    for leaf_, seq_, size_, proof_ in spoiled:
        with pytest.raises(NotProven):
            verify_inclusion(leaf_, seq_, size_, proof_, mth(size))


@given(second=st.integers(1, 300), data=st.data())
def test_another_past_is_not_consistent(second: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, second))
    proof = naive_tree.proof(first, leaves(second))
    changed = leaves(first)
    changed[data.draw(st.integers(0, first - 1))] = b"changed"
    for old, new, proof_ in [
        (naive_tree.mth(changed), mth(second), proof),
        (mth(first), naive_tree.mth([*changed, *leaves(second)[first:]]), proof),
        (mth(first), mth(second), [*proof, b"\x01" * 32]),
    ]:
        with pytest.raises(NotProven):
            verify_consistency(first, second, old, new, proof_)
    if proof:
        with pytest.raises(NotProven):
            verify_consistency(first, second, mth(first), mth(second), proof[:-1])
    with pytest.raises(NotProven):
        verify_consistency(second + 1, second, mth(first), mth(second), proof)


def test_the_empty_tree_is_a_prefix_of_every_tree() -> None:
    verify_consistency(0, 5, EMPTY_ROOT, mth(5), [])
    with pytest.raises(NotProven):
        verify_consistency(0, 5, mth(1), mth(5), [])


def test_what_is_not_in_the_tree_has_no_proof() -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_spans(5, 5)
    with pytest.raises(ValueError, match="cannot continue"):
        consistency_spans(6, 5)


def test_tiles_fill_once() -> None:
    assert list(filled_tiles(0, 255)) == []
    assert list(filled_tiles(0, 256)) == [0]
    assert list(filled_tiles(255, 600)) == [0, 1, 2]
    assert list(filled_tiles(65_000, 1000, level=1)) == [0]
