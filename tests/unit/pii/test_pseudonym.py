"""Pseudonyms are stable inside a tenant, different across tenants and kinds, and useless without the key."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from server.audit.actor import pseudonyms_from
from server.envelope import MasterKey
from server.pii.kinds import Kind
from server.pii.pseudonym import Pseudonyms
from server.settings import Secret, parse_pseudonym_keys

KEYS = {1: b"a" * 32, 3: b"b" * 32}


def test_the_documented_formula() -> None:
    digest = hmac.new(KEYS[3], b"acme\x1fEMAIL\x1fjo@example.com", hashlib.sha256).digest()
    expected = f"EMAIL:v3:{base64.b32encode(digest).decode()[:16]}"
    assert Pseudonyms(KEYS).pseudonym("acme", Kind.EMAIL, "Jo@Example.com") == expected


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        (Kind.PHONE, "+65 9123 4567", "９１２３-4567"),
        (Kind.PHONE, "0065 91234567", "9123\u200b4567"),
        (Kind.SG_NRIC, "s1234567d", "S 1234567 D"),
        (Kind.CREDIT_CARD, "4111 1111 1111 1111", "4111-1111-1111-1111"),
        (Kind.IBAN, "gb29 nwbk 6016 1331 9268 19", "GB29NWBK60161331926819"),
        (Kind.PERSON, "Tan  Wei Ming", "tan wei ming"),
    ],
)
def test_spellings_of_one_value_share_a_pseudonym(kind: Kind, one: str, other: str) -> None:
    made = Pseudonyms(KEYS)
    assert made.pseudonym("t", kind, one) == made.pseudonym("t", kind, other)


def test_tenants_kinds_keys_and_values_are_kept_apart() -> None:
    made = Pseudonyms(KEYS)
    tokens = {
        made.pseudonym("t1", Kind.PHONE, "91234567"),
        made.pseudonym("t2", Kind.PHONE, "91234567"),
        made.pseudonym("t1", Kind.BANK_ACCOUNT, "91234567"),
        made.pseudonym("t1", Kind.PHONE, "91234568"),
        made.pseudonym("t1", Kind.PHONE, "91234567", version=1),
    }
    assert len({token.rsplit(":", 1)[1] for token in tokens}) == 5


def test_keys_must_be_long_enough_and_held() -> None:
    for keys in ({}, {1: b"short"}):
        with pytest.raises(ValueError, match="at least 32 bytes"):
            Pseudonyms(keys)
    with pytest.raises(KeyError):
        Pseudonyms(KEYS).pseudonym("t", Kind.EMAIL, "a@example.com", version=2)


SECRET = Secret("s" * 40)


def test_rotation_keeps_what_was_stored_and_finds_it_again() -> None:
    before = pseudonyms_from(SECRET)
    stored = before.pseudonym("t", Kind.EMAIL, "jo@example.com")
    after = pseudonyms_from(SECRET, [MasterKey("2", b"n" * 32)])
    fresh = after.pseudonym("t", Kind.EMAIL, "jo@example.com")
    assert (stored.split(":")[1], fresh.split(":")[1]) == ("v1", "v2")
    assert after.pseudonyms("t", Kind.EMAIL, "JO@example.com") == (fresh, stored)
    assert after.stands_for(stored, "t", Kind.EMAIL, "jo@example.com")
    assert after.stands_for(fresh, "t", Kind.EMAIL, "jo@example.com")
    assert not after.stands_for(stored, "t2", Kind.EMAIL, "jo@example.com")
    assert not after.stands_for(stored, "t", Kind.EMAIL, "joe@example.com")
    assert not before.stands_for(fresh, "t", Kind.EMAIL, "jo@example.com")


def test_the_first_version_survives_a_new_state_secret_when_it_is_pinned() -> None:
    first = hmac.new(b"s" * 40, b"tria audit pseudonyms v1", hashlib.sha256).digest()
    stored = pseudonyms_from(SECRET).pseudonym("t", Kind.PHONE, "91234567")
    pinned = pseudonyms_from(Secret("another" * 8), [MasterKey("1", first), MasterKey("2", b"n" * 32)])
    assert pinned.stands_for(stored, "t", Kind.PHONE, "91234567")
    assert not pseudonyms_from(Secret("another" * 8)).stands_for(stored, "t", Kind.PHONE, "91234567")


def test_keys_are_read_by_version_and_not_shown() -> None:
    encoded = base64.b64encode(b"k" * 32).decode()
    assert parse_pseudonym_keys("") == ()
    keys = parse_pseudonym_keys(f"2={encoded},3={encoded}")
    assert [key.id for key in keys] == ["2", "3"]
    assert "kkk" not in repr(keys)
    for wrong in (f"a={encoded}", f"0={encoded}", f"2={encoded},2={encoded}", "2=short"):
        with pytest.raises(ValueError, match="must"):
            parse_pseudonym_keys(wrong)
