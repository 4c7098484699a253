"""An order together with what accounting says of its invoice, inside a transaction that may have changed it."""

from __future__ import annotations

from dataclasses import replace

from server.db.pool import Connection
from server.errors import not_found
from server.order import order_store
from server.order.invoicing import Invoicing
from server.order.order import Order


async def order_with_invoice(connection: Connection, invoicing: Invoicing, tenant: str, id: str) -> Order:
    """The order of this bare id as this transaction has left it, without what people wrote. Raises NOT_FOUND."""
    found = await order_store.get_impersonal(connection, tenant, id)
    if found is None:
        raise not_found(f"orders/{id}")
    views = await invoicing.views(connection, tenant, [id])
    return replace(found, invoice=views.get(id))
