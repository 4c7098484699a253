"""The job `note_invoice`: a line in the invoice's history, for the people who read the books. Nothing personal is in
it, and nothing depends on it: it goes last, and one that may have been written is not written again later."""

from __future__ import annotations

import logging

from server.accounting import invoice_store
from server.accounting.books import Books, BooksError, NotSent, Throttled
from server.accounting.invoice import Invoice
from server.accounting.invoice_changes import InvoiceChanges, store_may_be_away
from server.accounting.invoice_jobs import of_invoice
from server.jobs import Postpone

log = logging.getLogger(__name__)

_AGAIN = 60.0  # seconds until a note that did not leave is tried again


class Noting:
    """Writes notes into the books."""

    def __init__(self, changes: InvoiceChanges, books: Books) -> None:
        self._changes = changes
        self._books = books

    async def note(self, payload: bytes) -> None:
        """Writes the note of one invoice, or raises Postpone."""
        job = of_invoice(payload)
        async with store_may_be_away():
            async with self._changes.database.transaction() as connection:
                invoice = await invoice_store.lock(connection, job.tenant, job.order, job.revision)
            if invoice is None or invoice.booked is None or not invoice.in_books:
                return
            try:
                await self._books.note(invoice.tenant, invoice.booked, text_of(invoice), f"{invoice.number} note")
            except Throttled as error:
                raise Postpone(max(error.retry_after, 1.0), str(error)) from error
            except NotSent as error:
                raise Postpone(_AGAIN, str(error)) from error
            except BooksError as error:
                log.info("an invoice has no note: %s", type(error).__name__, extra={"invoice": invoice.number})


def text_of(invoice: Invoice) -> str:
    """What the note says."""
    text = f"Posted by TRIA for order {invoice.posting.reference}, revision {invoice.revision}"
    if invoice.replaces is not None:
        text += f", in place of revision {invoice.replaces}"
    return f"{text}; the customer confirmed {invoice.confirmed.currency} {invoice.confirmed.total:.2f}."
