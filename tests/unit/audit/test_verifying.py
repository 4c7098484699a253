"""The offline verifier: what is good passes, each kind of tampering is refused and its record named."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.audit import export_lines
from server.audit.checkpoint import Checkpoint, origin_of
from server.audit.leaf import leaf_hash
from server.audit.verifying import ExportVerifier, Proven, Rejected
from server.signing import PublicKey
from tests.support.exports import KEY, OTHER_KEY, export_of, note_of, some_leaf, some_leaves
from tests.support.trees import naive_root

COUNT = 700  # two whole blocks and a part of one
LEAVES = some_leaves(COUNT)
WHOLE = export_of(LEAVES)
FIRST = 3  # lines before the leaves: header, checkpoint, cover


def verify(lines: Sequence[bytes], key: PublicKey | None = None, older: Checkpoint | None = None) -> Proven:
    verifier = ExportVerifier(keys=[key] if key else [], older=older)
    for line in lines:
        verifier.feed(line)
    return verifier.finish()


def refused(lines: Sequence[bytes], **trust: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        verify(lines, **trust)
    return caught.value


def kept(size: int, leaves: Sequence[bytes] = LEAVES) -> Checkpoint:
    """The checkpoint that somebody kept when the log had `size` records."""
    return Checkpoint(origin_of("acme"), size, naive_root(leaves[:size]))


def edited(line: bytes, **changes: Any) -> bytes:
    return orjson.dumps({**orjson.loads(line), **changes}) + b"\n"


def at(seq: int) -> int:
    """The line of a record of WHOLE."""
    return FIRST + seq


def test_a_whole_export_is_proven() -> None:
    proven = verify(WHOLE, key=KEY.public)
    assert (proven.first_seq, proven.header.last_seq, proven.header.tree_size) == (0, COUNT - 1, COUNT)
    assert proven.root == naive_root(LEAVES)
    assert not proven.extends_older


@pytest.mark.parametrize(
    ("first", "last"), [(0, 0), (0, 255), (0, 256), (1, 1), (5, 300), (255, 257), (256, 511), (300, 699), (699, 699)]
)
def test_any_range_is_proven(first: int, last: int) -> None:
    proven = verify(export_of(LEAVES, first, last))
    assert (proven.first_seq, proven.header.last_seq) == (first, last)


@given(size=st.integers(1, 40), data=st.data())
@settings(max_examples=150, deadline=None)
def test_every_small_range_is_proven(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first, size - 1))
    assert verify(export_of(LEAVES[:size], first, last)).root == naive_root(LEAVES[:size])


def _flip(text: str) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[len(raw) // 2] ^= 1
    return base64.b64encode(raw).decode()


def _forged(seq: int, encoded: bytes) -> bytes:
    """A record that is right in itself: only the tree can tell."""
    return export_lines.leaf_line(seq, encoded, leaf_hash(encoded))


def _renumbered(lines: Sequence[bytes], start: int) -> list[bytes]:
    return [edited(line, seq=start + number) for number, line in enumerate(lines)]


def _header(lines: Sequence[bytes], **changes: Any) -> list[bytes]:
    return [edited(lines[0], **changes), *lines[1:]]


def _note(lines: Sequence[bytes], note: str) -> list[bytes]:
    return [lines[0], edited(lines[1], note=note), *lines[2:]]


def _respaced(encoded: bytes) -> bytes:
    return json.dumps(json.loads(encoded), ensure_ascii=False).encode()


_SEQ = 300
_LINE = WHOLE[at(_SEQ)]
_OTHER = export_of(some_leaves(COUNT, "globex"), tenant="globex")
_REWRITTEN = export_of([*LEAVES[:_SEQ], *map(some_leaf, range(9000, 9000 + COUNT - _SEQ))])
_SIGNED = orjson.loads(WHOLE[1])["note"]

TAMPERED: dict[str, tuple[Callable[[], Sequence[bytes]], int | None]] = {
    "a flipped bit in a leaf": (
        lambda: [*WHOLE[: at(_SEQ)], edited(_LINE, leaf=_flip(orjson.loads(_LINE)["leaf"])), *WHOLE[at(_SEQ) + 1 :]],
        _SEQ,
    ),
    "a flipped bit in a hash": (
        lambda: [*WHOLE[: at(_SEQ)], edited(_LINE, hash=_flip(orjson.loads(_LINE)["hash"])), *WHOLE[at(_SEQ) + 1 :]],
        _SEQ,
    ),
    "a dropped record": (lambda: [*WHOLE[: at(_SEQ)], *WHOLE[at(_SEQ) + 1 :]], _SEQ),
    "a dropped record, the others renumbered": (
        lambda: [*WHOLE[: at(_SEQ)], *_renumbered(WHOLE[at(_SEQ) + 1 : -1], _SEQ), WHOLE[-1]],
        256,
    ),
    "a record twice": (lambda: [*WHOLE[: at(_SEQ)], _LINE, _LINE, *WHOLE[at(_SEQ) + 1 :]], _SEQ + 1),
    "two records reordered": (
        lambda: [*WHOLE[: at(_SEQ)], WHOLE[at(_SEQ + 1)], _LINE, *WHOLE[at(_SEQ + 2) :]],
        _SEQ,
    ),
    "two records reordered and renumbered": (
        lambda: [*WHOLE[: at(_SEQ)], *_renumbered([WHOLE[at(_SEQ + 1)], _LINE], _SEQ), *WHOLE[at(_SEQ + 2) :]],
        256,
    ),
    "an inserted record": (
        lambda: [*WHOLE[: at(_SEQ)], _forged(_SEQ, some_leaf(9999)), *WHOLE[at(_SEQ) :]],
        _SEQ + 1,
    ),
    "a record replaced by a forged one": (
        lambda: [*WHOLE[: at(_SEQ)], _forged(_SEQ, some_leaf(9999)), *WHOLE[at(_SEQ) + 1 :]],
        256,
    ),
    "a re-encoded leaf": (
        lambda: [*WHOLE[: at(_SEQ)], _forged(_SEQ, _respaced(LEAVES[_SEQ])), *WHOLE[at(_SEQ) + 1 :]],
        256,
    ),
    "a cut tail": (lambda: WHOLE[: at(_SEQ)], _SEQ),
    "a cut tail with the end put back": (lambda: [*WHOLE[: at(_SEQ)], WHOLE[-1]], _SEQ),
    "a cut head": (lambda: [*WHOLE[:FIRST], *WHOLE[at(5) :]], 0),
    "an edited column": (
        lambda: [*WHOLE[: at(_SEQ)], edited(_LINE, decision="DENIED"), *WHOLE[at(_SEQ) + 1 :]],
        _SEQ,
    ),
    "an added column": (lambda: [*WHOLE[: at(_SEQ)], edited(_LINE, note="paid"), *WHOLE[at(_SEQ) + 1 :]], _SEQ),
    "another seq": (lambda: [*WHOLE[: at(_SEQ)], edited(_LINE, seq=float(_SEQ)), *WHOLE[at(_SEQ) + 1 :]], _SEQ),
    "a record of another tenant": (lambda: [*WHOLE[: at(_SEQ)], _OTHER[at(_SEQ)], *WHOLE[at(_SEQ) + 1 :]], _SEQ),
    "another tenant in the header": (lambda: _header(WHOLE, tenant="globex"), None),
    "another origin in the header": (lambda: _header(WHOLE, origin="tria/globex"), None),
    "another tenant and origin": (lambda: _header(WHOLE, tenant="globex", origin="tria/globex"), None),
    "the checkpoint of another tenant": (lambda: _note(WHOLE, note_of(LEAVES, "globex")), None),
    "the checkpoint of another key": (lambda: _note(WHOLE, note_of(LEAVES, key=OTHER_KEY)), None),
    "an older checkpoint": (lambda: _note(WHOLE, note_of(LEAVES[:600])), None),
    "an edited size": (lambda: _note(WHOLE, _SIGNED.replace(f"\n{COUNT}\n", f"\n{COUNT - 1}\n")), None),
    "an edited root": (
        lambda: _note(
            WHOLE,
            _SIGNED.replace(
                base64.b64encode(naive_root(LEAVES)).decode(), base64.b64encode(naive_root(LEAVES[:9])).decode()
            ),
        ),
        None,
    ),
    "a header that begins later": (lambda: _header(WHOLE, first_seq=1), None),
    "a header that ends earlier": (lambda: _header(WHOLE, last_seq=COUNT - 2), None),
    "a header of a larger tree": (lambda: _header(WHOLE, tree_size=COUNT + 1), None),
    "a header of an endless range": (lambda: _header(WHOLE, last_seq=2**52, tree_size=2**53), None),
    "a header of a later version": (lambda: _header(WHOLE, version=2), None),
    "an edited cover": (lambda: [*WHOLE[:2], _cover(lambda hashes: [*hashes[1:], hashes[0]]), *WHOLE[3:]], None),
    "a longer cover": (lambda: [*WHOLE[:2], _cover(lambda hashes: [*hashes, hashes[0]]), *WHOLE[3:]], None),
    "no cover": (lambda: [*WHOLE[:2], *WHOLE[3:]], None),
    "a cut final line": (lambda: [*WHOLE[:-1], WHOLE[-1][:-1]], COUNT),
    "an edited end": (lambda: [*WHOLE[:-1], edited(WHOLE[-1], count=COUNT - 1)], None),
    "two exports in one": (lambda: [*WHOLE, *WHOLE], None),
    "two exports mixed": (lambda: [*WHOLE[: at(_SEQ)], *export_of(LEAVES[:600])[at(_SEQ) :]], 600),
    "exports of two logs mixed": (lambda: [*WHOLE[: at(_SEQ)], *_REWRITTEN[at(_SEQ) :]], 256),
    "an empty line": (lambda: [*WHOLE[: at(_SEQ)], b"\n", *WHOLE[at(_SEQ) :]], _SEQ),
    "nothing": (list, None),
}


def _cover(change: Callable[[list[str]], list[str]]) -> bytes:
    return edited(WHOLE[2], hashes=change(orjson.loads(WHOLE[2])["hashes"]))


@pytest.mark.parametrize("kind", TAMPERED)
def test_tampering_is_refused_and_named(kind: str) -> None:
    make, seq = TAMPERED[kind]
    found = refused(make(), key=KEY.public)
    assert found.seq == seq, found.why
    assert found.why


def test_only_a_trusted_key_shows_a_log_that_was_signed_anew() -> None:
    forged = export_of([*LEAVES[:10], some_leaf(9999), *LEAVES[11:]], key=OTHER_KEY)
    assert verify(forged).signers == (OTHER_KEY.public,)
    assert "not signed by" in refused(forged, key=KEY.public).why


@pytest.mark.parametrize("size", [0, 1, 255, 256, 300, 699, 700])
def test_a_kept_checkpoint_is_found_in_the_log(size: int) -> None:
    assert verify(WHOLE, older=kept(size)).extends_older is (size > 0)


def test_a_kept_checkpoint_shows_a_log_that_was_written_anew() -> None:
    """The server forged record 10 and signed everything again with its own key."""
    forged = export_of([*LEAVES[:10], some_leaf(9999), *LEAVES[11:]])
    assert verify(forged, key=KEY.public)
    assert "the first 300 records" in refused(forged, older=kept(300)).why


def test_a_kept_checkpoint_outside_of_the_range_is_not_compared() -> None:
    assert not verify(export_of(LEAVES, 300, 400), older=kept(7)).extends_older
    assert not verify(WHOLE, older=kept(800, some_leaves(800))).extends_older
    assert verify(export_of(LEAVES, 300, 400), older=kept(300)).extends_older


@pytest.mark.parametrize("stop", [1, 255, 256, 257, 512, 650])
def test_an_export_that_was_cut_goes_on_where_another_begins(stop: int) -> None:
    """Also when the log has grown meanwhile."""
    grown = some_leaves(COUNT + 50)
    rest = export_of(grown, stop, COUNT - 1)
    said = export_lines.cut_line(stop, "STORE_UNAVAILABLE")
    for cut in ([], [said]):
        proven = verify([*WHOLE[: at(stop)], *cut, *rest])
        assert (proven.first_seq, proven.header.last_seq, proven.parts) == (0, COUNT - 1, 2)
        assert proven.header.tree_size == COUNT + 50


@pytest.mark.parametrize(
    ("rest", "seq"),
    [
        (export_of(LEAVES, 301), 300),
        (export_of([*LEAVES[:10], some_leaf(9999), *LEAVES[11:]], 300), 300),
        (export_of(some_leaves(COUNT, "globex"), 300, tenant="globex"), 300),
        (export_of(LEAVES, 300, 400), 300),
    ],
    ids=["a gap", "another log", "another tenant", "another range"],
)
def test_what_does_not_go_on_is_refused(rest: list[bytes], seq: int) -> None:
    assert refused([*WHOLE[: at(300)], *rest]).seq == seq


_SMALL = b"".join(export_of(LEAVES[:9], 2, 6))
_SMALL_RECORDS = [json.loads(line) for line in _SMALL.splitlines()]


def _accepted(content: bytes) -> bool:
    try:
        verify(content.splitlines(keepends=True), key=KEY.public)
    except Rejected:
        return False
    return True


def _same_meaning(content: bytes) -> bool:
    try:
        return content.endswith(b"\n") and [json.loads(line) for line in content.splitlines()] == _SMALL_RECORDS
    except ValueError:
        return False


@given(position=st.integers(0, len(_SMALL) - 1), byte=st.integers(0, 255))
@example(position=0, byte=_SMALL[0])
@settings(max_examples=1500, deadline=None)
def test_no_changed_byte_is_accepted(position: int, byte: int) -> None:
    content = _SMALL[:position] + bytes([byte]) + _SMALL[position + 1 :]
    assert _accepted(content) == _same_meaning(content)


@given(start=st.integers(0, len(_SMALL)), length=st.integers(0, 40), instead=st.binary(max_size=8))
@settings(max_examples=700, deadline=None)
def test_no_edit_is_accepted(start: int, length: int, instead: bytes) -> None:
    content = _SMALL[:start] + instead + _SMALL[start + length :]
    assert _accepted(content) <= _same_meaning(content)
