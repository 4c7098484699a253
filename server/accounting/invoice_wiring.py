"""What the server and the worker make of invoices, put together; access to the books themselves is wiring.py's."""

from __future__ import annotations

from collections.abc import Sequence

from server.accounting import connection_store
from server.accounting.books import Books
from server.accounting.budget import Budget
from server.accounting.connection import Connections
from server.accounting.dead_letters import DeadLetters
from server.accounting.following import Following
from server.accounting.handler import AccountingHandler
from server.accounting.invoice_changes import InvoiceChanges
from server.accounting.invoice_jobs import Entry
from server.accounting.invoices import Invoices
from server.accounting.noting import Noting
from server.accounting.overview import Overview
from server.accounting.sending import Sending
from server.accounting.tenant_slots import Handler, shared_by_tenants
from server.accounting.webhook import Webhooks
from server.accounting.withdrawing import Withdrawing
from server.accounting_config import AccountingChoice, AccountingConfig
from server.audit.actor import Shown
from server.jobs import Entrypoint, Periodic
from server.order.invoicing import ShowOrder
from server.paging import PageTokens

_CRASHES = 20  # a worker that is killed says nothing against the invoice that it had


def invoices(config: AccountingConfig) -> Invoices:
    """What orders ask of accounting."""
    connected = config.books is not AccountingChoice.NONE
    return Invoices(connected=connected, authorise=config.xero.authorise, url=config.public_url)


def accounting_handler(
    config: AccountingConfig,
    changes: InvoiceChanges,
    show: ShowOrder,
    tokens: PageTokens,
    shown: Shown,
    access: tuple[Connections, Budget] | None,
) -> AccountingHandler:
    """AccountingService; `access` None where there is no accounting system."""
    connections, budget = access or (None, None)
    database = changes.database
    return AccountingHandler(
        Overview(database, connections, budget),
        DeadLetters(changes, show, tokens),
        Webhooks(database, config.xero.webhook_key, connection_store.tenants_of),
        shown,
    )


def entrypoints(changes: InvoiceChanges, jobs: Books, people: Books) -> Sequence[Entrypoint]:
    """The jobs of invoices; `people` are the books for what a person waits for."""
    following = Following(changes, jobs)
    sending, withdrawing = Sending(changes, jobs, people), Withdrawing(changes, jobs)
    return (
        _job(Entry.POST, sending.post, slots=8, each=3),
        _job(Entry.WITHDRAW, withdrawing.withdraw, slots=6, each=2),
        _job(Entry.FETCH, following.fetch, slots=4, each=2),
        _job(Entry.NOTE, Noting(changes, jobs).note, slots=2, each=1),
        _job(Entry.RECONCILE, following.reconcile, slots=2, each=1),
    )


def _job(entry: Entry, handler: Handler, *, slots: int, each: int) -> Entrypoint:
    """`slots` at once, of which a tenant has `each` at most: Xero allows it five calls, and a sender takes up to fifty
    invoices."""
    shared = shared_by_tenants(handler, each)
    return Entrypoint(entry, shared, concurrency=slots, max_attempts=12, max_crashes=_CRASHES)


def periodics(changes: InvoiceChanges, jobs: Books) -> Sequence[Periodic]:
    """What is looked after by the clock. Cron is in UTC: the night of Singapore."""
    following = Following(changes, jobs)
    return (
        Periodic("take_up_invoices", "* * * * *", following.take_up),
        Periodic("reconcile_all_invoices", "7 18 * * *", following.reconcile_all),
    )
