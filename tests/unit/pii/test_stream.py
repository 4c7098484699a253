"""Scrubbing and restoring in pieces gives what the whole text gives."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.pii.evaluation import load
from server.pii.scan import WINDOW
from server.pii.scrub import LONGEST_PLACEHOLDER, Scrubber, restore, scrub
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
]  # fmt: skip


def pieces(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(text)}), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


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
    assert restore(hidden, scrubber.mapping) == text
    restorer = StreamRestorer(scrubber.mapping)
    out = [restorer.feed(part) for part in pieces(hidden, cuts)]
    assert "".join([*out, restorer.finish()]) == text


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
