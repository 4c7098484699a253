"""An order together with what accounting says of its invoice, inside a transaction that may have changed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from server.db.pool import Connection
from server.errors import not_found
from server.order import order_store
from server.order.invoicing import Invoicing
from server.order.order import Order


async def order_with_invoice(connection: Connection, invoicing: Invoicing, tenant: str, id: str) -> Order:
    """The order of this bare id as this transaction has left it, without what people wrote. Raises NOT_FOUND."""
    (order,) = await orders_with_invoices(connection, invoicing, tenant, [id])
    return order


async def orders_with_invoices(
    connection: Connection, invoicing: Invoicing, tenant: str, ids: Sequence[str]
) -> list[Order]:
    """The same of several, in the order of `ids`. Raises NOT_FOUND for the first that is not there."""
    found = {order.id: order for order in await order_store.get_impersonal(connection, tenant, ids)}
    views = await invoicing.views(connection, tenant, ids)
    for id in ids:
        if id not in found:
            raise not_found(f"orders/{id}")
    return [replace(found[id], invoice=views.get(id)) for id in ids]
