"""What belongs to every change of an invoice, in one transaction: its row, its audit leaf, the jobs that follow from
it, and the word to whoever watches the order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from server.accounting import invoice_jobs, invoice_store, steps
from server.accounting.books import BookedState
from server.accounting.invoice import Invoice
from server.accounting.invoice_jobs import Entry
from server.accounting.steps import Patience
from server.audit.actions import Action
from server.audit.changes import Author, worker
from server.audit.leaf import Plain
from server.db.pool import Connection, Database
from server.errors import AppError, Reason
from server.jobs import Postpone
from server.order.invoicing import Announce, InvoiceState

_AWAY = frozenset({Reason.STORE_UNAVAILABLE, Reason.STORE_BUSY})
_PAUSE = 1.0  # seconds until a job that found PostgreSQL away is run again
_TO_VOID = frozenset({BookedState.AUTHORISED, BookedState.SUBMITTED})


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class InvoiceChanges:
    """What the use cases of accounting stand on; `now` is the clock, in UTC."""

    database: Database
    announce: Announce
    patience: Patience = field(default_factory=Patience)
    now: Callable[[], datetime] = _utc_now

    async def change(
        self, connection: Connection, before: Invoice, after: Invoice, author: Author | None = None
    ) -> None:
        """Stores what became of an invoice that this transaction has locked. What nobody can see of it is only
        stored. Call it after every lock of invoices, because it takes the feed's turn."""
        await self.change_all(connection, [(before, after)], author)

    async def change_all(
        self, connection: Connection, changes: Sequence[tuple[Invoice, Invoice]], author: Author | None = None
    ) -> None:
        """The same of several invoices of one tenant. The feed's turn, for which the tenant's orders wait, comes last
        and is taken once."""
        seen = [each for before, after in changes if (each := await self._store(connection, before, after, author))]
        if seen:
            await self.announce(connection, changes[0][1].tenant, list(dict.fromkeys(seen)))

    async def _store(self, connection: Connection, before: Invoice, after: Invoice, author: Author | None) -> str:
        """All of a change but the word to the watchers; the order to tell them of, '' for none."""
        after = steps.settled(after)
        await invoice_store.save(connection, after)
        for entry in follow_ups(before, after):
            await invoice_jobs.ask(connection, entry, after)
        if after.state is InvoiceState.VOIDED and before.state is not InvoiceState.VOIDED:
            await self.queue_successor(connection, after)
        if _visible(before) == _visible(after):
            return ""
        await record(connection, before, after, author)
        return after.order

    async def queue_successor(self, connection: Connection, gone: Invoice) -> None:
        """Asks for the revision that waited for this one to leave the books."""
        following = await invoice_store.next_of_order(connection, gone.tenant, gone.order)
        if following is not None and following.state is InvoiceState.QUEUED and not following.withdrawn:
            await invoice_jobs.ask(connection, Entry.POST, following)


async def resume(
    connection: Connection, changes: InvoiceChanges, invoices: Sequence[Invoice], author: Author | None = None
) -> None:
    """Takes locked invoices of a tenant up again that waited for a person, and asks for their jobs."""
    taken_up = [(invoice, steps.queued(invoice)) for invoice in invoices]
    for _, again in taken_up:
        entry = Entry.WITHDRAW if must_leave(again) else Entry.POST
        await invoice_jobs.ask(connection, entry, again, person=author is not None)
    await changes.change_all(connection, taken_up, author)


@asynccontextmanager
async def store_may_be_away() -> AsyncIterator[None]:
    """Around a job: without PostgreSQL it waits and loses no attempt, for it has done nothing wrong."""
    try:
        yield
    except AppError as error:
        if error.reason not in _AWAY:
            raise
        raise Postpone(_PAUSE, "the database is away") from error


async def record(connection: Connection, before: Invoice, after: Invoice, author: Author | None = None) -> None:
    """The audit leaf of a change."""
    shown = author or worker(after.tenant)
    await shown.record(connection, _action(after), (f"orders/{after.order}",), _facts(before, after))


def follow_ups(before: Invoice, after: Invoice) -> Sequence[Entry]:
    """The jobs that a change makes necessary."""
    if must_leave(after) and not must_leave(before):
        return [Entry.WITHDRAW]
    if before.booked is None and after.state in {InvoiceState.DRAFT, InvoiceState.AUTHORISED}:
        return [Entry.NOTE]
    return []


def _to_void(invoice: Invoice) -> bool:
    """Authorised with other totals than confirmed: it must not stay so while a person is looked for."""
    booked = invoice.booked
    return invoice.state is InvoiceState.MISMATCH and booked is not None and booked.state in _TO_VOID


def must_leave(invoice: Invoice) -> bool:
    """Whether it is to be taken out of the books, and is in them."""
    return invoice.in_books and (invoice.withdrawn or _to_void(invoice))


def _visible(invoice: Invoice) -> tuple[object, ...]:
    """What a leaf and an event are for. Not the time of the next attempt, nor why the last one failed while it is tried
    again by itself: in an outage both change with every try of every invoice, and the row tells them."""
    total = invoice.booked.total if invoice.booked else None
    problem = invoice.problem if invoice.stopped else invoice.problem is not None
    return (invoice.state, invoice.number, invoice.attempts, problem, total, invoice.withdrawn)


def _action(after: Invoice) -> Action:
    return Action.INVOICE_VOID if after.withdrawn or after.state is InvoiceState.VOIDED else Action.INVOICE_POST


def _facts(before: Invoice, after: Invoice) -> dict[str, Plain]:
    """Nothing of the books' sentences: they may name people."""
    totals = after.confirmed
    facts: dict[str, Plain] = {
        "invoice": after.number,
        "revision": after.revision,
        "was": before.state.value,
        "state": after.state.value,
        "confirmed": f"{totals.currency} {totals.total:.2f}",
        "attempts": after.attempts,
    }
    if after.booked is not None:
        facts |= {"booked": str(after.booked.total), "booked_id": after.booked.id}
    if after.problem is not None:
        facts["reason"] = after.problem.reason.value
    return facts
