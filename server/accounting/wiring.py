"""Access to the books put together once, for the server, the worker and the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from server.accounting.books import Books
from server.accounting.budget import Budget, BudgetLimits, Lane
from server.accounting.connection import Connections
from server.accounting.identity import Identity, open_identity
from server.accounting_config import AccountingChoice, XeroConfig
from server.breaker import CircuitBreakers
from server.config import Config
from server.db.pool import Database
from server.envelope import MasterKeys


@dataclass(frozen=True, slots=True)
class BooksAccess:
    """What is known of the books without posting to them."""

    connections: Connections
    identity: Identity
    budget: Budget


@dataclass(frozen=True, slots=True)
class OpenBooks:
    """The books for jobs, and for what a person waits for; both spend the same budget."""

    jobs: Books
    people: Books
    breakers: CircuitBreakers


@asynccontextmanager
async def books_access(config: Config, database: Database, redis: Redis) -> AsyncIterator[BooksAccess]:
    """Connections and budget of all tenants."""
    xero = config.accounting.xero
    async with open_identity(xero) as identity:
        connections = Connections(database, identity, MasterKeys(config.auth.master_keys), xero.grant)
        try:
            yield BooksAccess(connections, identity, Budget(redis, budget_limits(xero)))
        finally:
            await connections.close()


@asynccontextmanager
async def open_books(config: Config, access: BooksAccess) -> AsyncIterator[OpenBooks | None]:
    """The books that were chosen; None when invoices are not booked. Waits at the end for calls on their way."""
    if config.accounting.books is AccountingChoice.NONE:
        yield None
        return
    # Here, because xero-python costs 32 MB and 0.4 s, and only who posts invoices needs it.
    from server.accounting.xero import Xero  # noqa: PLC0415
    from server.accounting.xero_calls import XeroCalls  # noqa: PLC0415
    from server.accounting.xero_contacts import XeroContacts  # noqa: PLC0415
    from server.accounting.xero_taxes import XeroTaxes  # noqa: PLC0415

    xero = config.accounting.xero
    breakers = CircuitBreakers("xero")
    calls = XeroCalls(xero.api_url, access.connections, access.budget, breakers, threads=4 * xero.concurrency)
    contacts, taxes = XeroContacts(calls), XeroTaxes(calls, xero.tax_types)
    account = config.money.sales_account_code
    try:
        yield OpenBooks(
            Xero(calls, contacts, taxes, account, Lane.JOBS),
            Xero(calls, contacts, taxes, account, Lane.PEOPLE),
            breakers,
        )
    finally:
        await calls.close()


def budget_limits(xero: XeroConfig) -> BudgetLimits:
    """As configured."""
    return BudgetLimits(xero.minute_limit, xero.day_limit, xero.concurrency, xero.people_reserve, xero.processes)
