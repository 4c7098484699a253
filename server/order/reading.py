"""Reading orders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from server.audit.sealing import Vault
from server.caller import Caller
from server.db.pool import Connection
from server.errors import not_found
from server.order import order_store
from server.order.access import outlet_scope, outlet_to_order_for
from server.order.order import Order
from server.order.ordering import Ordering, with_invoices
from server.order.states import State
from server.paging import PageTokens, page_size


class Reading:
    """The use cases behind GetOrder and ListOrders, and what chat tells of orders."""

    def __init__(self, ordering: Ordering, tokens: PageTokens) -> None:
        self._ordering = ordering
        self._tokens = tokens

    async def get(self, caller: Caller, name: str) -> Order:
        """Raises NOT_FOUND, also for what belongs to another tenant or outlet."""
        async with self._ordering.database.connection() as connection:
            id = name.removeprefix("orders/")
            found = await order_store.get(connection, self._ordering.vault, caller.tenant, id, outlet_scope(caller))
            if found is None:
                raise not_found(name)
            return (await with_invoices(connection, self._ordering, caller.tenant, [found]))[0]

    async def page(
        self, caller: Caller, outlet: str, states: Sequence[State], size: int, token: str
    ) -> tuple[list[Order], str]:
        """(orders, newest first; where the next page begins, empty at the end). Raises OUTLET_MISMATCH when a customer
        names another outlet than its own."""
        scope = outlet_to_order_for(caller, outlet) if outlet_scope(caller) else outlet.removeprefix("outlets/")
        query = "\n".join(("ListOrders", caller.tenant, scope, *sorted(states)))
        wanted = self._tokens.read(query, token, page_size(size))
        after = (datetime.fromisoformat(wanted.after[0]), wanted.after[1]) if wanted.after else None
        async with self._ordering.database.connection() as connection:
            found = await order_store.page(
                connection, self._ordering.vault, caller.tenant, scope, states, after, wanted.size + 1
            )
            shown = await with_invoices(connection, self._ordering, caller.tenant, found[: wanted.size])
        more = len(found) > wanted.size
        return shown, self._tokens.make(query, (shown[-1].create_time.isoformat(), shown[-1].id)) if more else ""

    async def recent(self, tenant: str, outlet: str, limit: int) -> list[Order]:
        """The outlet's newest orders of any state, with their invoices."""
        async with self._ordering.database.connection() as connection:
            found = await order_store.page(connection, self._ordering.vault, tenant, outlet, (), None, limit)
            return await with_invoices(connection, self._ordering, tenant, found)


async def last_order(
    connection: Connection,
    vault: Vault,
    tenant: str,
    outlet: str,
    until: datetime,
    *,
    within: timedelta = timedelta(days=400),
) -> Order | None:
    """The outlet's newest standing order confirmed in [until - within, until): what "same as last time" means; for
    "same as last week" give the end of that week and seven days."""
    found = await order_store.confirmed_between(connection, vault, tenant, outlet, until - within, until, 1)
    return found[0] if found else None
