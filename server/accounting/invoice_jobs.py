"""The jobs of accounting: their names, what they carry, and how they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import orjson

from server.accounting.invoice import Invoice
from server.db.pool import Connection
from server.jobs import enqueue

_LAST = -10  # priority of what may wait for everything else


class Entry(StrEnum):
    """Entrypoints of the worker."""

    POST = "post_invoice"
    WITHDRAW = "withdraw_invoice"
    NOTE = "note_invoice"
    FETCH = "fetch_invoice"
    RECONCILE = "reconcile_invoices"


@dataclass(frozen=True, slots=True)
class OfInvoice:
    """The invoice that a job is about."""

    tenant: str
    order: str
    revision: int


async def ask(connection: Connection, entry: Entry, invoice: Invoice, *, delay: float = 0.0) -> None:
    """Asks for a job about the invoice; one of the same intent that waits already is enough."""
    payload = {"tenant": invoice.tenant, "order": invoice.order, "revision": invoice.revision}
    key = f"{entry} {invoice.tenant} {invoice.order} {invoice.revision} {invoice.intent}"
    priority = _LAST if entry is Entry.NOTE else 0
    await enqueue(connection, entry, orjson.dumps(payload), key, delay=delay, priority=priority)


async def ask_fetch(connection: Connection, tenant: str, booked_id: str) -> None:
    """Asks for an invoice of the books to be read. Never dropped for one that is running: that may have read before
    this change."""
    await enqueue(connection, Entry.FETCH, orjson.dumps({"tenant": tenant, "id": booked_id}))


async def ask_reconcile(connection: Connection, tenant: str) -> None:
    """Asks for everything that changed in the tenant's books to be read."""
    await enqueue(connection, Entry.RECONCILE, orjson.dumps({"tenant": tenant}), f"{Entry.RECONCILE} {tenant}")


def of_invoice(payload: bytes) -> OfInvoice:
    """What `ask` wrote."""
    return OfInvoice(**orjson.loads(payload))
