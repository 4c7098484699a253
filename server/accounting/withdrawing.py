"""The job `withdraw_invoice`: an invoice leaves the books. A draft is deleted, an authorised one voided, a paid one
credited. The books are read first each time, so that doing it again does nothing twice."""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from server.accounting import invoice_store, steps
from server.accounting.books import GONE, Booked, BookedState, Books, BooksError, NumberTaken, Rejected
from server.accounting.invoice import Invoice
from server.accounting.invoice_changes import InvoiceChanges, must_leave, store_may_be_away
from server.accounting.invoice_jobs import OfInvoice, of_invoice
from server.accounting.problems import partly_credited, problem_of
from server.accounting.states import Event, after
from server.accounting.steps import Do
from server.errors import Reason
from server.jobs import Postpone
from server.order.invoicing import InvoiceState

log = logging.getLogger(__name__)

Change = Callable[[Invoice], Invoice]


class Withdrawing:
    """Takes invoices out of the books."""

    def __init__(self, changes: InvoiceChanges, books: Books) -> None:
        self._changes = changes
        self._books = books

    async def withdraw(self, payload: bytes) -> None:
        """Brings one invoice out of the books, or raises Postpone."""
        async with store_may_be_away():
            await self._withdraw(of_invoice(payload))

    async def _withdraw(self, job: OfInvoice) -> None:
        invoice = await self._take(job)
        if invoice is None or invoice.booked is None:
            return
        try:
            found = await self._books.get(invoice.tenant, invoice.booked.id)
            await self._undo(invoice, found)
        except Rejected as error:
            refusal = problem_of(error)
            await self._record(invoice, lambda fresh: steps.refused(fresh, refusal))
        except BooksError as error:
            await self._failed(invoice, error)

    async def _take(self, job: OfInvoice) -> Invoice | None:
        changes = self._changes
        async with changes.database.transaction() as connection:
            invoice = await invoice_store.lock(connection, job.tenant, job.order, job.revision)
            now = changes.now()
            if invoice is None or not must_leave(invoice):
                return None
            if (wait := invoice.due_in(now)) > 0:
                raise Postpone(wait, "it is not time yet")
            lease = timedelta(seconds=changes.patience.lease)
            taken = replace(invoice, turn=invoice.turn + 1, taken_until=now + lease)
            await invoice_store.save(connection, taken)
            return taken

    async def _undo(self, invoice: Invoice, found: Booked | None) -> None:
        if found is None or found.state in GONE:
            await self._record(invoice, lambda fresh: _gone(fresh, found))
        elif not invoice.withdrawn and found.state is BookedState.PAID:
            await self._record(invoice, lambda fresh: steps.booked(fresh, found))  # too late to void it
        elif found.state is BookedState.PAID or found.credited > 0:
            await self._credit(invoice, found)
        else:
            await self._cancel(invoice, found)

    async def _cancel(self, invoice: Invoice, found: Booked) -> None:
        try:
            gone = await self._books.cancel(invoice.tenant, found, f"{invoice.number} cancel {invoice.intent}")
        except Rejected:
            # Paid since it was read? Then it is credited; else the refusal stands.
            again = await self._books.get(invoice.tenant, found.id)
            if again is None or again.state not in {BookedState.PAID, *GONE}:
                raise
            await self._undo(invoice, again)
        else:
            await self._record(invoice, lambda fresh: _gone(fresh, gone))

    async def _credit(self, invoice: Invoice, found: Booked) -> None:
        """One credit note over all of it; whether it is there already the invoice itself tells."""
        if found.credited >= found.total.amount:
            await self._record(invoice, lambda fresh: steps.voided(replace(fresh, booked=found)))
            return
        if found.credited > 0 and invoice.undo_sent_at is None:
            problem = partly_credited(found)
            await self._record(invoice, lambda fresh: steps.refused(fresh, problem))
            return
        key = await self._credit_key(invoice)
        if key is None:
            return
        try:
            await self._books.credit(invoice.tenant, found, invoice.posting, key)
        except NumberTaken:
            log.info("the credit note is in the books already", extra={"invoice": invoice.number})
        await self._record(invoice, lambda fresh: steps.voided(replace(fresh, booked=found)))

    async def _credit_key(self, invoice: Invoice) -> str | None:
        """The key to send the credit note with, committed before it is sent; None when it may not be sent yet."""
        changes, now = self._changes, self._changes.now()
        asked = replace(
            invoice, in_doubt=invoice.undo_sent_at is not None, first_sent_at=invoice.undo_sent_at, withdrawn=False,
            state=InvoiceState.OUTCOME_UNKNOWN, alone=False,
        )  # fmt: skip
        do, noted = steps.after_absence(asked, now, changes.patience)
        if do is Do.WAIT:
            await self._record(
                invoice,
                lambda fresh: replace(
                    fresh, absences=noted.absences, absent_at=noted.absent_at, taken_until=None,
                    next_attempt_time=noted.next_attempt_time,
                ),
            )  # fmt: skip
            raise Postpone(noted.due_in(now), "whether the credit note arrived is not known yet")
        key, sent_at = invoice.undo_key, invoice.undo_sent_at
        if do is Do.SEND:
            key, sent_at = uuid.uuid4().hex, now
        kept = await self._record(
            invoice, lambda fresh: replace(fresh, undo_key=key, undo_sent_at=sent_at, absences=0, absent_at=None)
        )
        return key if kept else None

    async def _failed(self, invoice: Invoice, error: BooksError) -> None:
        """Waits and tries again; without a connection a person is needed first."""
        changes, problem = self._changes, problem_of(error)
        if problem.reason is Reason.ACCOUNTING_NOT_CONNECTED:
            await self._record(invoice, lambda fresh: steps.refused(fresh, problem))
            return
        turns = max(invoice.turn - invoice.attempts, 1)
        jitter = random.random()  # noqa: S311 - jitter, not a secret
        delay = steps.delay_of(error, turns, jitter, changes.patience)
        again = changes.now() + timedelta(seconds=delay)
        await self._record(
            invoice, lambda fresh: replace(fresh, problem=problem, next_attempt_time=again, taken_until=None)
        )
        raise Postpone(delay, problem.reason)

    async def _record(self, invoice: Invoice, change: Change) -> bool:
        """Stores a change of the invoice; False when another worker has taken it over."""
        async with self._changes.database.transaction() as connection:
            fresh = await invoice_store.lock(connection, invoice.tenant, invoice.order, invoice.revision)
            if fresh is None or fresh.turn != invoice.turn:
                return False
            await self._changes.change(connection, fresh, change(fresh))
            return True


def _gone(invoice: Invoice, found: Booked | None) -> Invoice:
    """Out of the books. One that was taken out for its totals still needs a person."""
    last = found or (replace(invoice.booked, state=BookedState.DELETED) if invoice.booked else None)
    if invoice.withdrawn:
        state = after(invoice.state, Event.VOID)
        return replace(steps.voided(replace(invoice, booked=last)), state=state)
    return replace(invoice, booked=last, taken_until=None, next_attempt_time=None)
