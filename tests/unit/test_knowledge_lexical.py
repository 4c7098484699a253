"""Terms, concepts across languages, stems, misspellings, and which language a text is in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.knowledge.language import detect
from server.knowledge.lexical import Lexicon, normalise
from server.knowledge.stemming import english_stem, malay_roots


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon()


@pytest.mark.parametrize(
    ("question", "concepts"),
    [
        ("When do you deliver to Sentosa?", {"@delivery", "@sentosa"}),
        ("什么时候送货到圣淘沙", {"@delivery", "@sentosa"}),
        ("bila hantar ke Sentosa", {"@delivery", "@sentosa"}),
        ("got MOQ or not", {"@minimum_order"}),
        ("kena bunga ke kalau bayar lambat", {"@late_payment"}),
        ("盒子受潮了", {"@box", "@moisture"}),
        ("menghantar barang rosak", {"@delivery", "@defective"}),
    ],
)
def test_the_three_languages_meet_in_concepts(lexicon: Lexicon, question: str, concepts: set[str]) -> None:
    assert concepts <= set(lexicon.question(question).terms)


def test_a_question_is_answered_by_a_text_in_another_language(lexicon: Lexicon) -> None:
    terms = lexicon.document_terms("Deliveries to Sentosa carry a surcharge of SGD 18.")
    units = lexicon.question("圣淘沙要加多少附加费").units
    assert [unit.hit(terms) > 0 for unit in units if "@sentosa" in unit.related or "@surcharge" in unit.related] == [
        True
    ] * 2


def test_the_word_itself_counts_for_more_than_a_related_one(lexicon: Lexicon) -> None:
    (unit,) = lexicon.question("nitrile").units
    assert unit.hit(lexicon.document_terms("nitrile gloves")) == 1.0
    assert 0 < unit.hit(lexicon.document_terms("vinyl gloves")) < 1.0
    assert unit.hit(lexicon.document_terms("paper bags")) == 0.0


def test_stop_words_are_no_units(lexicon: Lexicon) -> None:
    assert lexicon.question("can you do it for me lah").units == ()
    assert lexicon.question("请问你们有没有").units == ()


def test_a_misspelt_word_carries_a_guess_that_only_a_correction_accepts(lexicon: Lexicon) -> None:
    question = lexicon.question("delivry")
    assert question.terms == ("delivry",)
    assert "@delivery" in question.corrected({"delivry": ""}).terms
    assert "delivery" in question.corrected({"delivry": "delivery"}).terms
    assert lexicon.question("flowers").units[0].guess == ()


def test_a_phrase_brings_its_parts(lexicon: Lexicon) -> None:
    weights = {unit.related: unit.weight for unit in lexicon.question("delivery fee").units}
    assert weights["@delivery_charge",] == 1.0
    assert weights["@delivery",] == weights["@price",] == 0.5


def test_the_gloss_is_english(lexicon: Lexicon) -> None:
    assert lexicon.gloss("什么时候送货到圣淘沙") == "time delivery sentosa"


def test_full_width_accents_and_invisible_characters(lexicon: Lexicon) -> None:
    assert normalise("ＣＡＦÉ\u200b's") == "cafes"
    assert lexicon.document_terms("ｄｅｌｉｖｅｒｙ") == lexicon.document_terms("delivery")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_can_be_analysed(text: str) -> None:
    lexicon = SHARED
    assert all(term.strip() for term in lexicon.document_terms(text))
    assert all(0 < unit.weight <= 1 for unit in lexicon.question(text).units)
    assert detect(text).language in {"en", "zh", "ms"}


SHARED = Lexicon()


@pytest.mark.parametrize(
    ("word", "stem"),
    [("boxes", "box"), ("deliveries", "delivery"), ("storing", "stor"), ("store", "stor"), ("cancelled", "cancell"),
     ("glass", "glass"), ("gas", "gas"), ("printed", "print"), ("stopped", "stop"), ("bus", "bus"), ("need", "need")],
)  # fmt: skip
def test_english_stems(word: str, stem: str) -> None:
    assert english_stem(word) == stem


def test_malay_roots() -> None:
    assert "hantar" in malay_roots("penghantaran")
    assert "hantar" in malay_roots("dihantarkan")
    assert malay_roots("kotak")[0] == "kotak"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("When do you deliver?", "en"),
        ("got MOQ or not ah", "en"),
        ("你们什么时候送货", "zh"),
        ("PayNow 可以吗", "zh"),
        ("bila korang hantar barang", "ms"),
        ("boleh order guna telefon tak", "ms"),
        ("harga dah termasuk GST belum", "ms"),
        ("12oz", "en"),
        ("", "en"),
    ],
)
def test_languages(text: str, language: str) -> None:
    assert detect(text).language == language


def test_confidence_says_when_nothing_tells() -> None:
    assert detect("12oz L90").confidence < 0.5
    assert detect("When do you deliver to me?").confidence == 1.0
