"""GET /sandbox/state: what was booked and how the sandbox was treated, for tests and for the curious."""

from __future__ import annotations

from typing import Any

from server.embedded.xero_sandbox import credit_notes, invoices
from server.embedded.xero_sandbox.faults import Faults
from server.embedded.xero_sandbox.journal import Journal
from server.embedded.xero_sandbox.oauth import Identity
from server.embedded.xero_sandbox.store import Store
from server.embedded.xero_sandbox.webhooks import Webhooks


def report(store: Store, journal: Journal, faults: Faults, webhooks: Webhooks, identity: Identity) -> dict[str, Any]:
    """Amounts as text, exactly."""
    booked = store.all(invoices.KIND)
    notes = store.all(credit_notes.KIND)
    return {
        "counts": {
            "contacts": len(store.all("contact")),
            "invoices": len(booked),
            "credit_notes": len(notes),
            "payments": len(store.all("payment")),
            "history": len(store.all("history")),
        },
        "invoices": [
            {
                "id": invoice["InvoiceID"],
                "number": invoice["InvoiceNumber"],
                "contact": invoice["Contact"]["Name"],
                "status": invoice["Status"],
                "total": str(invoice["Total"]),
                "reference": invoice["Reference"],
                "url": invoice.get("Url", ""),
                "updates": store.last(f"changes of {invoice['InvoiceID']}") - 1,
                "history": [record["Details"] for record in store.by_number("history", invoice["InvoiceID"])],
            }
            for invoice in booked
        ],
        "credit_notes": [
            {
                "number": note["CreditNoteNumber"],
                "contact": note["Contact"]["Name"],
                "status": note["Status"],
                "total": str(note["Total"]),
                "reference": note["Reference"],
                "allocated": [one["Invoice"]["InvoiceNumber"] for one in note["Allocations"]],
            }
            for note in notes
        ],
        "calls": dict(journal.calls),
        "refused": dict(journal.refused),
        "peak_concurrency": journal.peak_concurrency,
        "peak_minute": journal.peak_minute,
        "violations": journal.violation_count,
        "faults": {"met": faults.met, "pending": faults.pending()},
        "webhooks": {"taken": webhooks.taken, "given_up": webhooks.given_up, "pending": webhooks.pending()},
        "connected": identity.connected,
    }
