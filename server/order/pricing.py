"""What an order costs and what stands in its way: Decimal, by code only, the same for quotes, drafts and proposals.

Amounts follow Xero's arithmetic: each line is quantity × unit price rounded to the currency's smallest unit, its tax is
that amount × rate rounded likewise, and totals are sums of rounded lines. So the invoice that Xero computes from the
lines has exactly the total that was confirmed (developer.xero.com, "Rounding in Xero").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal

from server.errors import AppError, Code, FieldViolation, Reason, invalid
from server.order.money import Money, decimals
from server.order.sentences import Saying, day_text, say
from server.order.terms import Terms

FEE = ""
"""The SKU of a line that is a fee."""

_TOO_MUCH = Decimal(10) ** 12  # what is stored holds a hundred such amounts, and sums over the orders of an outlet


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a line was said: the span [start, end) of a message in code points, the words, and how sure we are."""

    message: str
    start: int
    end: int
    confidence: float
    said: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """So many units of sale of a product."""

    sku: str
    quantity: Decimal
    provenance: tuple[Provenance, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """A product as it can be ordered now. `price` is for one unit before tax, in the tenant's currency; None: it has
    none today. `stock` None means that it is not counted."""

    sku: str
    name: str
    unit: str
    tax_code: str
    price: Decimal | None
    name_zh: str = ""
    name_ms: str = ""
    min_quantity: Decimal = Decimal(1)
    stock: Decimal | None = None
    active: bool = True

    def called(self, language: str) -> str:
        """Its name in the customer's language, in English when there is none."""
        return {"zh": self.name_zh, "ms": self.name_ms}.get(language, "") or self.name


@dataclass(frozen=True, slots=True)
class Line:
    """A priced line. Amounts are before tax but for `line_tax`; a fee has no SKU and a quantity of one."""

    sku: str
    description: str
    quantity: Decimal
    unit: str
    unit_price: Decimal
    tax_code: str
    tax_rate: Decimal
    line_total: Decimal
    line_tax: Decimal
    provenance: tuple[Provenance, ...] = ()


@dataclass(frozen=True, slots=True)
class Violation:
    """What keeps an order from being confirmed: why, a sentence for the customer, and the line when it is one."""

    reason: Reason
    message: str
    sku: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


UNPRICEABLE = frozenset({Reason.ORDER_EMPTY, Reason.PRODUCT_UNKNOWN, Reason.PRICE_MISSING, Reason.INVALID_FIELD})
"""Violations with which an order has no total, so that it cannot even be stored as a draft."""
LINE_QUESTIONS = frozenset({Reason.ORDER_OUT_OF_STOCK})
"""Violations of a line that the customer must be asked about: the draft needs information."""


@dataclass(frozen=True, slots=True)
class Priced:
    """An order as it would be booked: `lines` are products, `fee_lines` the rest, all of one currency."""

    currency: str
    lines: tuple[Line, ...]
    fee_lines: tuple[Line, ...]
    delivery_date: date
    violations: tuple[Violation, ...]

    @property
    def subtotal(self) -> Decimal:
        return sum((line.line_total for line in self.lines), Decimal(0))

    @property
    def fees(self) -> Decimal:
        return sum((line.line_total for line in self.fee_lines), Decimal(0))

    @property
    def tax(self) -> Decimal:
        return sum((line.line_tax for line in (*self.lines, *self.fee_lines)), Decimal(0))

    @property
    def total(self) -> Decimal:
        return self.subtotal + self.fees + self.tax


def price_order(
    wanted: Sequence[Wanted],
    offers: Mapping[str, Offer],
    terms: Terms,
    asked_day: date | None,
    now: datetime,
    *,
    held: Mapping[str, Decimal] | None = None,
) -> Priced:
    """Prices every line that has a price and names everything that stands in the way. Raises INVALID_ARGUMENT only for
    amounts that are too large to be stored.

    `asked_day` None means the first possible day. `held` is the stock that the order itself holds already (a change of
    a confirmed order).
    """
    day = asked_day or terms.calendar.earliest(now)
    rate = terms.money.rate(terms.calendar.today(now))
    found: list[Violation] = []
    lines: list[Line] = []
    for line in wanted:
        offer = offers.get(line.sku)
        faults = list(_line_faults(line, offer, terms.language))
        found += faults
        if offer is not None and offer.price is not None and not faults:
            if line.quantity * offer.price >= _TOO_MUCH:
                raise invalid(f"order.lines[{line.sku}].quantity", "comes to more than any order may")
            lines.append(_priced(line, offer, offer.price, terms, rate))
    found += _quantity_faults(lines, offers, held or {}, terms.language)
    fees = tuple(_fees(sum((line.line_total for line in lines), Decimal(0)), terms, rate)) if lines else ()
    priced = Priced(terms.money.currency, tuple(lines), fees, day, ())
    if priced.total >= _TOO_MUCH:
        raise invalid("order.lines", "come to more than any order may")
    found += _order_faults(priced, terms, now, whole=not found)
    return Priced(terms.money.currency, tuple(lines), fees, day, tuple(found))


def refuse(violations: Iterable[Violation], only: frozenset[Reason] | None = None) -> None:
    """Raises FAILED_PRECONDITION with the first violation's reason and sentence, and all of them as field violations.

    With `only`, other reasons do not count.
    """
    counted = [violation for violation in violations if only is None or violation.reason in only]
    if not counted:
        return
    first = counted[0]
    metadata = {**first.metadata, **({"sku": first.sku} if first.sku else {})}
    raise AppError(
        Code.FAILED_PRECONDITION,
        first.reason,
        first.message,
        metadata=metadata,
        violations=[FieldViolation(_field(each), each.message, each.reason) for each in counted],
    )


def plain(quantity: Decimal) -> str:
    """Without exponent and trailing zeros: "100", "0.5"."""
    return f"{quantity.normalize():f}"


def _field(violation: Violation) -> str:
    return f"order.lines[{violation.sku}]" if violation.sku else "order"


def _line_faults(line: Wanted, offer: Offer | None, language: str) -> Iterator[Violation]:
    if offer is None or not offer.active:
        yield Violation(Reason.PRODUCT_UNKNOWN, say(Saying.UNKNOWN, language, sku=line.sku), line.sku)
        return
    name = offer.called(language)
    if offer.price is None:
        yield Violation(Reason.PRICE_MISSING, say(Saying.NO_PRICE, language, name=name), line.sku)
    # Only what has a fraction as its smallest quantity is sold in fractions.
    if line.quantity <= 0 or (_whole(offer.min_quantity) and not _whole(line.quantity)):
        sentence = say(Saying.NOT_WHOLE, language, name=name, unit=offer.unit, quantity=plain(line.quantity))
        yield Violation(Reason.INVALID_FIELD, sentence, line.sku)


def _whole(number: Decimal) -> bool:
    return number == number.to_integral_value()


def _priced(line: Wanted, offer: Offer, price: Decimal, terms: Terms, rate: Decimal) -> Line:
    bare = Line(
        sku=offer.sku,
        # Invoices are in English whatever the outlet's language.
        description=offer.name,
        quantity=line.quantity,
        unit=offer.unit,
        unit_price=price,
        tax_code=offer.tax_code,
        tax_rate=Decimal(0) if offer.tax_code in terms.zero_rated else rate,
        line_total=Decimal(0),
        line_tax=Decimal(0),
        provenance=line.provenance,
    )
    return _rounded(bare, terms)


def _rounded(bare: Line, terms: Terms) -> Line:
    """The line with its amounts, each rounded to the currency's smallest unit."""
    cent = Decimal(1).scaleb(-Money(terms.money.currency, Decimal(0)).minor_digits)
    amount = (bare.quantity * bare.unit_price).quantize(cent, terms.rounding)
    return replace(bare, line_total=amount, line_tax=(amount * bare.tax_rate).quantize(cent, terms.rounding))


def _fees(subtotal: Decimal, terms: Terms, rate: Decimal) -> Iterator[Line]:
    # In English like the products: they are read on the invoice.
    if terms.delivery_fee > 0 and subtotal < terms.free_delivery_from:
        yield _fee(say(Saying.DELIVERY, "en"), terms.delivery_fee, terms, rate)
    if terms.surcharge > 0:
        yield _fee(say(Saying.SURCHARGE, "en", zone=terms.zone), terms.surcharge, terms, rate)


def _fee(description: str, amount: Decimal, terms: Terms, rate: Decimal) -> Line:
    taxed = Decimal(0) if terms.fee_tax_code in terms.zero_rated else rate
    bare = Line(FEE, description, Decimal(1), "", amount, terms.fee_tax_code, taxed, Decimal(0), Decimal(0))
    return _rounded(bare, terms)


def _quantity_faults(
    lines: Sequence[Line], offers: Mapping[str, Offer], held: Mapping[str, Decimal], language: str
) -> Iterator[Violation]:
    """Minimum and stock hold for all lines of a product together."""
    asked: dict[str, Decimal] = {}
    for line in lines:
        asked[line.sku] = asked.get(line.sku, Decimal(0)) + line.quantity
    for sku, quantity in asked.items():
        product = offers[sku]
        words = {"name": product.called(language), "unit": product.unit, "quantity": plain(quantity)}
        if quantity < product.min_quantity:
            minimum = plain(product.min_quantity)
            sentence = say(Saying.BELOW_QUANTITY, language, minimum=minimum, **words)
            yield Violation(Reason.ORDER_BELOW_MINIMUM, sentence, sku, {"minimum": minimum})
        available = None if product.stock is None else product.stock + held.get(sku, Decimal(0))
        if available is not None and quantity > available:
            saying = Saying.OUT_OF_STOCK if available > 0 else Saying.SOLD_OUT
            sentence = say(saying, language, available=plain(available), **words)
            yield Violation(Reason.ORDER_OUT_OF_STOCK, sentence, sku, {"available": plain(available)})


def _order_faults(priced: Priced, terms: Terms, now: datetime, *, whole: bool) -> Iterator[Violation]:
    language, currency = terms.language, priced.currency
    if whole and not priced.subtotal:
        yield Violation(Reason.ORDER_EMPTY, say(Saying.EMPTY, language))
    elif whole and priced.subtotal < terms.minimum:
        minimum = str(Money(currency, terms.minimum))
        subtotal = str(Money(currency, priced.subtotal))
        sentence = say(Saying.BELOW_MINIMUM, language, minimum=minimum, subtotal=subtotal)
        metadata = {"minimum": f"{decimals(terms.minimum, 2)} {currency}"}
        yield Violation(Reason.ORDER_BELOW_MINIMUM, sentence, metadata=metadata)
    day, calendar = priced.delivery_date, terms.calendar
    if not calendar.delivers(day, now):
        possible = calendar.first_from(max(day, calendar.today(now)), now)
        days = {"asked": day_text(day, language), "earliest": day_text(possible, language)}
        sentence = say(Saying.NO_DELIVERY, language, **days)
        yield Violation(Reason.ORDER_AFTER_CUTOFF, sentence, metadata={"earliest": possible.isoformat()})
    if terms.credit_hold:
        yield Violation(Reason.ORDER_CREDIT_HOLD, say(Saying.CREDIT_HOLD, language))
