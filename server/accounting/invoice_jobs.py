"""The jobs of accounting: their names, what they carry, and how they are asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

import orjson

from server.accounting.invoice import Invoice
from server.db.pool import Connection
from server.jobs import enqueue

# Priorities: of what a person waits for, of what tells only what is so anyway, and of what nobody waits for.
_FIRST, _READING, _LAST = 10, -5, -10


class Entry(StrEnum):
    """Entrypoints of the worker."""

    POST = "post_invoice"
    WITHDRAW = "withdraw_invoice"
    NOTE = "note_invoice"
    FETCH = "fetch_invoice"
    RECONCILE = "reconcile_invoices"


@dataclass(frozen=True, slots=True)
class OfInvoice:
    """The invoice that a job is about; `person`: somebody waits for it."""

    tenant: str
    order: str
    revision: int
    person: bool = False


async def ask(connection: Connection, entry: Entry, invoice: Invoice, *, person: bool = False) -> None:
    """Asks for a job about the invoice; one of the same intent that waits already is enough."""
    payload = asdict(OfInvoice(invoice.tenant, invoice.order, invoice.revision, person))
    key = f"{entry} {invoice.tenant} {invoice.order} {invoice.revision} {invoice.intent}"
    priority = _LAST if entry is Entry.NOTE else _FIRST if person else 0
    await enqueue(connection, entry, orjson.dumps(payload), key, priority=priority)


async def ask_fetch(connection: Connection, tenant: str, booked_id: str, changed: str = "") -> None:
    """Asks for an invoice of the books to be read that changed there at `changed` (their word for the time; '' is any).
    Never dropped for one that is running: that may have read before this change."""
    payload = {"tenant": tenant, "id": booked_id, "changed": changed}
    await enqueue(connection, Entry.FETCH, orjson.dumps(payload), priority=_READING)


async def ask_reconcile(connection: Connection, tenant: str) -> None:
    """Asks for everything that changed in the tenant's books to be read."""
    await enqueue(
        connection, Entry.RECONCILE, orjson.dumps({"tenant": tenant}), f"{Entry.RECONCILE} {tenant}", priority=_READING
    )


def of_invoice(payload: bytes) -> OfInvoice:
    """What `ask` wrote."""
    return OfInvoice(**orjson.loads(payload))
