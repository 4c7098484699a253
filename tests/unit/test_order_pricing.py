"""What orders cost: sums, rounding, tax by day, fees; and every guard with its reason and its sentence."""

from __future__ import annotations

import decimal
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import AppError, Code, Reason
from server.order.delivery_days import Calendar
from server.order.pricing import Offer, Priced, Wanted, price_order, refuse
from server.order.terms import MoneyRules, Terms
from server.settings import TaxRate

MONEY = MoneyRules((TaxRate(date(2023, 1, 1), Decimal("0.08")), TaxRate(date(2024, 1, 1), Decimal("0.09"))), "SGD")
ZONE = ZoneInfo("Asia/Singapore")
MONDAY = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)  # 10:00 in Singapore
WORKING = {day: time(15, 30) for day in range(5)} | {5: time(12)}
CALENDAR = Calendar(ZONE, WORKING, {5: time(12)}, frozenset(range(6)))
TERMS = Terms("o", "Outlet", "en", MONEY, CALENDAR)
BOX = Offer(
    "PB-12", "Pizza box 12 inch", "piece", "SR", Decimal("0.58"), "披萨盒", "Kotak piza", Decimal(100), Decimal(500)
)
NAPKIN = Offer("NP", "Napkin", "pack", "SR", Decimal("3.10"))
OFFERS = {"PB-12": BOX, "NP": NAPKIN}

prices = st.decimals(min_value="0.0001", max_value=9999, places=4)
quantities = st.integers(1, 100_000).map(Decimal)


def priced(*lines: tuple[str, str], terms: Terms = TERMS, now: datetime = MONDAY, **more: Any) -> Priced:
    wanted = [Wanted(sku, Decimal(quantity)) for sku, quantity in lines]
    return price_order(wanted, more.get("offers", OFFERS), terms, more.get("day"), now, held=more.get("held"))


def reasons(order: Priced) -> list[tuple[Reason, str]]:
    return [(violation.reason, violation.sku) for violation in order.violations]


@given(st.lists(st.tuples(prices, quantities), min_size=1, max_size=30), st.sampled_from(["HALF_UP", "HALF_EVEN"]))
def test_rounded_lines_add_up(lines: list[tuple[Decimal, Decimal]], mode: str) -> None:
    terms = replace(
        TERMS, rounding=getattr(decimal, f"ROUND_{mode}"), delivery_fee=Decimal(12), free_delivery_from=Decimal(150)
    )
    offers = {f"S{n}": Offer(f"S{n}", "x", "piece", "SR", price) for n, (price, _) in enumerate(lines)}
    order = price_order([Wanted(f"S{n}", amount) for n, (_, amount) in enumerate(lines)], offers, terms, None, MONDAY)
    whole = (*order.lines, *order.fee_lines)
    assert order.total == sum(line.line_total + line.line_tax for line in whole)
    assert order.total == order.subtotal + order.fees + order.tax
    assert order.currency == "SGD"
    for line, (price, amount) in zip(order.lines, lines, strict=True):
        assert line.line_total >= 0
        assert line.line_tax >= 0
        assert line.line_total == line.line_total.quantize(Decimal("0.01"))
        assert abs(line.line_total - price * amount) <= Decimal("0.005")
        assert abs(line.line_tax - line.line_total * Decimal("0.09")) <= Decimal("0.005")
    assert bool(order.subtotal) == (Reason.ORDER_EMPTY not in dict(reasons(order)))


def test_tax_is_rounded_by_line_and_then_added() -> None:
    """Three lines of 0.05 bring 0.00 of tax each; 9 % of their sum would be 0.01 (Xero's own arithmetic)."""
    offers = {sku: Offer(sku, sku, "piece", "SR", Decimal("0.05")) for sku in "ABC"}
    order = priced(("A", "1"), ("B", "1"), ("C", "1"), offers=offers)
    assert (order.subtotal, order.tax, order.total) == (Decimal("0.15"), Decimal("0.00"), Decimal("0.15"))


@pytest.mark.parametrize(("mode", "amount", "tax"), [("HALF_UP", "0.25", "0.03"), ("HALF_EVEN", "0.24", "0.02")])
def test_the_rounding_can_be_switched(mode: str, amount: str, tax: str) -> None:
    terms = replace(TERMS, rounding=getattr(decimal, f"ROUND_{mode}"), money=replace(MONEY, tax_rates=(
        TaxRate(date(2020, 1, 1), Decimal("0.10")),
    )))  # fmt: skip
    order = priced(("A", "1"), terms=terms, offers={"A": Offer("A", "A", "piece", "SR", Decimal("0.245"))})
    assert (order.lines[0].line_total, order.lines[0].line_tax) == (Decimal(amount), Decimal(tax))


@pytest.mark.parametrize(
    ("now", "rate"),
    [
        (datetime(2023, 12, 31, 15, 59, tzinfo=UTC), "0.08"),  # 23:59 in Singapore
        (datetime(2023, 12, 31, 16, 0, tzinfo=UTC), "0.09"),
        (datetime(2022, 6, 1, tzinfo=UTC), "0"),
    ],
)
def test_the_rate_is_that_of_the_suppliers_day(now: datetime, rate: str) -> None:
    assert priced(("NP", "1"), now=now).lines[0].tax_rate == Decimal(rate)


def test_zero_rated_products_have_no_tax() -> None:
    order = priced(("E", "2"), offers={"E": Offer("E", "Export", "piece", "ZR", Decimal(10))})
    assert (order.tax, order.total) == (Decimal(0), Decimal("20.00"))


