"""An invoice of ours: what is to be booked, what the customer confirmed, and how far it has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson

from server.accounting.books import GONE, Booked, BookedState, Posting
from server.errors import Reason
from server.order.invoicing import InvoiceLine, InvoiceRequest, InvoiceState
from server.order.money import Money


@dataclass(frozen=True, slots=True)
class Totals:
    """What the customer confirmed."""

    currency: str
    subtotal: Decimal
    tax: Decimal
    total: Decimal

    def fit(self, booked: Booked) -> bool:
        """Whether the books have exactly that."""
        return (self.currency, self.subtotal, self.tax, self.total) == (
            booked.total.currency,
            booked.subtotal,
            booked.tax,
            booked.total.amount,
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong: a reason for programs, what was said, and what a person can do about it."""

    reason: Reason
    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class Invoice:
    """A row of `invoice`; the migration says what each field means. `problem` None stands for no error."""

    tenant: str
    order: str
    revision: int
    number: str
    state: InvoiceState
    posting: Posting
    confirmed: Totals
    replaces: int | None = None
    withdrawn: bool = False
    intent: int = 1
    turn: int = 0
    taken_until: datetime | None = None
    attempts: int = 0
    next_attempt_time: datetime | None = None
    send_key: str = ""
    send_count: int = 0
    first_sent_at: datetime | None = None
    in_doubt: bool = False
    read_first: bool = False
    alone: bool = False
    absences: int = 0
    absent_at: datetime | None = None
    undo_key: str = ""
    undo_sent_at: datetime | None = None
    booked: Booked | None = None
    problem: Problem | None = None
    failed_at: datetime | None = None

    def taken(self, now: datetime) -> bool:
        """Whether a worker has it."""
        return self.taken_until is not None and now < self.taken_until

    def due_in(self, now: datetime) -> float:
        """Seconds until it may be tried, 0 when it may now."""
        times = [time for time in (self.taken_until, self.next_attempt_time) if time is not None]
        return max((max(times) - now).total_seconds(), 0.0) if times else 0.0

    def knows(self, found: Booked) -> bool:
        """Whether that is the one that we were told of as ours."""
        return self.booked is not None and self.booked.id == found.id

    @property
    def stopped(self) -> bool:
        """Whether it needs a person."""
        voided_there = self.state is InvoiceState.VOIDED and self.problem is not None
        return voided_there or self.state in {InvoiceState.NEEDS_ATTENTION, InvoiceState.MISMATCH}

    @property
    def in_books(self) -> bool:
        """Whether it stands in the books, as far as we were told."""
        return self.booked is not None and self.booked.state not in GONE


def invoice_number(order_number: str, revision: int, edition: int = 1) -> str:
    """`SO-251127-7KQ2M` becomes `INV-251127-7KQ2M`, later revisions end in `-R2`, and a number that the books do not
    give again for an invoice that was taken out is followed by `-E2`."""
    number = f"INV-{order_number.removeprefix('SO-')}"
    if revision > 1:
        number += f"-R{revision}"
    return number if edition == 1 else f"{number}-E{edition}"


def next_edition(number: str) -> str:
    """The number after one that the books will not give again."""
    stem, mark, edition = number.rpartition("-E")
    return f"{stem}-E{int(edition) + 1}" if mark and edition.isdigit() else f"{number}-E2"


def posting_of(request: InvoiceRequest, *, url: str, authorise: bool) -> Posting:
    """The order as it is to be booked. The reference is the order's number for people, the url leads back to it."""
    return Posting(
        number=invoice_number(request.number, request.revision),
        reference=request.number,
        contact_number=request.outlet,
        contact_name=request.outlet_name,
        issued_on=request.issued_on,
        due_on=request.due_on,
        currency=request.total.currency,
        lines=tuple(request.lines),
        url=f"{url}/orders/{request.order}" if url else "",
        authorise=authorise,
    )


def renumbered(invoice: Invoice) -> Invoice:
    """The same intent under its next number."""
    number = next_edition(invoice.number)
    return replace(invoice, number=number, posting=replace(invoice.posting, number=number))


def posting_json(posting: Posting) -> str:
    return orjson.dumps(asdict(posting), default=str).decode()


def posting_from(text: str) -> Posting:
    tree: dict[str, Any] = orjson.loads(text)
    lines = tuple(_line(each) for each in tree["lines"])
    days = {name: date.fromisoformat(tree[name]) for name in ("issued_on", "due_on")}
    return Posting(**{**tree, **days, "lines": lines})


def booked_json(booked: Booked | None) -> str | None:
    return orjson.dumps(asdict(booked), default=str).decode() if booked else None


def booked_from(text: str | None) -> Booked | None:
    if text is None:
        return None
    tree: dict[str, Any] = orjson.loads(text)
    amounts = {name: Decimal(tree[name]) for name in ("subtotal", "tax", "credited")}
    return Booked(
        **{
            **tree,
            **amounts,
            "state": BookedState(tree["state"]),
            "total": Money(tree["total"]["currency"], Decimal(tree["total"]["amount"])),
            "updated_at": datetime.fromisoformat(tree["updated_at"]),
        }
    )


def _line(tree: Mapping[str, Any]) -> InvoiceLine:
    numbers = ("quantity", "unit_price", "tax_rate", "line_total", "line_tax")
    return InvoiceLine(**{**tree, **{name: Decimal(tree[name]) for name in numbers}})
