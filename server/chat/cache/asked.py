"""What a question must be like for its answer to be shared, as far as its words tell."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from server.chat.assistant import Intent, Language, Turn
from server.chat.intents import classify, reply_language
from server.chat.output_guard import names_something
from server.chat.words import fold
from server.pii.scan import scan

# What may be shared: what documents and catalogue say to everybody.
SHARED_INTENTS = frozenset({Intent.PRODUCT_QUESTION, Intent.POLICY_QUESTION, Intent.OTHER})

_LONGEST = 400  # characters; longer messages tell a story, and nobody sends the same one
_MISTAKEN = frozenset({Intent.ORDER, Intent.ORDER_STATUS})
_SURELY = 0.75  # confidence of the phrases from which an order is taken for one
_SHORTEST_ALONE = 4  # words, or twice as many Chinese characters, from which a question can stand without its history
_BLANKS = re.compile(r"\s+")
_EDGES = " .?!。？！,，"
_WORD = re.compile(r"[a-z0-9]+")
_HAN = re.compile(r"[\u3400-\u9fff]")
# Numbers of orders and invoices, and what looks like them.
_NUMBER_OF_ONES_OWN = re.compile(r"\b(?:ord|so|inv|po)[-#]?\d{3,}|#\s*\d{3,}|\b\d{6,}\b")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question whose answer may be shared. `text` is its one spelling, which keys are made of; `alone` says that
    nothing was said before it; `plain` that its phrases leave no doubt that it is a question."""

    text: str
    original: str
    language: Language
    alone: bool
    plain: bool = True


@dataclass(frozen=True, slots=True)
class _Phrases:
    own: re.Pattern[str]
    moment: re.Pattern[str]
    leans: re.Pattern[str]


def look_at(turn: Turn) -> Asked | None:
    """The question, or None when its words already say that its answer is nobody else's."""
    if len(turn.text) > _LONGEST or turn.outlet_name:
        return None
    text = spelling(turn.text)
    if not any(map(str.isalpha, text)) or speaks_of_somebody(text) or scan(turn.text) or names_something(turn.text):
        return None
    verdict = classify(turn.text, turn.locale)
    plain = verdict.intent in SHARED_INTENTS
    # Phrases alone often take a question about ordering for an order. What was answered as one is not kept (entry.py),
    # so here only those are left out that are surely none.
    doubtful = verdict.intent in _MISTAKEN and verdict.confidence < _SURELY
    if verdict.courtesy or verdict.food_safety or verdict.declined or not (plain or doubtful):
        return None
    if turn.history and not _stands_alone(text):
        return None
    return Asked(text, turn.text, reply_language(turn.text, turn.locale), not turn.history, plain)


def spelling(text: str) -> str:
    """One spelling for what is the same question: case, width, blanks and the marks at its ends do not count."""
    return _BLANKS.sub(" ", fold(text)).strip(_EDGES)


def speaks_of_somebody(text: str) -> bool:
    """Whether the words (in one spelling) are about the asker, or about this moment."""
    phrases = _phrases()
    return bool(phrases.own.search(text) or phrases.moment.search(text) or _NUMBER_OF_ONES_OWN.search(text))


def _stands_alone(text: str) -> bool:
    enough = len(_WORD.findall(text)) >= _SHORTEST_ALONE or len(_HAN.findall(text)) >= 2 * _SHORTEST_ALONE
    return enough and not _phrases().leans.search(text)


@cache
def _phrases() -> _Phrases:
    table = tomllib.loads(resources.files("server.chat.cache").joinpath("vetoes.toml").read_text(encoding="utf-8"))
    return _Phrases(*(_any_of(table[name]) for name in ("own", "moment", "leans")))


def _any_of(phrases: Iterable[str]) -> re.Pattern[str]:
    # Chinese phrases are spelt as `fold` spells them.
    parts = [rf"\b{re.escape(phrase)}\b" if phrase.isascii() else re.escape(fold(phrase)) for phrase in phrases]
    return re.compile("|".join(parts))
