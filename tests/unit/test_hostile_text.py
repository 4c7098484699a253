"""No text makes a rule slow: whatever a message repeats, it costs a few times what prose of its length does, and ten
times the text about ten times the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from functools import cache

import pytest

from server.chat.intents import classify, weigh
from server.chat.question import parts
from server.chat.telling import _in_lines
from server.knowledge.lexical import Lexicon
from server.order.extraction import OrderExtractor
from server.order.extraction_evaluation import labelled_set

SHAPES = [
    " ",
    "\n",
    " \n",
    "a ",
    "?",
    ". ",
    ", and ",
    "1 ",
    "order ",
    "送货时间是什么？",
    "，",
    "hi hi ",
    "--",
    "a\u00a0",
]
# What makes patterns look far ahead in vain: runs without blanks, and the words and marks of quantities.
RUNS = [
    *(
        "1",
        "12",
        "a1b2",
        "a.a.",
        "a-",
        "a_",
        "aaaa",
        "A1A1",
        "1,",
        "1.",
        "1/",
        "1-",
        "1x1 ",
        "+1+1",
        "::",
        "a:a:",
        "//",
    ),
    *("一", "一二", "零", "万", "大概", "不要", "两箱", "hundred ", "thousand ", "one ", "with ", "$5 ", "5k", "M8x"),
    *(
        "20 boxes ",
        "50 napkins, ",
        "no ",
        "make that ",
        "usual ",
        "each ",
        "12 inch ",
        "1/2 ",
        "crton ",
        "\ufdfa",
        "\u0661",
    ),
]
BUILT = [
    "1" + " " * 8000,
    "twelve" + " " * 8000,
    "a-" + "1" * 8000 + "_",
    "ab-" + "a-" * 4000 + "_",
    "1" * 60 + "万" * 4000,
    "one " + "hundred " * 1000,
    "$" + "1," * 4000,
]
PROSE = "Good morning, we need 20 boxes of napkins and three cartons of 12 inch pizza boxes by Friday, thanks. " * 80
TODAY = date(2026, 6, 1)


@cache
def extractor() -> OrderExtractor:
    return OrderExtractor(labelled_set("demo").products)


@cache
def lexicon() -> Lexicon:
    return Lexicon()


RULES: dict[str, Callable[[str], object]] = {
    "parts": lambda text: parts(_in_lines(text)),
    "classify": lambda text: classify(_in_lines(text), ""),
    "weigh": weigh,
    "extract": lambda text: extractor().extract(text, today=TODAY),
    "question": lambda text: lexicon().question(text),
}


def cost(rule: Callable[[str], object], text: str, enough: float = 0.0) -> float:
    """Seconds of CPU for one call, the best of five or the first that is `enough`."""
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        rule(text)
        best = min(best, time.process_time() - started)
        if best <= enough:
            break
    return best


@cache
def cost_of_prose(name: str) -> float:
    """What a message of 8,000 characters costs."""
    rule = RULES[name]
    rule(PROSE[:8000])
    return max(cost(rule, PROSE[:8000]), 2e-3)


@pytest.mark.parametrize("name", ["parts", "classify"])
@pytest.mark.parametrize("shape", SHAPES)
def test_rules_are_linear(name: str, shape: str) -> None:
    rule = RULES[name]
    short, long = (shape * (size // len(shape)) + "x" for size in (800, 8000))
    assert cost(rule, long) <= 30 * max(cost(rule, short), 1e-4)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("shape", SHAPES + RUNS)
def test_no_repetition_costs_much_more_than_prose(name: str, shape: str) -> None:
    bound = 12 * cost_of_prose(name)
    assert cost(RULES[name], (shape * 8000)[:8000], bound) <= bound


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("text", BUILT, ids=lambda text: text[:8])
def test_nothing_built_to_be_slow_is(name: str, text: str) -> None:
    bound = 12 * cost_of_prose(name)
    assert cost(RULES[name], text[:8000], bound) <= bound


@pytest.mark.parametrize("text", ["1" * 60 + "万", "大概" * 4000, "one " + "hundred " * 60 + "boxes of napkins"])
def test_numbers_beyond_measure_raise_nothing(text: str) -> None:
    assert extractor().extract(text, today=TODAY).lines == ()


def test_a_message_is_searched_for_a_few_times_at_most() -> None:
    assert len(parts("What is this? " * 500)) == 1
    assert len(parts(" ".join(f"What is thing {number}?" for number in range(500)))) == 4
