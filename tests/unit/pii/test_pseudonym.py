"""Pseudonyms are stable inside a tenant, different across tenants and kinds, and useless without the key."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from server.pii.kinds import Kind
from server.pii.pseudonym import Pseudonyms

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
