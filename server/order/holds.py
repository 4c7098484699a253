"""When a confirmed order waits for a person: far above the outlet's usual, a large first one, a very large one.

A hold guards against typing mistakes and misuse. The customer's confirmation stands; the invoice waits for staff.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

_SURE = 2  # orders with a product before its quantity says what is usual


class HoldReason(StrEnum):
    """Why a person must look at an order."""

    ABOVE_USUAL = "ABOVE_USUAL"
    FIRST_ORDER_LARGE = "FIRST_ORDER_LARGE"
    ORDER_LARGE = "ORDER_LARGE"


@dataclass(frozen=True, slots=True)
class HoldRules:
    """`usual_percent` of the usual is still usual; the limits are before tax, in the tenant's currency."""

    usual_percent: Decimal = Decimal(200)
    first_order_above: Decimal = Decimal(1000)
    any_above: Decimal = Decimal(5000)


@dataclass(frozen=True, slots=True)
class Habit:
    """What an outlet has ordered so far: `orders` of `total` before tax together; by SKU (orders, units together)."""

    orders: int = 0
    total: Decimal = Decimal(0)
    products: Mapping[str, tuple[int, Decimal]] = field(default_factory=dict)


def hold_reasons(
    subtotal: Decimal, quantities: Mapping[str, Decimal], habit: Habit, rules: HoldRules
) -> tuple[HoldReason, ...]:
    """Why an order of `subtotal` before fees and tax, with these units by SKU, waits for staff; empty: it does not.

    `habit` is without the order itself.
    """
    reasons = []
    if habit.orders and _above_usual(subtotal, quantities, habit, rules.usual_percent / 100):
        reasons.append(HoldReason.ABOVE_USUAL)
    if not habit.orders and subtotal > rules.first_order_above:
        reasons.append(HoldReason.FIRST_ORDER_LARGE)
    if subtotal > rules.any_above:
        reasons.append(HoldReason.ORDER_LARGE)
    return tuple(reasons)


def _above_usual(subtotal: Decimal, quantities: Mapping[str, Decimal], habit: Habit, factor: Decimal) -> bool:
    if subtotal * habit.orders > habit.total * factor:
        return True
    for sku, quantity in quantities.items():
        orders, units = habit.products.get(sku, (0, Decimal(0)))
        if orders >= _SURE and quantity * orders > units * factor:
            return True
    return False
