"""When a person must look: the limits themselves, and what holds for any order."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.order.holds import Habit, HoldReason, HoldRules, hold_reasons

RULES = HoldRules(usual_percent=Decimal(200), first_order_above=Decimal(1000), any_above=Decimal(5000))
USUAL = Habit(4, Decimal(800), {"A": (4, Decimal(40)), "B": (1, Decimal(10))})
AMOUNTS = st.decimals(min_value=1, max_value=100_000, places=2)


@pytest.mark.parametrize(
    ("subtotal", "units", "habit", "expected"),
    [
        ("1000", {}, Habit(), ()),
        ("1000.01", {}, Habit(), (HoldReason.FIRST_ORDER_LARGE,)),
        ("5000.01", {}, Habit(), (HoldReason.FIRST_ORDER_LARGE, HoldReason.ORDER_LARGE)),
        ("400", {}, USUAL, ()),  # twice the usual 200
        ("400.01", {}, USUAL, (HoldReason.ABOVE_USUAL,)),
        ("5000.01", {}, Habit(1, Decimal(5000)), (HoldReason.ORDER_LARGE,)),
        ("100", {"A": "20"}, USUAL, ()),
        ("100", {"A": "21"}, USUAL, (HoldReason.ABOVE_USUAL,)),
        ("100", {"B": "999"}, USUAL, ()),  # ordered once: nothing is usual yet
        ("100", {"C": "999"}, USUAL, ()),
    ],
)
def test_limits(subtotal: str, units: dict[str, str], habit: Habit, expected: tuple[HoldReason, ...]) -> None:
    quantities = {sku: Decimal(quantity) for sku, quantity in units.items()}
    assert hold_reasons(Decimal(subtotal), quantities, habit, RULES) == expected


@given(AMOUNTS, AMOUNTS, st.integers(0, 50), AMOUNTS)
def test_a_larger_order_is_never_held_less(small: Decimal, more: Decimal, orders: int, each: Decimal) -> None:
    habit = Habit(orders, each * orders)
    less = set(hold_reasons(small, {}, habit, RULES))
    assert less <= set(hold_reasons(small + more, {}, habit, RULES))


@given(st.integers(1, 50), AMOUNTS)
def test_the_usual_itself_is_not_above_the_usual(orders: int, each: Decimal) -> None:
    habit = Habit(orders, each * orders, {"A": (orders, Decimal(10) * orders)})
    assert HoldReason.ABOVE_USUAL not in hold_reasons(each, {"A": Decimal(10)}, habit, RULES)
