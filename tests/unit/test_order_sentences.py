"""What is said about orders, in every language: nothing is missing, and nothing is left to be filled in."""

from __future__ import annotations

import re
from string import Formatter

import pytest

from server.order.sentences import _MOVES, _STATES, _WORDS, Saying, say, say_not_now
from server.order.states import Move, State

LANGUAGES = ("en", "zh", "ms")
_HAN = re.compile(r"[\u4e00-\u9fff]")


@pytest.mark.parametrize("saying", Saying)
def test_a_sentence_says_the_same_fields_in_every_language(saying: Saying) -> None:
    english, *others = _WORDS[saying]
    fields = sorted(filter(None, (name for _, name, _, _ in Formatter().parse(english))))
    for other in others:
        assert sorted(filter(None, (name for _, name, _, _ in Formatter().parse(other)))) == fields
    assert len({*_WORDS[saying]}) == len(LANGUAGES)
    told = {language: say(saying, language, **dict.fromkeys(fields, "X")) for language in LANGUAGES}
    assert _HAN.search(told["zh"])
    assert not _HAN.search(told["en"] + told["ms"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_state_and_move_has_words(language: str) -> None:
    assert {*_STATES} == {state.value for state in State}
    assert {*_MOVES} == {move.value for move in Move}
    for state in State:
        for move in Move:
            assert "{" not in say_not_now(state, move, language)
    assert (
        say_not_now(State.FULFILLING, Move.CANCEL, "en") == "This order is being prepared: it cannot be cancelled now."
    )
