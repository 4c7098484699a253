"""Money keeps every digit, on the wire and in text, and refuses what is no money."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.order.money import Money, MoneyError

amounts = st.decimals(
    min_value=Decimal("-999999999999.999999999"),
    max_value=Decimal("999999999999.999999999"),
    places=9,
    allow_nan=False,
    allow_infinity=False,
)


@given(amounts)
def test_wire_form_keeps_every_digit_and_one_sign(amount: Decimal) -> None:
    units, nanos = Money("SGD", amount).to_wire()
    assert units * nanos >= 0
    assert abs(nanos) < 1_000_000_000
    assert Money.from_wire("SGD", units, nanos).amount == amount


@given(amounts)
def test_text_form_keeps_every_digit(amount: Decimal) -> None:
    assert Money.parse("SGD", f"{amount:f}").amount == amount
    assert Decimal(str(Money("SGD", amount)).removeprefix("SGD ").replace(",", "")) == amount


@given(amounts)
def test_rounding_moves_at_most_half_a_cent(amount: Decimal) -> None:
    rounded = Money("SGD", amount).rounded().amount
    assert abs(rounded - amount) <= Decimal("0.005")
    assert rounded == rounded.quantize(Decimal("0.01"))


@pytest.mark.parametrize(
    ("currency", "amount", "told"),
    [
        ("SGD", "0.65", "SGD 0.65"),
        ("SGD", "0.650000000", "SGD 0.65"),
        ("SGD", "0.0655", "SGD 0.0655"),
        ("SGD", "100", "SGD 100.00"),
        ("SGD", "12345.5", "SGD 12,345.50"),
        ("JPY", "1200", "JPY 1,200"),
    ],
)
def test_told_with_the_decimals_of_the_currency(currency: str, amount: str, told: str) -> None:
    assert str(Money(currency, Decimal(amount))) == told


@pytest.mark.parametrize(
    ("currency", "amount", "rounded"),
    [("SGD", "0.005", "0.01"), ("SGD", "-0.005", "-0.01"), ("JPY", "0.5", "1"), ("KWD", "0.0005", "0.001")],
)
def test_halves_are_rounded_away_from_zero(currency: str, amount: str, rounded: str) -> None:
    assert Money(currency, Decimal(amount)).rounded().amount == Decimal(rounded)


@pytest.mark.parametrize("text", ["1,200.00", "1e3", "", "0x10", "１２", "$5", " 5", "5.", ".5", "NaN", "+5", "--5"])
def test_only_plain_decimals_are_read(text: str) -> None:
    with pytest.raises(MoneyError):
        Money.parse("SGD", text)


@pytest.mark.parametrize(
    "amount", [Decimal("NaN"), Decimal("Infinity"), Decimal("1e15"), Decimal("0.0000000001"), 1.5, 1]
)
def test_impossible_amounts_are_refused(amount: object) -> None:
    with pytest.raises(MoneyError):
        Money("SGD", amount)  # type: ignore[arg-type]


@pytest.mark.parametrize(("units", "nanos"), [(1, -1), (-1, 1), (0, 1_000_000_000), (10**15, 0)])
def test_impossible_wire_forms_are_refused(units: int, nanos: int) -> None:
    with pytest.raises(MoneyError):
        Money.from_wire("SGD", units, nanos)


def test_sums_and_products_are_exact_and_of_one_currency() -> None:
    price = Money("SGD", Decimal("0.1"))
    assert (price + price + price).amount == Decimal("0.3")
    assert (price * Decimal(3)).amount == Decimal("0.3")
    with pytest.raises(MoneyError, match="cannot be added"):
        _ = price + Money("MYR", Decimal(1))
    with pytest.raises(MoneyError, match="Decimal"):
        _ = price * 1.5  # type: ignore[operator]
