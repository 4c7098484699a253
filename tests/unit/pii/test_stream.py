"""Scrubbing and restoring in pieces gives what the whole text gives."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.pii.evaluation import load
from server.pii.kinds import Kind
from server.pii.scan import WINDOW, scan
from server.pii.scrub import LONGEST_PLACEHOLDER, Restorer, Scrubber, marker, replace, restore, scrub
from server.pii.stream import StreamRestorer, StreamScrubber

MESSAGES = [message.text for message in load()]
FRAGMENTS = [
    "9", "1", "23", "4567", "9123 4567", " ", "\n", "-", ".", "@", "example", "com", " at ",
    " dot ", "john", "Tan ", "Wei ", "Ming", "my name is ", "Mr ", "blk 12 ", "Bedok ", "Road ",
    "#05-", "12", "Singapore ", "560123", "order ", "no. ", "call ", "S1234567D", "４", "\u200b",
    "我叫", "陈", "伟明", "电话", "路", "88号", "password: ", "hunter2", "sk-", "one ", "two ", "+65 ",
    "passport ", "E1234567", "pcs", "bin ", "4111 1111 1111 1111", "GB29 NWBK 6016 1331 9268 19",
    "::", "dob ", "1/2/1990", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----",
    "[EMAIL]", "⟦EMAIL_1⟧", ",", "。", "hello ", "12 Jalan ",
    "EMAIL_1", "⟦phone 1", "PERSON_2⟧", "[SG NRIC 1]", "⟦", "MY", "_", "TEXT_", "lot 3, ", "_at_", "card:",
    "account ", "transfer to ", "DBS ", " is our order", "dockets ", " and ", "my husband ", "Kelvin ", " who ",
    "Peiling", " (", "户口", "老公", "hi ",
]  # fmt: skip
# What a model may make of placeholders, whole and in parts.
WRITTEN = [
    "⟦EMAIL_1⟧", "⟦", "EMAIL", "_", "1", "2", "⟧", "[", "]", "PHONE_1", "phone", "Phone 1", " ", "⟦ my nric-1 ⟧", "MY",
    "NRIC", "A", "I ", "x", "TEXT_1⟧", "【DOB1】", "[2]", "[price:PB-12]", "[CREDIT_CARD]", "。", "\n", "-",
]  # fmt: skip
MAPPING = {
    "⟦EMAIL_1⟧": "a@example.com",
    "⟦PHONE_1⟧": "91234567",
    "⟦MY_NRIC_1⟧": "900307-14-5678",
    "⟦TEXT_1⟧": "⟦EMAIL_2⟧",
}


def pieces(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(text)}), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


def without_cards(text: str) -> str:
    """What an unscrubbed model would repeat, but for card numbers, which never come back."""
    return replace(text, [span for span in scan(text) if span.kind is Kind.CREDIT_CARD], lambda span: marker(span.kind))


def streamed(parts: list[str]) -> str:
    scrubber = StreamScrubber()
    return "".join([*(scrubber.feed(part) for part in parts), scrubber.finish()])


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_labelled_messages_in_equal_pieces(size: int) -> None:
    for text in MESSAGES:
        assert streamed([text[i : i + size] for i in range(0, len(text), size)]) == scrub(text), text


def test_conversations_in_random_pieces() -> None:
    rng = random.Random(7)
    for _ in range(60):
        text = rng.choice(["\n", " ", "\n\n", ". "]).join(rng.sample(MESSAGES, 12))
        assert streamed(pieces(text, [rng.randrange(len(text)) for _ in range(80)])) == scrub(text), text


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40), st.lists(st.integers(0, 400), max_size=30))
def test_fragments_in_any_pieces(fragments: list[str], cuts: list[int]) -> None:
    text = "".join(fragments)
    assert streamed(pieces(text, cuts)) == scrub(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300), st.lists(st.integers(0, 300), max_size=12))
def test_any_text_in_any_pieces(text: str, cuts: list[int]) -> None:
    assert streamed(pieces(text, cuts)) == scrub(text)


@pytest.mark.parametrize("shape", ["word ", "9", "1 2 ", "我叫陈伟明", "a", "Tan Wei Ming ", "12 Main Road "])
def test_hold_back_is_bounded_on_endless_text(shape: str) -> None:
    text = (shape * (3 * WINDOW))[: 3 * WINDOW]
    scrubber = StreamScrubber()
    out = []
    for start in range(0, len(text), 512):
        out.append(scrubber.feed(text[start : start + 512]))
        assert scrubber.held <= WINDOW
    assert "".join([*out, scrubber.finish()]) == scrub(text)


def test_prose_is_passed_on_at_once() -> None:
    scrubber = StreamScrubber()
    text = "thank you for your order and we will deliver it tomorrow morning before the shop opens " * 4
    for word in text.split(" "):
        scrubber.feed(word + " ")
        assert scrubber.held <= 90


def test_chinese_prose_is_passed_on_although_it_has_no_spaces() -> None:
    scrubber = StreamScrubber()
    for char in "您好，您订的杯子和盖子已经安排好了，明天上午会由司机送到店里，谢谢您的支持。" * 12:
        scrubber.feed(char)
        assert scrubber.held <= 90


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30), st.lists(st.integers(0, 300), max_size=30))
def test_restoring_in_any_pieces(fragments: list[str], cuts: list[int]) -> None:
    text = "".join(fragments)
    scrubber = Scrubber()
    hidden = scrubber.scrub(text)
    said = without_cards(text)
    assert restore(hidden, scrubber.mapping) == said
    restorer = StreamRestorer(scrubber.mapping)
    out = [restorer.feed(part) for part in pieces(hidden, cuts)]
    assert "".join([*out, restorer.finish()]) == said
    assert (restorer.mangled, restorer.unresolved) == (0, 0)


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(WRITTEN), max_size=24), st.lists(st.integers(0, 200), max_size=40))
def test_what_a_model_makes_of_placeholders_in_any_pieces(written: list[str], cuts: list[int]) -> None:
    text = "".join(written)
    whole = Restorer(MAPPING)
    said = whole.restore(text)
    restorer = StreamRestorer(MAPPING)
    out = []
    for part in pieces(text, cuts):
        out.append(restorer.feed(part))
        assert restorer.held <= LONGEST_PLACEHOLDER
    assert "".join([*out, restorer.finish()]) == said
    assert (restorer.mangled, restorer.unresolved) == (whole.mangled, whole.unresolved)


@pytest.mark.parametrize(
    "text", ["Mail ⟦EMAIL_1⟧.", "to EMAIL_1⟧, MY", "⟦ phone 1 or [PHONE-12] I", "⟦EMAIL_1⟧⟦MY_NRIC_1⟧"]
)
def test_restoring_in_every_way_to_cut_a_text_twice(text: str) -> None:
    said = restore(text, MAPPING)
    for cuts in itertools.combinations(range(1, len(text)), 2):
        restorer = StreamRestorer(MAPPING)
        out = [restorer.feed(part) for part in pieces(text, list(cuts))]
        assert "".join([*out, restorer.finish()]) == said, cuts


def test_the_first_word_waits_for_at_most_one_placeholder() -> None:
    for text in ("Certainly, we deliver.", "⟦EMAIL_1⟧ is noted.", "[1] says so.", "I see."):
        restorer = StreamRestorer(MAPPING)
        taken = 0
        for char in text:
            taken += 1
            if restorer.feed(char):
                break
        assert taken <= LONGEST_PLACEHOLDER
        assert restorer.held <= 1


def test_mangled_and_unknown_placeholders_are_counted() -> None:
    restorer = StreamRestorer(MAPPING)
    said = restorer.feed("⟦EMAIL_1⟧ ⟦email 1⟧ EMAIL_1 ⟦PHONE_1 ⟦PHONE_9⟧ [DOB 3]") + restorer.finish()
    assert said == "a@example.com a@example.com a@example.com 91234567 [PHONE] [DOB]"
    assert (restorer.mangled, restorer.unresolved) == (4, 2)


def test_restorer_holds_one_partial_placeholder_only() -> None:
    restorer = StreamRestorer({"⟦EMAIL_1⟧": "a@example.com"})
    assert restorer.feed("mail ⟦EMA") == "mail "
    assert restorer.feed("IL_1⟧ now [") == "a@example.com now "
    assert restorer.feed("x" * LONGEST_PLACEHOLDER) == "[" + "x" * LONGEST_PLACEHOLDER
    assert restorer.finish() == ""


def test_numbered_stream_uses_the_placeholders_of_the_run() -> None:
    scrubber = Scrubber()
    assert scrubber.scrub("call 91234567") == "call ⟦PHONE_1⟧"
    stream = StreamScrubber.numbered(scrubber)
    assert (
        stream.feed("again 9123") + stream.feed("4567 or 81234567") + stream.finish() == "again ⟦PHONE_1⟧ or ⟦PHONE_2⟧"
    )
