"""What orders ask of accounting, inside their own transactions; `server/accounting` implements it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, TypeAlias

from server.db.pool import Connection
from server.order.money import Money


class InvoiceState(StrEnum):
    """Where an order's invoice stands (CONTRACT.md §4)."""

    NOT_CONNECTED = "NOT_CONNECTED"
    QUEUED = "QUEUED"
    WAITING_BUDGET = "WAITING_BUDGET"
    SENDING = "SENDING"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    DRAFT = "DRAFT"
    AUTHORISED = "AUTHORISED"
    PAID = "PAID"
    VOIDED = "VOIDED"
    MISMATCH = "MISMATCH"
    NEEDS_ATTENTION = "NEEDS_ATTENTION"


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One line as it is to be booked. `unit_price` and the amounts are before tax; quantities are in units of sale;
    `tax_code` is the catalogue's, mapped to the accounting system's tax type by accounting."""

    sku: str
    description: str
    quantity: Decimal
    unit_price: Decimal
    tax_code: str
    tax_rate: Decimal
    line_total: Decimal
    line_tax: Decimal


@dataclass(frozen=True, slots=True)
class InvoiceRequest:
    """A confirmed order as it is to be invoiced. `revision` grows with each change after confirmation; the totals are
    what the customer confirmed."""

    order: str  # the bare order id
    number: str  # the order's number for people; the invoice's number is made from it and the revision
    revision: int
    outlet: str
    outlet_name: str
    issued_on: date
    due_on: date
    lines: Sequence[InvoiceLine]
    subtotal: Money
    tax: Money
    total: Money


@dataclass(frozen=True, slots=True)
class InvoiceView:
    """How an order's invoice stands, as an order shows it."""

    state: InvoiceState
    number: str = ""
    attempts: int = 0
    next_attempt_time: datetime | None = None
    last_error: str = ""
    booked_total: Money | None = None


class Invoicing(Protocol):
    """Called by the order service with the connection of its open transaction: all commit together or not at all."""

    async def queue(self, connection: Connection, tenant: str, request: InvoiceRequest) -> None:
        """Asks for the invoice of a confirmed order: a row and a job. The same order and revision again changes
        nothing; a higher revision replaces (voids or credits) the earlier invoice first."""
        ...

    async def withdraw(self, connection: Connection, tenant: str, order: str) -> None:
        """Asks for the invoice of a cancelled or rejected order to be deleted, voided or credited by its state."""
        ...

    async def views(self, connection: Connection, tenant: str, orders: Sequence[str]) -> Mapping[str, InvoiceView]:
        """By bare order id; orders without an invoice are left out."""
        ...


Announce: TypeAlias = Callable[[Connection, str, Sequence[str]], Awaitable[None]]
"""`announce(connection, tenant, orders)`: what accounting calls last in a transaction that changed the invoices of
orders (bare ids), so that whoever watches orders sees it."""

ShowOrder: TypeAlias = Callable[[Connection, str, str], Awaitable[bytes]]
"""`show(connection, tenant, order)`: an order as a message of `tria.order.v1`, as this transaction has left it. Raises
NOT_FOUND."""
