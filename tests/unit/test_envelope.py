"""Boxes sealed with master keys open in their own place only."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.envelope import MasterKey, MasterKeys, NotOpened
from server.settings import parse_master_keys

OLD, NEW = MasterKey("old", b"o" * 32), MasterKey("new", b"n" * 32)


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_what_is_sealed_opens_with_its_context_only(plaintext: bytes, context: bytes) -> None:
    keys = MasterKeys([OLD])
    box = keys.seal(plaintext, context)
    assert keys.open(box, context) == plaintext
    with pytest.raises(NotOpened):
        keys.open(box, context + b"x")


@given(st.data())
def test_no_flipped_bit_opens(data: st.DataObject) -> None:
    keys = MasterKeys([OLD])
    box = bytearray(keys.seal(b"secret", b"here"))
    box[data.draw(st.integers(0, len(box) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(NotOpened):
        keys.open(bytes(box), b"here")


@given(st.binary(max_size=40))
def test_no_other_bytes_open(box: bytes) -> None:
    with pytest.raises(NotOpened):
        MasterKeys([OLD]).open(box, b"here")


def test_a_new_key_seals_and_the_old_one_still_opens() -> None:
    box = MasterKeys([OLD]).seal(b"secret", b"here")
    rotated = MasterKeys([NEW, OLD])
    assert rotated.current == "new"
    assert rotated.open(box, b"here") == b"secret"
    with pytest.raises(NotOpened):
        MasterKeys([NEW]).open(box, b"here")


def test_keys_are_read_and_not_shown() -> None:
    encoded = base64.b64encode(b"k" * 32).decode()
    keys = parse_master_keys(f"a={encoded}, b={encoded}")
    assert [key.id for key in keys] == ["a", "b"]
    assert "kkk" not in repr(keys)


@pytest.mark.parametrize("text", ["", "a", "a=", "a=!!", "a=c2hvcnQ=", "é=" + base64.b64encode(b"k" * 32).decode()])
def test_bad_keys_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_master_keys(text)
