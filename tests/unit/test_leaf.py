"""The canonical bytes of an audit leaf: fixed by vectors, and the same whatever the event holds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.audit.actions import Action, Decision, LeafKind
from server.audit.leaf import Actor, Leaf, SealedValue, Source, clean, decode, encode, leaf_hash
from server.audit.store import Entry

VECTORS = json.loads((Path(__file__).parent / "data" / "leaf_vectors.json").read_text())

_ids = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", max_size=20)
_whole = st.integers(-(2**53) + 1, 2**53 - 1)
_plain: Any = st.recursive(
    st.text() | _whole,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_sealed = st.builds(SealedValue, _ids, _ids, _ids, st.binary(max_size=12), st.binary(max_size=40))
_leaves = st.builds(
    Leaf,
    tenant=_ids,
    action=st.sampled_from(Action),
    actor=st.builds(Actor, _ids, st.text(max_size=20), _ids, _ids),
    decision=st.sampled_from(Decision),
    kind=st.sampled_from(LeafKind),
    status=_ids,
    targets=st.lists(st.text(max_size=20), max_size=3).map(tuple),
    rpc=st.text(max_size=20),
    request_id=_ids,
    trace_id=_ids,
    source=st.builds(Source, _ids, st.text(max_size=20)),
    details=st.dictionaries(st.text(max_size=10), _plain, max_size=3),
    sealed=st.lists(_sealed, max_size=2).map(tuple),
    event_id=st.uuids().map(str),
    occurred_at=st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["name"]))
def test_vectors(vector: dict[str, str]) -> None:
    encoded = vector["bytes"].encode()
    assert encode(decode(encoded)) == encoded
    assert leaf_hash(encoded).hex() == vector["hash"]
    assert hashlib.sha256(b"\x00" + encoded).hexdigest() == vector["hash"]


@given(_leaves)
def test_the_bytes_are_what_a_plain_json_library_writes(leaf: Leaf) -> None:
    encoded = encode(leaf)
    tree = json.loads(encoded)
    assert json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == encoded
    assert b"\n" not in encoded
    assert not any(byte < 0x20 or byte == 0x7F for byte in encoded)


@given(_leaves)
def test_decoding_and_encoding_again_gives_the_same_bytes(leaf: Leaf) -> None:
    encoded = encode(leaf)
    assert encode(decode(encoded)) == encoded
    assert decode(encoded).event_id == leaf.event_id
    assert decode(encoded).occurred_at == leaf.occurred_at


@given(_leaves, _leaves)
def test_other_events_have_other_bytes(one: Leaf, other: Leaf) -> None:
    assert (encode(one) == encode(other)) is (one.event_id == other.event_id and one == other)


@given(_leaves, st.dictionaries(_ids, _whole, min_size=2, max_size=5))
def test_the_order_of_keys_does_not_matter(leaf: Leaf, details: dict[str, int]) -> None:
    turned = dict(reversed(details.items()))
    assert encode(replace(leaf, details=details)) == encode(replace(leaf, details=turned))


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_cleaned_text_is_one_line_and_storable(text: str) -> None:
    cleaned = clean(text)
    assert "\x00" not in cleaned
    assert "\n" not in cleaned
    assert "\r" not in cleaned
    cleaned.encode()
    assert clean(cleaned) == cleaned


def _leaf(**details: Any) -> Leaf:
    return Leaf("acme", Action.DATA_READ, Actor("STAFF", "ada"), Decision.ALLOWED, LeafKind.ACCESS, details=details)


def test_what_json_libraries_disagree_about_becomes_text() -> None:
    tree = json.loads(encode(_leaf(truth=True, part=0.1, nothing=None, many=(1, 2))))
    assert tree["details"] == {"truth": "true", "part": "0.1", "nothing": "", "many": [1, 2]}


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**70])
def test_numbers_that_other_languages_round_become_text(number: int) -> None:
    assert json.loads(encode(_leaf(number=number)))["details"] == {"number": str(number)}


@given(_leaves, st.dictionaries(_ids, st.integers(-(2**63), 2**64), max_size=4))
def test_any_integer_of_a_request_can_be_recorded(leaf: Leaf, details: dict[str, int]) -> None:
    encoded = encode(replace(leaf, details=details))
    assert {name: int(value) for name, value in decode(encoded).details.items()} == details  # type: ignore[arg-type]


def test_details_that_cannot_be_encoded_are_left_out_and_the_event_is_kept() -> None:
    deep: Any = "x"
    for _ in range(20):
        deep = [deep]
    entry = Entry.of(_leaf(deep=deep))
    assert entry.bare
    assert json.loads(entry.encoded)["details"] == {"unencodable": "true"}
    assert not Entry.of(_leaf(flat="x")).bare


@pytest.mark.parametrize("broken", [b"", b"[]", b"{}", b'{"v":1}', b'{"v":2}', b"\xff"])
def test_what_is_no_leaf_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode(broken)
