"""References to people, and what stands for them: the same for all spellings of one address, never the name itself, and
never the same for two people."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.audit.actor import Shown, pseudonyms_from
from server.pii.people import People
from server.settings import Secret

PEOPLE = People(Secret("s" * 40))
SHOWN = Shown(pseudonyms_from(Secret("s" * 40)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ann@example.com", " Ann@Example.com "),
        ("+65 9123 4567", "+6591234567"),
        ("+65 (9123) 4567", "+65-9123-4567 "),
    ],
)
def test_spellings_of_one_person(one: str, other: str) -> None:
    assert PEOPLE.reference("acme", one) == PEOPLE.reference("acme", other)
    assert SHOWN.stand_in("acme", one) == SHOWN.stand_in("acme", other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("aB3x", "ab3x"),
        ("ann", "bob"),
        ("ann@example.com", "ann@example.org"),
        # Ids made of digits are no telephone numbers.
        ("651234567", "1234567"),
        ("001234567", "1234567"),
        ("1234-5678", "12345678"),
        ("91234567", "+6591234567"),
        ("+91234567", "+6591234567"),
        # Characters that look alike, or become one when they are folded.
        ("strasse@example.com", "straße@example.com"),
        ("\u212aim@example.com", "kim@example.com"),
        ("аnn@example.com", "ann@example.com"),
        ("Ann Lee", "ann lee"),
    ],
)
def test_two_people(one: str, other: str) -> None:
    assert PEOPLE.reference("acme", one) != PEOPLE.reference("acme", other)
    assert SHOWN.stand_in("acme", one) != SHOWN.stand_in("acme", other)


def test_what_is_shown_of_nobody_is_not_taken_for_somebodys_pseudonym() -> None:
    stolen = SHOWN.stand_in("acme", "ann@example.com")
    assert SHOWN.stand_in("acme", stolen) != stolen
    assert SHOWN.subject("acme", stolen) == stolen, "the trail shows what stands for somebody as it is"


SUBJECTS = st.one_of(
    st.text(string.digits + "+- ()", min_size=1, max_size=12),
    st.from_regex(r"(\+|00|\+65|65|0065)?[0-9]{7,9}", fullmatch=True),
    st.from_regex(r"[a-cA-C]{1,2}@[xX]\.(sg|SG)", fullmatch=True),
    st.text(min_size=1, max_size=4),
)


def same_person(one: str, other: str) -> bool:
    """What may be one person: the same id, the same address but for the case of A to Z, the same number after a `+`."""
    if one == other:
        return True
    if "@" in one and "@" in other:
        return one.strip().encode().lower() == other.strip().encode().lower()
    plain = [text.strip() for text in (one, other)]
    return (
        all(text.startswith("+") for text in plain)
        and len({"".join(c for c in text if c not in " ()-") for text in plain}) == 1
    )


@settings(deadline=None)
@given(SUBJECTS, SUBJECTS)
@example("651234567", "1234567")
def test_nothing_makes_two_people_one(one: str, other: str) -> None:
    for stands in (PEOPLE.reference, SHOWN.stand_in):
        if stands("acme", one) == stands("acme", other):
            assert same_person(one, other)
    # Whoever is one person in the rows is one in keys and in the log.
    assert (PEOPLE.reference("acme", one) == PEOPLE.reference("acme", other)) == (
        SHOWN.stand_in("acme", one) == SHOWN.stand_in("acme", other)
    )


def test_a_reference_says_nothing() -> None:
    reference = PEOPLE.reference("acme", "ann")
    assert reference.startswith("p1_")
    assert len(reference) == 29
    assert "ann" not in reference
    assert reference != PEOPLE.reference("other", "ann")
    assert reference != People(Secret("t" * 40)).reference("acme", "ann")
    assert PEOPLE.reference("acme", "") == PEOPLE.reference("", "ann") == ""


def test_looked_up_text_is_kept_apart_by_purpose() -> None:
    assert PEOPLE.blind("acme", "session", "x") != PEOPLE.blind("acme", "alias", "x")
