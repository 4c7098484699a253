"""What happens in the books by itself comes back: `fetch_invoice` after a webhook, `reconcile_invoices` at night or
when webhooks were missed, and what was left lying is taken up again."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import orjson

from server.accounting import connection_store, dead_letter_store, invoice_jobs, invoice_store, steps, webhook_store
from server.accounting.books import Booked, Books, BooksError, Disconnected, Throttled
from server.accounting.invoice import Invoice
from server.accounting.invoice_changes import InvoiceChanges, must_leave, resume, store_may_be_away
from server.accounting.invoice_jobs import Entry
from server.errors import AppError
from server.jobs import Postpone
from server.order.invoicing import InvoiceState

log = logging.getLogger(__name__)

_OVERLAP = timedelta(hours=1)  # read again, because clocks differ and changes are stamped before they can be read
_FIRST = timedelta(days=7)  # read back when nothing was read before
_STUCK = timedelta(minutes=5)
_BUSY = 2.0  # seconds until a fetch looks again at an invoice that a worker has
_AGAIN = 60.0  # seconds until a fetch that the books did not answer is tried again
_TAKE_UP = 100  # invoices in one transaction


class Following:
    """Keeps our invoices as the books have them."""

    def __init__(self, changes: InvoiceChanges, books: Books) -> None:
        self._changes = changes
        self._books = books

    async def fetch(self, payload: bytes) -> None:
        """Job `fetch_invoice`: reads one invoice afresh, if it can be one of ours and what we know of it is
        older."""
        job = orjson.loads(payload)
        async with store_may_be_away():
            async with self._changes.database.connection() as connection:
                changed = _moment(job.get("changed", ""))
                if not await invoice_store.worth_reading(connection, job["tenant"], job["id"], changed):
                    return
            try:
                found = await self._books.get(job["tenant"], job["id"])
            except Disconnected:
                return  # read when it is connected again
            except BooksError as error:
                raise _later(error) from error
            if found is not None and not await self.observe(job["tenant"], found):
                raise Postpone(_BUSY, "a worker has the invoice")

    async def reconcile(self, payload: bytes) -> None:
        """Job `reconcile_invoices`: everything that changed since the last time. Interrupted, it goes on from there."""
        tenant = orjson.loads(payload)["tenant"]
        database = self._changes.database
        async with store_may_be_away():
            started = self._changes.now()
            async with database.connection() as connection:
                since = await webhook_store.read_until(connection, tenant) or started - _FIRST
            try:
                async for found in self._books.changed_since(tenant, since - _OVERLAP):
                    if not await self.observe(tenant, found):  # a worker has it: read again when it is done
                        async with database.transaction() as connection:
                            await invoice_jobs.ask_fetch(connection, tenant, found.id)
                    if found.updated_at > since:
                        since = min(found.updated_at, started)
                        async with database.transaction() as connection:
                            await webhook_store.keep_read_until(connection, tenant, since)
            except Disconnected:
                return
            except BooksError as error:
                raise _later(error) from error
            async with database.transaction() as connection:
                await webhook_store.keep_read_until(connection, tenant, started)

    async def observe(self, tenant: str, found: Booked) -> bool:
        """Takes over how the books have an invoice, if it is ours and that is news. False while a worker has it."""
        changes = self._changes
        async with changes.database.transaction() as connection:
            invoice = await invoice_store.lock_number(connection, tenant, found.number)
            if invoice is None or not _is_news(invoice, found):
                return True
            if invoice.taken(changes.now()):
                return False
            after = steps.booked(invoice, found)
            if after.state is not InvoiceState.NEEDS_ATTENTION:  # another's under our number concerns who sends
                await changes.change(connection, invoice, steps.fenced(after))
            return True

    async def take_up(self) -> None:
        """Asks again for what nobody works on any more, and for what waited until the books were connected."""
        database, now = self._changes.database, self._changes.now()
        try:
            async with database.connection() as connection:
                waiting = set(await invoice_store.tenants_not_connected(connection))
                waiting &= set(await connection_store.tenants_of(connection, ""))
            for tenant in waiting:
                await self.connected(tenant)
            async with database.transaction() as connection:
                for invoice in await invoice_store.stuck(connection, now - _STUCK, (Entry.POST, Entry.WITHDRAW)):
                    entry = Entry.WITHDRAW if must_leave(invoice) else Entry.POST
                    await invoice_jobs.ask(connection, entry, invoice)
        except AppError as away:
            log.info("invoices not looked after: %s", away.message)

    async def connected(self, tenant: str) -> int:
        """The tenant's books are connected: what waited for that is queued. Returns how many."""
        changes, count = self._changes, 0
        while True:
            async with changes.database.transaction() as connection:
                waiting = await invoice_store.lock_not_connected(connection, tenant, _TAKE_UP)
                await resume(connection, changes, waiting)
            count += len(waiting)
            if len(waiting) < _TAKE_UP:
                return count

    async def reconcile_all(self) -> None:
        """Asks for the reconciliation of every tenant that is connected, and forgets held jobs that this makes up
        for."""
        try:
            async with self._changes.database.transaction() as connection:
                if held := await dead_letter_store.forget_held(connection):
                    log.warning("held jobs that nobody needs any more are forgotten", extra={"jobs": sorted(held)})
                for tenant in await connection_store.tenants_of(connection, ""):
                    await invoice_jobs.ask_reconcile(connection, tenant)
        except AppError as away:
            log.info("reconciliation not asked for: %s", away.message)


def _moment(text: str) -> datetime | None:
    """Xero's eventDateUtc; None when it is none, and then everything may be news."""
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        return None
    return told if told.tzinfo else told.replace(tzinfo=UTC)


def _is_news(invoice: Invoice, found: Booked) -> bool:
    if invoice.state in {InvoiceState.VOIDED, InvoiceState.NOT_CONNECTED}:
        return False
    known = invoice.booked
    if known is None:
        return True
    return found.updated_at >= known.updated_at and found != known


def _later(error: BooksError) -> Postpone:
    delay = error.retry_after if isinstance(error, Throttled) else _AGAIN
    return Postpone(max(delay, 1.0), type(error).__name__)
