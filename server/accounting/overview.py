"""What people see of the connection and of the calls that are left."""

from __future__ import annotations

import math
from dataclasses import dataclass

from server.accounting import invoice_store
from server.accounting.books import MOST_AT_ONCE
from server.accounting.budget import Budget, BudgetView
from server.accounting.connection import Connections, ConnectionState, ConnectionView
from server.db.pool import Database
from server.errors import AppError, Code, Reason


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is left of the budget, how many invoices wait for it, and in how many seconds the last one is sent."""

    budget: BudgetView
    waiting: int
    eta: float


class Overview:
    """The use cases behind GetConnection and GetBudget; without an accounting system both arguments are None."""

    def __init__(self, database: Database, connections: Connections | None, budget: Budget | None) -> None:
        self._database = database
        self._connections = connections
        self._budget = budget

    async def connection(self, tenant: str) -> ConnectionView:
        """How the tenant is connected."""
        if self._connections is None:
            return ConnectionView(ConnectionState.NOT_CONNECTED)
        return await self._connections.view(tenant)

    async def outlook(self, tenant: str) -> Outlook:
        """Raises FAILED_PRECONDITION (ACCOUNTING_NOT_CONNECTED) where there is no accounting system."""
        if self._budget is None:
            raise AppError(
                Code.FAILED_PRECONDITION, Reason.ACCOUNTING_NOT_CONNECTED, "no accounting system is configured"
            )
        async with self._database.connection() as connection:
            waiting, apart = await invoice_store.count_waiting(connection, tenant)
            leaving = await invoice_store.count_leaving(connection, tenant)
        view = await self._budget.peek(tenant)
        # One call for each batch, and about as many for contacts; looking up and taking out are two for each invoice.
        # What is only read or noted goes behind them all and keeps none of them waiting.
        calls = 2 * (math.ceil((waiting - apart) / MOST_AT_ONCE) + apart + leaving)
        return Outlook(view, waiting, view.eta(calls))
