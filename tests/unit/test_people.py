"""References to people: the same for all spellings of one address, and never the name itself."""

from __future__ import annotations

import pytest

from server.pii.people import People
from server.settings import Secret

PEOPLE = People(Secret("s" * 40))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ann@example.com", " Ann@Example.com "),
        ("+65 9123 4567", "91234567"),
        ("0065-91234567", "+6591234567"),
    ],
)
def test_spellings_of_one_person(one: str, other: str) -> None:
    assert PEOPLE.reference("acme", one) == PEOPLE.reference("acme", other)


@pytest.mark.parametrize(("one", "other"), [("aB3x", "ab3x"), ("ann", "bob"), ("ann@example.com", "ann@example.org")])
def test_two_people(one: str, other: str) -> None:
    assert PEOPLE.reference("acme", one) != PEOPLE.reference("acme", other)


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
