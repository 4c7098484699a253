"""The filter between the model's words and the customer, for text that arrives in any pieces."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.chat.assistant import Product
from server.chat.evidence import Evidence, quote
from server.chat.markers import CanaryLeakedError, MarkerFilter, without_markers
from server.knowledge.passages import Passage

CANARY = "desk-cafe01"
LONGEST_HELD = 60


def passage(number: int, text: str = "Delivery is on Tuesdays. Boxes are recycled.") -> Passage:
    document = f"documents/d{number}"
    return Passage(f"{document}/chunks/0@0", document, "0", "Title", "Heading", text, "en", 0.9, "0")


def evidence(price: str = "0.65") -> Evidence:
    found = Evidence()
    found.add_passages([passage(1), passage(2)])
    box = Product("PB-12", "Box", {}, "piece", 100, Decimal(price), "SGD", 100, in_stock=True, category="boxes")
    found.add_products([box])
    return found


def run(pieces: list[str]) -> tuple[str, MarkerFilter]:
    markers = MarkerFilter(evidence(), CANARY)
    text = "".join(markers.feed(piece).text for piece in pieces) + markers.finish().text
    return text, markers


@pytest.mark.parametrize(
    ("said", "shown", "cited", "invented"),
    [
        ("On Tuesdays [1].", "On Tuesdays [1].", [1], 0),
        ("On Tuesdays [3].", "On Tuesdays.", [], 1),
        ("Both [1, 2] and [1].", "Both [1][2] and [1].", [1, 2], 0),
        ("Mixed [2, 9].", "Mixed [2].", [2], 1),
        ("It is [price:PB-12] each.", "It is SGD 0.65 each.", [], 0),
        ("It is [price:PB-99] each.", "It is each.", [], 1),
        ("No idea. [0]", "No idea.", [], 0),
        ("[sic] [a link](x) [1234] [ 1 ]", "[sic] [a link](x) [1234] [ 1 ]", [], 0),
        ("open [1", "open [1", [], 0),
        ("[" * 80 + "1]", "[" * 79 + "[1]", [1], 0),
    ],
)
def test_what_is_shown(said: str, shown: str, cited: list[int], invented: int) -> None:
    text, markers = run([said])
    assert (text, sorted(markers.cited), markers.invented) == (shown, cited, invented)
    assert [found.index for found in MarkerFilter(evidence(), CANARY).feed(f"{said} ").cited] == cited, "told once"


ALPHABET = st.lists(
    st.sampled_from(
        ["[1]", "[2]", "[9]", "[0]", "[1, 2]", "[", "]", " ", "1", "price:", "[price:PB-12]", "[price:X", "PB-12",
         "word", "desk-cafe", "desk-", "d", "\n", "送货", "⟦EMAIL_1⟧", "[price:" + "A" * 45, ",", "."]
    ),
    max_size=25,
)  # fmt: skip


@given(ALPHABET, st.lists(st.integers(0, 1000), max_size=30))
def test_any_cut_shows_and_cites_the_same(parts: list[str], cuts: list[int]) -> None:
    said = "".join(parts)
    edges = [0, *sorted(cut % (len(said) + 1) for cut in cuts), len(said)]
    pieces = [said[a:b] for a, b in pairwise(edges)]
    whole, one = run([said])
    text, markers = run(pieces)
    assert text == whole
    assert markers.cited == one.cited
    assert (markers.invented, markers.abstained, markers.prices) == (one.invented, one.abstained, one.prices)


@given(ALPHABET)
def test_the_hold_back_is_bounded(parts: list[str]) -> None:
    markers = MarkerFilter(Evidence(), CANARY)
    fed = shown = 0
    for part in parts:
        for character in part:
            fed += 1
            shown += len(markers.feed(character).text)
            if not markers.invented and not markers.abstained:
                assert fed - shown <= LONGEST_HELD


@given(st.integers(1, len(CANARY)), st.text(max_size=20))
def test_not_one_letter_of_a_leaked_canary_is_shown(size: int, before: str) -> None:
    markers = MarkerFilter(Evidence(), CANARY)
    said = f"{before}{CANARY} and the rest"
    shown: list[str] = []
    with pytest.raises(CanaryLeakedError):
        shown.extend(markers.feed(said[at : at + size]).text for at in range(0, len(said), size))
    assert before.startswith("".join(shown))


@pytest.mark.parametrize(("price", "told"), [("0.65", "SGD 0.65"), ("12", "SGD 12.00"), ("0.0455", "SGD 0.0455")])
def test_a_price_is_told_as_the_catalogue_has_it(price: str, told: str) -> None:
    assert evidence(price).price("PB-12") == told


def test_a_quote_is_the_sentence_that_the_claim_leans_on() -> None:
    assert quote(passage(1), "All our boxes are recycled") == "Boxes are recycled."
    assert quote(passage(1, "周二和周四送货。周日休息。"), "我们周日休息") == "周日休息。"


def test_a_passage_found_twice_keeps_its_number() -> None:
    found = Evidence()
    found.add_passages([passage(1), passage(2)])
    assert [shown["n"] for shown in found.add_passages([passage(2), passage(3)])] == [2, 3]


def test_history_loses_its_markers() -> None:
    assert without_markers("On Tuesdays [1][2]. It is SGD 1 [0]") == "On Tuesdays. It is SGD 1"
