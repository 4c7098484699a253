"""The job `post_invoice`: a confirmed order becomes exactly one invoice.

Leave of the books first; then marked as sent, committed, and only then sent. Whoever picks up what another worker left
looks into the books first. What has piled up meanwhile goes in one call.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from server.accounting import invoice_store, steps
from server.accounting.books import (
    GONE,
    MOST_AT_ONCE,
    Booked,
    Books,
    BooksError,
    Leave,
    NumberTaken,
    OutcomeUnknown,
    Rejected,
)
from server.accounting.invoice import Invoice, renumbered
from server.accounting.invoice_changes import InvoiceChanges, store_may_be_away
from server.accounting.invoice_jobs import OfInvoice, of_invoice
from server.accounting.steps import Do
from server.db.pool import Connection
from server.jobs import Postpone
from server.order.invoicing import InvoiceState

log = logging.getLogger(__name__)

_LOOK_AGAIN = 5.0  # seconds, at most, until a job looks again at an invoice that went with another's batch


@dataclass(frozen=True, slots=True)
class _Taken:
    """What this worker has taken: to read back, or to send, with `key` once it is marked; `mine` are those whose
    answers it records."""

    do: Do
    mine: Sequence[Invoice]
    sent: Sequence[Invoice] = ()
    key: str = ""


_NOTHING = _Taken(Do.NOTHING, [])
Mark: TypeAlias = Callable[[Invoice, Leave], Awaitable[_Taken]]


class Sending:
    """Posts invoices to the books."""

    def __init__(self, changes: InvoiceChanges, books: Books, for_people: Books) -> None:
        self._changes = changes
        self._lanes = {False: books, True: for_people}

    async def post(self, payload: bytes) -> None:
        """Brings one invoice to its end, or raises Postpone. Others may go with it."""
        async with store_may_be_away():
            job = of_invoice(payload)
            await _Posting(self._changes, self._lanes[job.person]).post(job)


class _Posting:
    """One run of the job."""

    def __init__(self, changes: InvoiceChanges, books: Books) -> None:
        self._changes = changes
        self._books = books

    async def post(self, job: OfInvoice) -> None:
        async with self._changes.database.transaction() as connection:
            invoice = await invoice_store.lock(connection, job.tenant, job.order, job.revision)
            if invoice is None:
                return
            taken = await self._take(connection, invoice)
        if taken.do is Do.READ_BACK:
            await self._read_back(taken.mine[0])
        if taken.do is Do.SEND:
            await self._with_leave(taken.mine[0], self._first)
        await self._wait_if_unsettled(invoice)

    async def _take(self, connection: Connection, invoice: Invoice) -> _Taken:
        now, patience = self._changes.now(), self._changes.patience
        blocked = await invoice_store.is_blocked(connection, invoice)
        step = steps.next_step(invoice, now, blocked=blocked)
        match step:
            case Do.READ_BACK:
                taken = steps.taken(invoice, now, patience)
                await invoice_store.save(connection, taken)
                return _Taken(step, [taken])
            case Do.SEND:
                return _Taken(step, [invoice])
            case Do.VOID:
                await self._changes.change(connection, invoice, steps.voided(invoice))
        return _NOTHING

    async def _with_leave(self, invoice: Invoice, mark: Mark) -> None:
        """Marks and sends with the books' leave: what cannot be sent now is not marked, or an outage would be recorded
        at every try of every invoice."""
        try:
            async with self._books.leave(invoice.tenant) as leave:
                taken = await mark(invoice, leave)
                if taken.do is Do.SEND:
                    await self._send(taken)
        except BooksError as error:
            await self._settle(invoice, error, wrote=False)

    async def _first(self, invoice: Invoice, leave: Leave) -> _Taken:
        """Marks an invoice that was never sent, or surely did not arrive."""
        changes = self._changes
        async with changes.database.transaction() as connection:
            fresh = await self._mine(connection, invoice)
            if fresh is None:
                return _NOTHING
            blocked = await invoice_store.is_blocked(connection, fresh)
            if steps.next_step(fresh, changes.now(), blocked=blocked) is not Do.SEND:
                return _NOTHING
            return await self._take_to_send(connection, fresh, leave)

    async def _take_to_send(self, connection: Connection, invoice: Invoice, leave: Leave) -> _Taken:
        """Marks the invoice, and what can go with it, as being sent with a new key. A probe goes alone."""
        now, mates = self._changes.now(), list[Invoice]()
        if not leave.probe and not invoice.alone and not invoice.read_first and not invoice.in_doubt:
            mates = await invoice_store.lock_mates(connection, invoice, now, MOST_AT_ONCE - 1)
        together = sorted([invoice, *mates], key=lambda each: each.number)
        return await self._mark(connection, together, together, uuid.uuid4().hex)

    async def _take_to_repeat(self, connection: Connection, invoice: Invoice) -> _Taken | None:
        """Marks all that went with the invoice and have no answer yet. None when the call cannot be made again as it
        was, because something of it has been sent anew."""
        together = await invoice_store.lock_sent(connection, invoice.tenant, invoice.send_key)
        if len(together) != invoice.send_count:
            return None
        now = self._changes.now()
        unsettled = {InvoiceState.SENDING, InvoiceState.OUTCOME_UNKNOWN}
        open_ones = [each for each in together if each.state in unsettled]
        mine = [each for each in open_ones if each.number == invoice.number or not each.taken(now)]
        return await self._mark(connection, mine, together, invoice.send_key)

    async def _mark(self, connection: Connection, mine: Sequence[Invoice], sent: Sequence[Invoice], key: str) -> _Taken:
        now, patience = self._changes.now(), self._changes.patience
        marked = [steps.marked_sending(each, now, patience, key, len(sent)) for each in mine]
        await self._changes.change_all(connection, list(zip(mine, marked, strict=True)))
        return _Taken(Do.SEND, marked, sent, key)

    async def _read_back(self, invoice: Invoice) -> None:
        """Looks the invoice up, and goes on from there."""
        try:
            found = await self._books.find(invoice.tenant, invoice.number)
            in_the_way = found is not None and invoice.read_first and self._in_the_way(invoice, found)
            if found is not None and in_the_way and found.state not in GONE:
                # Out of the books with the wrong totals, so that it can be posted again.
                await self._books.cancel(invoice.tenant, found, f"{invoice.number} replace {invoice.intent}")
        except BooksError as error:
            await self._settle(invoice, error, wrote=False)
            return
        if found is not None and not in_the_way:
            await self._settle(invoice, found)
            return
        absent = partial(self._after_absence, certain=found is not None)
        if invoice.withdrawn:
            await absent(invoice, Leave())  # nothing will be sent
        else:
            await self._with_leave(invoice, absent)

    def _in_the_way(self, invoice: Invoice, found: Booked) -> bool:
        """Asked for again by a person, an invoice of ours that was taken out, or has other totals, makes room."""
        ours = found.reference == invoice.posting.reference
        stale = found.state in GONE or (not invoice.confirmed.fit(found) and not invoice.withdrawn)
        return ours and stale

    async def _after_absence(self, invoice: Invoice, leave: Leave, *, certain: bool) -> _Taken:
        """It is not in the books; `certain`: it was, and not any more."""
        changes = self._changes
        async with changes.database.transaction() as connection:
            fresh = await self._mine(connection, invoice)
            if fresh is None:
                return _NOTHING
            fresh = replace(fresh, in_doubt=fresh.in_doubt and not certain)
            do, noted = steps.after_absence(fresh, changes.now(), changes.patience)
            if do is Do.REPEAT:
                if (taken := await self._take_to_repeat(connection, fresh)) is not None:
                    return taken
                do, noted = steps.after_absence(fresh, changes.now(), changes.patience, repeatable=False)
            if do is Do.SEND:
                return await self._take_to_send(connection, noted, leave)
            await changes.change(connection, fresh, steps.voided(noted) if do is Do.VOID else noted)
        return _NOTHING

    async def _send(self, taken: _Taken) -> None:
        """The call, and what became of each."""
        tenant, postings = taken.sent[0].tenant, [each.posting for each in taken.sent]
        answers: Sequence[Booked | BooksError]
        try:
            if len(postings) == 1:
                answers = [await self._books.create(tenant, postings[0], taken.key)]
            else:
                answers = await self._books.create_many(tenant, postings, taken.key)
        except Rejected as error:
            await self._refused(taken, error)
            return
        except BooksError as error:
            answers = [error] * len(postings)
        by_number = dict(zip((posting.number for posting in postings), answers, strict=True))
        for invoice in taken.mine:
            await self._settle_sent(invoice, by_number[invoice.number])

    async def _refused(self, taken: _Taken, error: Rejected) -> None:
        """A call that was refused as a whole says nothing of each: they are sent again, one by one."""
        if len(taken.sent) == 1:
            await self._settle_sent(taken.mine[0], error)
            return
        for invoice in taken.mine:
            await self._settle(invoice, error, wrote=True, alone=True)

    async def _settle_sent(self, invoice: Invoice, answer: Booked | BooksError) -> None:
        """Records the answer to a sending; a refusal that may be the echo of an earlier success is looked into."""
        in_question = isinstance(answer, NumberTaken) or (isinstance(answer, Rejected) and invoice.in_doubt)
        if not in_question:
            await self._settle(invoice, answer)
            return
        try:
            found = await self._books.find(invoice.tenant, invoice.number)
        except BooksError as error:
            await self._settle(invoice, OutcomeUnknown(str(error)))
            return
        if found is None:
            await self._settle(invoice, answer)
        elif invoice.knows(found) and found.state in GONE and not invoice.in_doubt:
            await self._renumber(invoice)
        else:
            await self._settle(invoice, found)

    async def _renumber(self, invoice: Invoice) -> None:
        """The books give no number twice: what was taken out keeps its own, and the next one is used. Only for what we
        knew to be out and were asked to book again: one that is new to us, as after a restore, waits for a person."""
        async with self._changes.database.transaction() as connection:
            if (fresh := await self._mine(connection, invoice)) is not None:
                again = steps.held_back(renumbered(fresh))
                await self._changes.change(connection, fresh, again)

    async def _settle(
        self, invoice: Invoice, answer: Booked | BooksError, *, wrote: bool = True, alone: bool = False
    ) -> None:
        """Records an answer, unless another worker has taken the invoice over meanwhile."""
        changes = self._changes
        async with changes.database.transaction() as connection:
            fresh = await self._mine(connection, invoice)
            if fresh is None:
                return
            if alone:
                after = steps.held_apart(fresh, changes.now())
            elif isinstance(answer, BooksError):
                jitter = random.random()  # noqa: S311 - jitter, not a secret
                delay = steps.delay_of(answer, fresh.attempts, jitter, changes.patience)
                after = steps.failed(fresh, answer, changes.now(), delay, wrote=wrote)
            else:
                after = steps.booked(fresh, answer)
            await changes.change(connection, fresh, after)

    async def _mine(self, connection: Connection, invoice: Invoice) -> Invoice | None:
        """The invoice as it is now, locked; None when it was taken over or settled otherwise."""
        fresh = await invoice_store.lock(connection, invoice.tenant, invoice.order, invoice.revision)
        if fresh is None or fresh.turn != invoice.turn:
            log.info("another worker has taken an invoice over", extra={"invoice": invoice.number})
            return None
        return fresh

    async def _wait_if_unsettled(self, invoice: Invoice) -> None:
        """A job stays until its invoice is where it should be; waiting costs no attempt."""
        changes = self._changes
        async with changes.database.transaction() as connection:
            fresh = await invoice_store.lock(connection, invoice.tenant, invoice.order, invoice.revision)
            if fresh is None:
                return
            blocked = await invoice_store.is_blocked(connection, fresh)
        now = changes.now()
        step = steps.next_step(fresh, now, blocked=blocked)
        if step is Do.NOTHING:
            return
        wait = fresh.due_in(now)
        if fresh.taken(now):
            wait = min(wait, _LOOK_AGAIN)
        raise Postpone(wait, f"the invoice is {fresh.state}")
