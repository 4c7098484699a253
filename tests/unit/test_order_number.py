"""Order numbers are found in messages as they are made, whole or by their last part, and words are none."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.order.number import is_number, named, new_number, said_numbers

days = st.dates(date(2020, 1, 1), date(2099, 12, 31))
around = st.sampled_from(
    ["cancel order {}", "where is {}?", "请取消订单{}", "{}", "batalkan pesanan {}, ya", "#{} pls"]
)


@given(days, around, st.booleans())
def test_a_number_that_was_made_is_found(day: date, text: str, lower: bool) -> None:
    number = new_number(day)
    said = said_numbers(text.format(number.lower() if lower else number))
    assert len(said) == 1
    assert is_number(number, said[0])
    assert named(text.format(number), [number, "SO-200101-00A00"]) == [number]


def test_the_last_part_is_enough() -> None:
    assert named("cancel f6s1w please", ["SO-261128-F6S1W", "SO-261128-ZZZZ1"]) == ["SO-261128-F6S1W"]
    assert said_numbers("cancel order F6S1W") == ["F6S1W"]
    assert said_numbers("cancel order SO-261128-ZZZZZ") == ["SO-261128-ZZZZZ"]


@pytest.mark.parametrize("text", ["cancel my order", "cancel the bread order", "order 12345 boxes", "order TRAYS", ""])
def test_words_and_quantities_are_no_numbers(text: str) -> None:
    assert said_numbers(text) == []
