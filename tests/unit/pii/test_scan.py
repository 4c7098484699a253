"""Properties of scanning and scrubbing that hold for any text."""

from __future__ import annotations

import itertools
import time
import uuid

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.pii.evaluation import SOFT_KINDS, UNSEEN, evaluate, load
from server.pii.kinds import Kind
from server.pii.normalise import fold
from server.pii.patterns import Candidate
from server.pii.scan import RULES, WINDOW, candidates, resolve, scan, triggered
from server.pii.scrub import Scrubber, restore, scrub
from tests.unit.pii.test_stream import FRAGMENTS, without_cards

LABELLED = list(load())
TEXTS = st.one_of(st.text(max_size=200), st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join))


@settings(max_examples=500, deadline=None)
@given(st.text(st.characters(), max_size=300))
def test_never_raises_and_spans_are_well_formed(text: str) -> None:
    end = 0
    for span in scan(text):
        assert end <= span.start < span.end <= len(text)
        end = span.end


@pytest.mark.parametrize("text", ["\ud800", "a\udfff@x.com", "\x00" * 50, "\u200b" * 9000, "1" * 9000, "⟦" * 500])
def test_odd_text(text: str) -> None:
    assert restore(*Scrubber()(text)) == text


@settings(max_examples=300, deadline=None)
@given(st.uuids(), st.sampled_from(["{}", "conversations/{}/runs/x", "request {} failed", "call {} now", "IBAN {}"]))
@example(uuid.UUID("9ba19907-ad00-42a7-9700-a8ead9bb46e0"), "{}")  # its end passes MOD 97-10
@example(uuid.UUID("672a2c0c-0066-4150-8659-538da1d03411"), "conversations/{}")  # 0066 41…: a number in Thailand
@example(uuid.UUID("66cf1c24-0000-4000-8000-000091234567"), "call {} now")
def test_an_identifier_is_no_personal_data(identifier: uuid.UUID, sentence: str) -> None:
    text = sentence.format(identifier)
    assert scrub(text) == text


def test_what_stands_beside_an_identifier_is_found() -> None:
    identifier = "9ba19907-ad00-42a7-9700-a8ead9bb46e0"
    assert scrub(f"{identifier} 91234567 {identifier}") == f"{identifier} [PHONE] {identifier}"
    assert scrub(f"my password is {identifier}, call 91234567") == "my password is [SECRET], call [PHONE]"


def standing(text: str, *, everything: bool) -> list[tuple[int, int, Kind]]:
    folded = fold(text)
    rules = RULES if everything else triggered(folded)
    return [(c.start, c.end, c.kind) for c in resolve(candidates(folded, rules))]


@settings(max_examples=500, deadline=None)
@given(TEXTS)
@example("DOB00000000")  # the label glued to its date
@example("户口\n0000000")  # the label a line above its number
def test_triggers_are_necessary(text: str) -> None:
    """The rules that did not fire would have changed nothing: the prefilter loses no finding."""
    assert standing(text, everything=False) == standing(text, everything=True)


def test_triggers_are_necessary_on_labelled_messages() -> None:
    for message in LABELLED:
        assert standing(message.text, everything=False) == standing(message.text, everything=True), message.text


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_scrubbing_twice_changes_nothing(text: str) -> None:
    once = scrub(text)
    assert scrub(once) == once


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("30000000 4111 111111111111", "[PHONE] [CREDIT_CARD]"),  # the card explained the number before it away
        ("password:0000-----BEGIN PRIVATE KEY-----", "password:[SECRET]"),
        ("call [EMAIL] 91234567", "call [EMAIL] [PHONE]"),
    ],
)
def test_what_a_finding_hid_is_found(text: str, scrubbed: str) -> None:
    assert scrub(text) == scrubbed == scrub(scrubbed)


def test_scrubbing_labelled_messages_twice_changes_nothing() -> None:
    for message in LABELLED:
        once = scrub(message.text)
        assert scrub(once) == once, message.text


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_restore_undoes_scrub(text: str) -> None:
    hidden, mapping = Scrubber()(text)
    assert restore(hidden, mapping) == without_cards(text)


def test_labelled_values_do_not_reach_the_model() -> None:
    for message in LABELLED:
        hidden = Scrubber().scrub(message.text)
        if message.slice != "obfuscated":
            assert not [
                s for s in scan(message.text) if message.text[s.start : s.end] in hidden and s.end - s.start > 4
            ], message.text


