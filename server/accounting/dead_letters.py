"""What gave up and waits for a person: the list of it, and its second chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from server.accounting import dead_letter_store as store
from server.accounting import invoice_jobs, invoice_store
from server.accounting.invoice import Invoice
from server.accounting.invoice_changes import InvoiceChanges, must_leave, resume
from server.accounting.invoice_jobs import Entry
from server.audit.actions import Action
from server.audit.changes import Author
from server.db.pool import Connection
from server.errors import AppError, Code, Reason
from server.idempotency import Idempotency, Once, once
from server.order.invoicing import ShowOrder
from server.paging import PageTokens, page_size


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One of them; `job` names the invoice or the held job, `order` is a bare id or empty."""

    job: str
    order: str
    reason: str
    message: str
    fix: str
    attempts: int
    fail_time: datetime


class DeadLetters:
    """The use cases behind ListDeadLetters and RetryInvoice."""

    def __init__(self, changes: InvoiceChanges, show: ShowOrder, tokens: PageTokens) -> None:
        self._changes = changes
        self._show = show
        self._tokens = tokens

    async def page(self, tenant: str, size: int, token: str) -> tuple[Sequence[DeadLetter], str]:
        """(letters, newest first; where the next page begins, empty at the end)."""
        query = f"ListDeadLetters\n{tenant}"
        wanted = self._tokens.read(query, token, page_size(size))
        after = (datetime.fromisoformat(wanted.after[0]), wanted.after[1]) if wanted.after else None
        async with self._changes.database.connection() as connection:
            rows = await store.page(connection, tenant, after, wanted.size + 1)
        found = [DeadLetter(**row) for row in rows[: wanted.size]]
        more = len(rows) > wanted.size
        return found, self._tokens.make(query, (found[-1].fail_time.isoformat(), found[-1].job)) if more else ""

    async def retry(self, author: Author, name: str, idempotency: Idempotency[bytes]) -> Once:
        """Takes the order's invoice up again: the same intent under the same number, looked up before it is sent.

        Raises NOT_FOUND, or FAILED_PRECONDITION (INVOICE_NOT_RETRYABLE) when nothing has given up.
        """
        order, tenant = name.removeprefix("orders/"), author.caller.tenant
        async with self._changes.database.transaction() as connection:

            async def produce() -> bytes:
                invoices = await invoice_store.lock_all(connection, tenant, order)
                await self._resume(connection, author, name, invoices)
                return await self._show(connection, tenant, order)

            return await once(connection, author.caller, idempotency, produce)

    async def _resume(self, connection: Connection, author: Author, name: str, invoices: Sequence[Invoice]) -> None:
        if not invoices:
            await self._show(connection, author.caller.tenant, name.removeprefix("orders/"))
            raise _not_retryable("the order has no invoice", "NONE")
        newest = invoices[-1]
        held = await store.release_held(connection, newest.tenant, newest.order)
        stopped = [each for each in invoices if each.stopped]
        if not stopped and not held:
            raise _not_retryable(f"the invoice is {newest.state}", newest.state)
        await resume(connection, self._changes, stopped, author)
        for invoice in invoices:
            if invoice.revision in held and invoice not in stopped:
                entry = Entry.WITHDRAW if must_leave(invoice) else Entry.POST
                await invoice_jobs.ask(connection, entry, invoice, person=True)
        facts = {"invoice": newest.number, "was": newest.state.value, "held_jobs": len(held)}
        await author.record(connection, Action.INVOICE_RETRY, (name,), facts)


def _not_retryable(message: str, state: str) -> AppError:
    return AppError(
        Code.FAILED_PRECONDITION,
        Reason.INVOICE_NOT_RETRYABLE,
        f"{message}: nothing to retry",
        metadata={"state": state},
    )
