"""Covers and growing trees, against the tree as RFC 9162 defines it."""

from __future__ import annotations

from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from server.audit import cover
from server.audit.cover import BLOCK, Growing, pieces
from server.audit.leaf import leaf_hash
from server.audit.merkle import TILE_WIDTH
from tests.support.trees import naive_root

_LEAVES = [bytes([number % 256, number // 256]) for number in range(600)]


@given(start=st.integers(0, 2**40), length=st.integers(0, 2**20), largest=st.sampled_from([1, 2, 64, 256, 1 << 62]))
@settings(max_examples=300, deadline=None)
def test_pieces_are_aligned_perfect_and_side_by_side(start: int, length: int, largest: int) -> None:
    position = start
    for piece in islice(pieces(start, start + length, largest), 500):  # a sample is enough, the rest is alike
        assert piece.start == position
        assert piece.size.bit_count() == 1
        assert piece.start % piece.size == 0
        assert piece.size <= largest
        position += piece.size
    assert position <= start + length
    assert position == start + length or length > 500


@given(data=st.data(), size=st.integers(1, 600))
@settings(max_examples=60, deadline=None)
def test_a_cover_makes_the_root(data: st.DataObject, size: int) -> None:
    first = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(first + 1, size))
    tree = Growing()
    for piece in [*cover.before(first), *cover.within(first, stop), *cover.after(stop, size)]:
        tree.push(piece.size, naive_root(_LEAVES[piece.start : piece.start + piece.size]))
    assert tree.size == size
    assert tree.root() == naive_root(_LEAVES[:size])
    assert max((piece.size for piece in cover.within(first, stop)), default=0) <= BLOCK


@given(sizes=st.lists(st.integers(1, 50), max_size=10))
@settings(max_examples=60, deadline=None)
def test_a_tree_grows_leaf_by_leaf(sizes: list[int]) -> None:
    tree = Growing()
    assert tree.root() == naive_root([])
    for size in sizes:
        kept = tree.copy()
        before = kept.root()
        for number in range(tree.size, tree.size + size):
            tree.push(1, leaf_hash(_LEAVES[number]))
        assert tree.root() == naive_root(_LEAVES[: tree.size])
        assert kept.root() == before
        assert len(tree.hashes()) == tree.size.bit_count()
        assert [piece.size for piece in cover.before(tree.size)] == [part for part, _ in tree.parts()]


def test_a_block_is_a_tile() -> None:
    """So that a cover is read from the tiles' roots, not from 256 leaves each."""
    assert BLOCK == TILE_WIDTH
