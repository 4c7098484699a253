"""Costs to the micro, and estimates where nobody counted."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.chat.completions import ModelCall, TextDelta, UsageReport
from server.chat.metering import UsageMeter
from server.chat.pricing import ModelPrice, PriceTable, estimate_tokens

TABLE = PriceTable("v1", models={"m": ModelPrice(Decimal("2.50"), Decimal("0.25"), Decimal(10))})
CALL = ModelCall(messages=[{"role": "user", "content": "hello there"}], deadline=0.0, max_output_tokens=10)


def test_cached_input_is_part_of_input_and_cheaper() -> None:
    usage = UsageReport(input_tokens=1000, cached_input_tokens=400, output_tokens=100, reasoning_tokens=50)
    assert TABLE.cost_micros("m", usage) == 600 * 2.5 + 400 * 0.25 + 100 * 10


@pytest.mark.parametrize(("tokens", "micros"), [(1, 3), (3, 8), (2, 5), (0, 0)])
def test_half_a_micro_is_rounded_up(tokens: int, micros: int) -> None:
    assert TABLE.cost_micros("m", UsageReport(tokens, 0, 0, 0)) == micros


def test_a_model_without_a_price_costs_nothing_and_says_so() -> None:
    meter = UsageMeter(TABLE, "unknown")
    meter.begin(CALL)
    meter.saw(UsageReport(10, 0, 10, 0))
    usage = meter.settle()
    assert (usage.cost_micros, usage.estimated, usage.input_tokens) == (0, True, 10)


def test_attempts_add_up_and_an_unbilled_one_is_free() -> None:
    meter = UsageMeter(TABLE, "m")
    meter.begin(CALL)
    meter.not_billed()
    assert meter.settle().input_tokens == 0
    meter.begin(CALL)
    meter.saw(TextDelta("one two"))
    cut = meter.settle()
    assert (cut.input_tokens, cut.output_tokens, cut.estimated) == (5, 2, True)
    meter.begin(CALL)
    meter.saw(UsageReport(100, 0, 20, 0))
    both = meter.settle()
    assert (both.input_tokens, both.output_tokens, both.estimated) == (105, 22, True)
    assert both.cost_micros == cut.cost_micros + 450


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("  \n", 0), ("until 14:00", 4), ("penghantaran", 3), ("下午两点前", 5), ("123456", 2)],
)
def test_estimates_by_script(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


@given(st.text(max_size=200), st.text(max_size=200))
def test_more_text_is_never_fewer_tokens(one: str, two: str) -> None:
    assert estimate_tokens(f"{one} {two}") == estimate_tokens(one) + estimate_tokens(two)
