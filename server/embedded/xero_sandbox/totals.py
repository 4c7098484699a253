"""Amounts of a document as Xero computes them: each line rounded to the cent, its tax as well, and then added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal

from server.embedded.xero_sandbox.wire import Document

_CENT = Decimal("0.01")
_HUNDRED = Decimal(100)


def cents(amount: Decimal) -> Decimal:
    """Half up, as third parties say of Xero; its own documentation leaves ties open."""
    return amount.quantize(_CENT, ROUND_HALF_UP)


def unit_amount(amount: Decimal, places: int) -> Decimal:
    """A unit price with the decimals that the call asks for by `unitdp`: 2 or 4."""
    return amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def complete(lines: Sequence[Document], amounts: str, rates: Mapping[str, Decimal]) -> tuple[Decimal, Decimal, Decimal]:
    """Sets LineAmount and TaxAmount of each line; returns subtotal, tax and total.

    `amounts` is Xero's LineAmountTypes, `rates` the percentage by tax type.
    """
    for line in lines:
        quantity, price = line.get("Quantity", Decimal(1)), line.get("UnitAmount", Decimal(0))
        discount = 1 - line.get("DiscountRate", Decimal(0)) / _HUNDRED
        line["LineAmount"] = cents(quantity * price * discount)
        rate = Decimal(0) if amounts == "NoTax" else rates.get(line.get("TaxType", "NONE"), Decimal(0))
        line["TaxAmount"] = _tax(line["LineAmount"], rate, inclusive=amounts == "Inclusive")
    booked = sum((line["LineAmount"] for line in lines), Decimal(0))
    tax = sum((line["TaxAmount"] for line in lines), Decimal(0))
    subtotal = booked - tax if amounts == "Inclusive" else booked
    return cents(subtotal), cents(tax), cents(subtotal + tax)


def _tax(amount: Decimal, rate: Decimal, *, inclusive: bool) -> Decimal:
    return cents(amount * rate / (_HUNDRED + rate) if inclusive else amount * rate / _HUNDRED)
