"""No text makes a rule slow: ten times the text may cost about ten times the time, whatever it repeats."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from server.chat.intents import classify
from server.chat.question import parts
from server.chat.telling import _in_lines

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
RULES: dict[str, Callable[[str], object]] = {
    "parts": lambda text: parts(_in_lines(text)),
    "classify": lambda text: classify(_in_lines(text), ""),
}


def cost(rule: Callable[[str], object], text: str) -> float:
    """Seconds of CPU for one call, the best of five."""
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        rule(text)
        best = min(best, time.process_time() - started)
    return best


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("shape", SHAPES)
def test_rules_are_linear(name: str, shape: str) -> None:
    rule = RULES[name]
    short, long = (shape * (size // len(shape)) + "x" for size in (800, 8000))
    assert cost(rule, long) <= 30 * max(cost(rule, short), 1e-4)


def test_a_message_is_searched_for_a_few_times_at_most() -> None:
    assert len(parts("What is this? " * 500)) == 1
    assert len(parts(" ".join(f"What is thing {number}?" for number in range(500)))) == 4