@pytest.mark.parametrize(
    "mangled", ["⟦email_1⟧", "[EMAIL 1]", "⟦ EMAIL_1 ⟧", "【EMAIL-1】", "⟦EMAIL_1", "EMAIL_1⟧", "EMAIL_1"]
)
def test_mangled_placeholders_are_restored(mangled: str) -> None:
    assert restore(f"to {mangled}.", {"⟦EMAIL_1⟧": "a@example.com"}) == "to a@example.com."


def test_unknown_placeholders_are_shown_masked() -> None:
    assert restore("to ⟦PHONE_9⟧", {}) == "to [PHONE]"


def test_card_numbers_are_gone_for_good() -> None:
    scrubber = Scrubber()
    hidden = scrubber.scrub("pay with 4111 1111 1111 1111 please")
    assert hidden == "pay with [CREDIT_CARD] please"
    assert restore(hidden, scrubber.mapping) == hidden
    assert (scrubber.cards, scrubber.mapping) == (1, {})


def test_a_literal_placeholder_reveals_nothing() -> None:
    scrubber = Scrubber()
    scrubber.scrub("mail a@example.com")
    hidden = scrubber.scrub("what is ⟦EMAIL_1⟧?")
    assert "EMAIL_1" not in hidden
    assert restore(hidden, scrubber.mapping) == "what is ⟦EMAIL_1⟧?"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12), st.integers(1, 3)), max_size=20))
def test_resolution_keeps_no_overlap(raw: list[tuple[int, int, int]]) -> None:
    found = [Candidate(start, start + size, Kind.EMAIL, rank) for start, size, rank in raw]
    chosen = resolve(found)
    assert all(a.end <= b.start for a, b in itertools.pairwise(chosen))
    assert all(any(c.start < k.end and k.start < c.end for k in chosen) for c in found)


def test_labelled_messages_meet_the_bars() -> None:
    scores = evaluate(LABELLED)
    assert len(LABELLED) >= 2300
    assert {message.language for message in LABELLED} >= {"en", "zh", "ms"}
    assert {score.kind: (round(score.precision, 3), round(score.recall, 3)) for score in scores if score.below} == {}
    assert all(score.found + score.missed >= (80 if score.kind in SOFT_KINDS else 15) for score in scores)


def test_unseen_messages_are_no_labelled_ones() -> None:
    unseen = list(load(UNSEEN))
    assert len(unseen) >= 300
    assert not {message.text for message in unseen} & {message.text for message in LABELLED}


def test_offsets_are_exact() -> None:
    for message in LABELLED:
        for span in scan(message.text):
            piece = message.text[span.start : span.end]
            assert piece == piece.strip(), message.text


SHAPES = [
    "a", "1", "1 ", "+1", "a.a.", "a@", "a:", "A1", "/", "::", " ", "-", "1-", "1.", "a a ", "@a.",
    ".", "S1", "one ", "Mr A ", "Tan Wei ", "blk 1 ", "#01-", "路1", "我叫", "密码 ",
    "-----BEGIN PRIVATE KEY-----", "eyJ", "+12345678 ", "12 Main Street ", "at dot ", "name: A ",
    "12 Jalan A", "账号 1", "1.1.1.1 ", "4111 ", "GB29 ", "9123 4567 ", "call A ", "sk-",
    "a (at) b (dot) ", "\u200b1", "９", "123-45-6789 ", "token=", "1/", "unit 1-1 ", "11 ", "3 ",
    "111 ", "bearer ", "http://a:", "hp9", "Ah A", "card:4", "a_at_b_dot_", "91234567,", "5 dbs ", "Tan here ",
    "联系王", "找A", "level 3, ", "[.]", "transfer to 1", "bank a ", "account 1 ", "Aaron said ",
    "A ", "12345678 Aaron ", "91234567, ", "order 9 and ", "财务林", "Tan Tan ", "my wife A and ", "~A\n",
    "91234567 is ",
]  # fmt: skip


def _seconds(text: str) -> float:
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        scan(text)
        best = min(best, time.process_time() - started)
    return best


@pytest.mark.parametrize("shape", SHAPES)
def test_repeated_shapes_cost_in_proportion_to_their_length(shape: str) -> None:
    """Four times the text costs about four times the time (a backtracking pattern would cost sixteen times), and no
    shape costs more than 400 times a linear floor that does hardly anything: folding ordinary text."""
    long = (shape * (32768 // len(shape) + 1))[:32768]
    quarter = _seconds(long[: 2 * WINDOW])
    whole = _seconds(long)
    assert whole < 8 * max(quarter, 0.001)
    assert whole < 400 * max(_floor(), 0.0005)


def _floor() -> float:
    prose = ("please send the usual cartons to the shop " * 800)[:32768]
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        fold(prose + "\u00e9")
        best = min(best, time.process_time() - started)
    return best
