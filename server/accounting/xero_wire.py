"""Postings as Xero's models, and Xero's JSON as what it says about an invoice.

Requests are made of the SDK's models, which know Xero's names. Answers are read as JSON, and of them only what is
needed: the SDK refuses a whole answer for one value of one field that is newer than it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from xero_python.accounting.models import (
    Contact,
    CreditNote,
    CreditNotes,
    CurrencyCode,
    HistoryRecord,
    HistoryRecords,
    Invoice,
    Invoices,
    LineAmountTypes,
    LineItem,
)

from server.accounting.books import Booked, BookedState, Posting, Rejected
from server.order.invoicing import InvoiceLine
from server.order.money import Money, MoneyError

_MS_DATE = re.compile(r"/Date\((-?\d{1,14})(?:[+-]\d{4})?\)/")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DECIMALS = 4  # of unit amounts and quantities, with unitdp=4
_LONGEST_DESCRIPTION = 4000
_LONGEST_NOTE = 2500


class Unreadable(Exception):
    """An answer that is not what Xero is to answer."""


@dataclass(frozen=True, slots=True)
class References:
    """What a posting refers to in the books: the contact, the account, and the tax type of each tax code and rate."""

    contact_id: str
    account: str
    tax_types: Mapping[tuple[str, Decimal], str]


def invoice_of(posting: Posting, references: References) -> Any:
    """The invoice to create. Amounts that Xero computes are left to it; they are compared when it answers."""
    return Invoice(
        type="ACCREC",
        invoice_number=posting.number,
        url=posting.url or None,
        due_date=posting.due_on,
        status="AUTHORISED" if posting.authorise else "DRAFT",
        **_document(posting, references),
    )


def credit_of(posting: Posting, references: References, number: str) -> Any:
    """A credit note over all of the posting."""
    return CreditNote(
        type="ACCRECCREDIT", credit_note_number=number, status="AUTHORISED", **_document(posting, references)
    )


def invoices(each: Sequence[Any]) -> Any:
    return Invoices(invoices=list(each))


def credits_(each: Sequence[Any]) -> Any:
    return CreditNotes(credit_notes=list(each))


def status_change(booked: Booked, state: BookedState) -> Any:
    return Invoices(invoices=[Invoice(invoice_id=booked.id, status=state.value)])


def history(text: str) -> Any:
    return HistoryRecords(history_records=[HistoryRecord(details=text[:_LONGEST_NOTE])])


def read_json(body: bytes) -> Any:
    """Amounts become Decimal. Raises Unreadable."""
    try:
        return json.loads(body, parse_float=Decimal, parse_int=Decimal)
    except (ValueError, RecursionError) as cause:
        raise Unreadable("the answer is no JSON") from cause


def elements(told: Any, name: str) -> list[dict[str, Any]]:
    """The list `name` of an answer. Raises Unreadable."""
    found = told.get(name) if isinstance(told, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Unreadable(f"the answer holds no {name}")
    return found


def booked_of(element: Mapping[str, Any]) -> Booked:
    """An invoice as Xero has it. Raises Unreadable."""
    try:
        return Booked(
            id=str(element["InvoiceID"]),
            number=str(element["InvoiceNumber"]),
            state=BookedState(element["Status"]),
            subtotal=_decimal(element["SubTotal"]),
            tax=_decimal(element["TotalTax"]),
            total=Money(str(element["CurrencyCode"]), _decimal(element["Total"])),
            credited=_decimal(element.get("AmountCredited") or Decimal(0)),
            updated_at=moment(element["UpdatedDateUTC"]),
            reference=str(element.get("Reference") or ""),
        )
    except (KeyError, ValueError, TypeError, InvalidOperation) as cause:  # MoneyError is a ValueError
        raise Unreadable(f"an invoice of the answer cannot be read ({type(cause).__name__})") from cause


def moment(text: Any) -> datetime:
    """`/Date(1767225600000+0000)/`: milliseconds since 1970, whatever offset is written behind. Raises ValueError."""
    found = _MS_DATE.fullmatch(str(text))
    if found is None:
        raise ValueError("not a moment")
    return _EPOCH + timedelta(milliseconds=int(found[1]))


def _document(posting: Posting, references: References) -> dict[str, Any]:
    """What invoices and credit notes share. Raises Rejected for what cannot be booked exactly."""
    try:
        currency = CurrencyCode(posting.currency)
    except ValueError as cause:
        raise Rejected([f"Xero does not know the currency {posting.currency}"]) from cause
    return {
        "contact": Contact(contact_id=references.contact_id),
        "line_amount_types": LineAmountTypes.EXCLUSIVE,
        "line_items": [_line(line, references) for line in posting.lines],
        "date": posting.issued_on,
        "reference": posting.reference,
        "currency_code": currency,
    }


def _line(line: InvoiceLine, references: References) -> Any:
    description = f"{line.description} [{line.sku}]" if line.sku else line.description
    return LineItem(
        description=description[:_LONGEST_DESCRIPTION],
        quantity=_exact(line.quantity, f"the quantity of {line.sku or line.description}"),
        unit_amount=_exact(line.unit_price, f"the unit price of {line.sku or line.description}"),
        account_code=references.account,
        tax_type=references.tax_types[line.tax_code, line.tax_rate],
    )


def _exact(number: Decimal, what: str) -> Decimal:
    """The SDK writes numbers as floats: what would not arrive as it is must not be sent."""
    if number != round(number, _DECIMALS) or Decimal(repr(float(number))) != number:
        raise Rejected([f"{what}, {number}, has more decimals than Xero keeps ({_DECIMALS})"])
    return number.normalize()


def _decimal(value: Any) -> Decimal:
    if not isinstance(value, Decimal) or not value.is_finite():
        raise MoneyError("not an amount")
    return value
