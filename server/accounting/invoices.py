"""What orders ask of accounting: the row of an invoice and its job, in the order's own transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from server.accounting import invoice_jobs, invoice_store
from server.accounting.invoice import Invoice, Totals, posting_of
from server.accounting.invoice_changes import follow_ups, record
from server.accounting.invoice_jobs import Entry
from server.accounting.steps import settled
from server.db.pool import Connection
from server.order.invoicing import InvoiceRequest, InvoiceState, InvoiceView


class Invoices:
    """`server.order.invoicing.Invoicing`. `connected` False: there is no accounting system; what is confirmed now waits
    until there is one. `url` is where people open orders, `authorise` False leaves drafts."""

    def __init__(self, *, connected: bool, authorise: bool = True, url: str = "") -> None:
        self._connected = connected
        self._authorise = authorise
        self._url = url

    async def queue(self, connection: Connection, tenant: str, request: InvoiceRequest) -> None:
        """The order itself tells of it: its own transaction records and publishes."""
        earlier = await invoice_store.lock_all(connection, tenant, request.order)
        if earlier and earlier[-1].revision >= request.revision:
            return
        left = [await self._withdraw(connection, each) for each in earlier]
        invoice = self._made(tenant, request, earlier)
        await invoice_store.insert(connection, invoice)
        if self._connected and all(each.state is InvoiceState.VOIDED for each in left):
            await invoice_jobs.ask(connection, Entry.POST, invoice)

    async def withdraw(self, connection: Connection, tenant: str, order: str) -> None:
        """What is surely not in the books is void at once; the rest is left to jobs."""
        for invoice in await invoice_store.lock_all(connection, tenant, order):
            await self._withdraw(connection, invoice)

    async def views(self, connection: Connection, tenant: str, orders: Sequence[str]) -> Mapping[str, InvoiceView]:
        """The newest invoice of each order, or the one before it when that keeps it from being posted."""
        shown = await invoice_store.views(connection, tenant, orders)
        if self._connected:
            return shown
        return dict.fromkeys(orders, InvoiceView(InvoiceState.NOT_CONNECTED)) | shown

    def _made(self, tenant: str, request: InvoiceRequest, earlier: Sequence[Invoice]) -> Invoice:
        posting = posting_of(request, url=self._url, authorise=self._authorise)
        return Invoice(
            tenant=tenant,
            order=request.order,
            revision=request.revision,
            number=posting.number,
            state=InvoiceState.QUEUED if self._connected else InvoiceState.NOT_CONNECTED,
            posting=posting,
            confirmed=Totals(request.total.currency, request.subtotal.amount, request.tax.amount, request.total.amount),
            replaces=earlier[-1].revision if earlier else None,
        )

    async def _withdraw(self, connection: Connection, invoice: Invoice) -> Invoice:
        """What is being sent, or may have arrived, is taken out by a job when its outcome is known."""
        gone = settled(replace(invoice, withdrawn=True))
        if gone == invoice or (invoice.state is InvoiceState.VOIDED and not invoice.stopped):
            return invoice
        if gone.state is InvoiceState.VOIDED is not invoice.state:
            await record(connection, invoice, gone)
        await invoice_store.save(connection, gone)
        for entry in follow_ups(invoice, gone):
            await invoice_jobs.ask(connection, entry, gone)
        return gone
