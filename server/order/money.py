"""Money: a currency and an exact decimal amount. There is no float on any path; one passed in is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

_CURRENCY = re.compile(r"[A-Z]{3}")
_NANOS = 1_000_000_000
# google.type.Money.units is an int64; nine decimals and this bound keep every amount inside a 28-digit context too.
_LIMIT = Decimal(10) ** 15
# Currencies whose smallest unit is not a hundredth (ISO 4217 list one, "minor unit").
_MINOR_DIGITS = {
    "BHD": 3, "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "IQD": 3, "JOD": 3, "JPY": 0, "KMF": 0, "KRW": 0,
    "KWD": 3, "LYD": 3, "OMR": 3, "PYG": 0, "RWF": 0, "TND": 3, "UGX": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0,
    "XPF": 0,
}  # fmt: skip


class MoneyError(ValueError):
    """Not an amount of money; the message says why."""


@dataclass(frozen=True, slots=True)
class Money:
    """`amount` units of `currency` (ISO 4217), at most nine decimals, below 10^15 either way. Raises MoneyError."""

    currency: str
    amount: Decimal

    def __post_init__(self) -> None:
        if not _CURRENCY.fullmatch(self.currency):
            raise MoneyError(f"not a currency code: {self.currency!r}")
        if not isinstance(self.amount, Decimal):
            raise MoneyError("an amount is a Decimal")
        if not self.amount.is_finite():
            raise MoneyError("an amount is a finite number")
        if abs(self.amount) >= _LIMIT:
            raise MoneyError("the amount is too large")
        # normalize() first: a trailing zero is no tenth decimal.
        exponent = self.amount.normalize().as_tuple().exponent
        if isinstance(exponent, int) and exponent < -9:
            raise MoneyError("an amount has at most nine decimals")

    @classmethod
    def parse(cls, currency: str, text: str) -> Money:
        """From a plain decimal such as "12.50": no thousands separators, no exponent, no sign but a minus."""
        if not re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,9})?", text, re.ASCII):
            raise MoneyError(f"not a plain decimal number: {text[:32]!r}")
        try:
            return cls(currency, Decimal(text))
        except InvalidOperation as cause:
            raise MoneyError(f"not a plain decimal number: {text[:32]!r}") from cause

    @classmethod
    def from_wire(cls, currency: str, units: int, nanos: int) -> Money:
        """From google.type.Money: `nanos` billionths with the sign of `units`."""
        if abs(nanos) >= _NANOS or units * nanos < 0:
            raise MoneyError("units and nanos do not fit together")
        if abs(units) >= _LIMIT:
            raise MoneyError("the amount is too large")
        return cls(currency, Decimal(units) + Decimal(nanos).scaleb(-9))

    def to_wire(self) -> tuple[int, int]:
        """(units, nanos) as in google.type.Money; both have the sign of the amount."""
        units = int(self.amount)
        return units, int((self.amount - units).scaleb(9))

    @property
    def minor_digits(self) -> int:
        """Decimals of the currency's smallest unit."""
        return _MINOR_DIGITS.get(self.currency, 2)

    def rounded(self) -> Money:
        """To the smallest unit of the currency, halves away from zero, as invoices are."""
        return Money(self.currency, self.amount.quantize(Decimal(1).scaleb(-self.minor_digits), ROUND_HALF_UP))

    def __add__(self, other: Money) -> Money:
        if self.currency != other.currency:
            raise MoneyError(f"{self.currency} and {other.currency} cannot be added")
        return Money(self.currency, self.amount + other.amount)

    def __mul__(self, factor: Decimal | int) -> Money:
        """Not rounded: the caller says where rounding happens. More than nine decimals are refused."""
        if isinstance(factor, float):
            raise MoneyError("a factor is a Decimal or an int")
        return Money(self.currency, self.amount * factor)

    def __str__(self) -> str:
        """For people: "SGD 0.65", with the currency's decimals or more where the amount has more."""
        return f"{self.currency} {decimals(self.amount, self.minor_digits)}"


def decimals(amount: Decimal, least: int) -> str:
    """A plain number with at least `least` decimals and no trailing zeros beyond them."""
    exponent = amount.normalize().as_tuple().exponent
    digits = max(least, -exponent if isinstance(exponent, int) else 0)
    return f"{amount:,.{digits}f}"