@pytest.mark.parametrize(("packs", "fees"), [("48", "30.00"), ("49", "18.00")])
def test_fees(packs: str, fees: str) -> None:
    """48 packs are 148.80 and pay for delivery; 49 are 151.90. The zone's surcharge is always added, and both taxed."""
    terms = replace(
        TERMS, delivery_fee=Decimal(12), free_delivery_from=Decimal(150), zone="Sentosa", surcharge=Decimal(18)
    )
    order = priced(("NP", packs), terms=terms)
    assert order.fees == Decimal(fees)
    assert sum(fee.line_tax for fee in order.fee_lines) == (order.fees * Decimal("0.09")).quantize(Decimal("0.01"))
    assert order.fee_lines[-1].description == "Zone surcharge: Sentosa"


@pytest.mark.parametrize(
    ("lines", "changes", "expected"),
    [
        ((), {}, [(Reason.ORDER_EMPTY, "")]),
        ((("X", "1"),), {}, [(Reason.PRODUCT_UNKNOWN, "X")]),
        ((("OLD", "1"),), {}, [(Reason.PRODUCT_UNKNOWN, "OLD")]),
        ((("FREE", "1"),), {}, [(Reason.PRICE_MISSING, "FREE")]),
        ((("NP", "1.5"),), {}, [(Reason.INVALID_FIELD, "NP")]),
        ((("NP", "0"),), {}, [(Reason.INVALID_FIELD, "NP")]),
        ((("PB-12", "99"),), {}, [(Reason.ORDER_BELOW_MINIMUM, "PB-12")]),
        ((("PB-12", "60"), ("PB-12", "60")), {}, []),
        ((("PB-12", "500"),), {}, []),
        ((("PB-12", "501"),), {}, [(Reason.ORDER_OUT_OF_STOCK, "PB-12")]),
        ((("PB-12", "300"), ("PB-12", "201")), {}, [(Reason.ORDER_OUT_OF_STOCK, "PB-12")]),
        ((("NP", "25"),), {"minimum": Decimal(80)}, [(Reason.ORDER_BELOW_MINIMUM, "")]),
        ((("NP", "26"),), {"minimum": Decimal(80)}, []),
        ((("NP", "26"),), {"credit_hold": True}, [(Reason.ORDER_CREDIT_HOLD, "")]),
        ((("CENT", "1"),), {"delivery_fee": Decimal(9), "free_delivery_from": Decimal(1)}, [(Reason.ORDER_EMPTY, "")]),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh", "ms"])
def test_guards(
    lines: tuple[tuple[str, str], ...], changes: dict[str, Any], expected: list[tuple[Reason, str]], language: str
) -> None:
    """A total of nothing is refused also when fees would be charged for it."""
    offers = OFFERS | {
        "OLD": replace(NAPKIN, sku="OLD", active=False),
        "FREE": replace(NAPKIN, sku="FREE", price=None),
        "CENT": replace(NAPKIN, sku="CENT", price=Decimal("0.001")),
    }
    order = priced(*lines, terms=replace(TERMS, language=language, **changes), offers=offers)
    assert reasons(order) == expected
    for violation in order.violations:
        assert len(violation.message) > 5
        assert "{" not in violation.message
        with pytest.raises(AppError) as caught:
            refuse(order.violations)
        assert caught.value.code is Code.FAILED_PRECONDITION
        assert caught.value.reason is expected[0][0]
        assert [each.rule for each in caught.value.violations] == [reason.value for reason, _ in expected]


def test_stock_that_the_order_holds_itself_counts() -> None:
    assert reasons(priced(("PB-12", "700"), held={"PB-12": Decimal(200)})) == []
    [(reason, _)] = reasons(priced(("PB-12", "701"), held={"PB-12": Decimal(200)}))
    assert reason is Reason.ORDER_OUT_OF_STOCK


@pytest.mark.parametrize(
    ("local", "earliest"),
    [
        ("2026-11-23 15:29", "2026-11-24"),  # Monday before the cut-off: Tuesday
        ("2026-11-23 15:30", "2026-11-25"),  # at the cut-off: Wednesday
        ("2026-11-27 11:59", "2026-11-28"),  # Friday before noon: Saturday
        ("2026-11-27 12:00", "2026-11-30"),  # Saturday's own cut-off
        ("2026-11-28 11:59", "2026-11-30"),  # Saturday morning: Monday
        ("2026-11-28 12:00", "2026-12-01"),  # Saturday afternoon: packed on Monday
        ("2026-11-29 09:00", "2026-12-01"),  # Sunday
        ("2026-12-24 10:00", "2026-12-26"),  # Christmas is left out
        ("2026-12-24 13:00", "2026-12-28"),
    ],
)
def test_cut_offs(local: str, earliest: str) -> None:
    calendar = replace(CALENDAR, holidays=frozenset({date(2026, 12, 25)}))
    now = datetime.fromisoformat(local).replace(tzinfo=ZONE).astimezone(UTC)
    assert calendar.earliest(now) == date.fromisoformat(earliest)


def test_a_day_that_is_not_possible_names_the_next_one() -> None:
    order = priced(("NP", "1"), day=date(2026, 11, 29))  # a Sunday
    [violation] = order.violations
    assert violation.reason is Reason.ORDER_AFTER_CUTOFF
    assert violation.metadata == {"earliest": "2026-11-30"}
    assert "Sun 29 Nov 2026" in violation.message
    assert "Mon 30 Nov 2026" in violation.message


def test_zones_deliver_on_their_days() -> None:
    north = replace(CALENDAR, delivery_days=frozenset({0, 3}))
    assert north.earliest(MONDAY) == date(2026, 11, 26)


def test_a_calendar_without_days_is_told() -> None:
    with pytest.raises(ValueError, match="no delivery day"):
        replace(CALENDAR, delivery_days=frozenset()).earliest(MONDAY)
