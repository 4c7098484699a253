"""Changing what is in an order: freely before it is confirmed, as a new revision afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from server.audit.actions import Action
from server.audit.changes import Author
from server.db.pool import Connection
from server.idempotency import Idempotency, Once, once
from server.order import habits, order_store
from server.order.access import check_etag
from server.order.holds import hold_reasons
from server.order.order import Order
from server.order.ordering import (
    Ordering,
    draft_state,
    invoice_request,
    load,
    next_state,
    price,
    publish,
    reload,
    take_stock,
    wanted_of,
)
from server.order.pricing import UNPRICEABLE, Priced, Wanted, refuse
from server.order.states import Move, State
from server.order.terms import Terms, load_terms, lock_outlet


@dataclass(frozen=True, slots=True)
class Change:
    """The new values of an order; None leaves a field as it is."""

    wanted: Sequence[Wanted] | None = None
    day: date | None = None
    note: str | None = None


class Changing:
    """The use case behind UpdateOrder."""

    def __init__(self, ordering: Ordering) -> None:
        self._ordering = ordering

    async def update(
        self, author: Author, name: str, etag: str, change: Change, idempotency: Idempotency[Order]
    ) -> Once:
        """Raises ABORTED for a stale etag, and FAILED_PRECONDITION where the order cannot be changed any more or, once
        it is confirmed, where the change breaks a guard."""
        async with self._ordering.database.transaction() as connection:

            async def produce() -> Order:
                order = await load(connection, self._ordering.vault, author, name)
                check_etag(etag, order.etag)
                return await change_order(connection, self._ordering, author, order, change)

            return await once(connection, author.caller, idempotency, produce)


async def change_order(
    connection: Connection, ordering: Ordering, author: Author, order: Order, change: Change
) -> Order:
    """Changes a locked order. A new note alone is no new revision: it is not on the invoice."""
    tenant = author.caller.tenant
    changed = replace(order, state=await next_state(connection, ordering, author, order, Move.CHANGE))
    if change.note is not None:
        changed = replace(changed, note=change.note)
    if change.wanted is not None or change.day is not None:
        changed = await _reorder(connection, ordering, author, changed, change)
    await order_store.update(connection, ordering.vault, tenant, changed)
    stored = await reload(connection, ordering.vault, tenant, order.id)
    return await publish(connection, ordering, author, stored, Action.ORDER_UPDATE, {"was": order.revision})


async def _reorder(connection: Connection, ordering: Ordering, author: Author, order: Order, change: Change) -> Order:
    tenant, now = author.caller.tenant, ordering.now()
    if not order.state.open:
        await lock_outlet(connection, tenant, order.outlet)
    terms = await load_terms(connection, tenant, order.outlet, ordering.money)
    held = await order_store.held_stock(connection, tenant, order.id)
    wanted = wanted_of(order) if change.wanted is None else change.wanted
    priced = await price(connection, tenant, terms, wanted, change.day or order.delivery_date, now, held)
    if not order.state.open:
        refuse(priced.violations)
        return await _revise(connection, ordering, tenant, order, terms, priced)
    refuse(priced.violations, UNPRICEABLE)
    await order_store.replace_lines(connection, ordering.vault, tenant, order, order.revision, priced)
    return replace(order, state=draft_state(priced.violations))


async def _revise(
    connection: Connection, ordering: Ordering, tenant: str, order: Order, terms: Terms, priced: Priced
) -> Order:
    """A new revision of a confirmed order: other stock, other habits, other invoice."""
    now = ordering.now()
    revision = order.revision + 1
    quantities = habits.units_by_sku(priced)
    await order_store.lock_products(connection, tenant, {*habits.units_by_sku(order.priced), *quantities})
    await order_store.return_stock(connection, tenant, order.id)
    await take_stock(connection, tenant, order.id, quantities, terms.language)
    await habits.forget(connection, tenant, order)
    habit = await habits.habit(connection, tenant, order.outlet)
    reasons = hold_reasons(priced.subtotal, quantities, habit, terms.holds) if order.state is State.CONFIRMED else ()
    await habits.learn(connection, ordering.vault, tenant, order, priced, now)
    await order_store.replace_lines(connection, ordering.vault, tenant, order, revision, priced)
    revised = replace(
        order,
        revision=revision,
        lines=priced.lines,
        fee_lines=priced.fee_lines,
        delivery_date=priced.delivery_date,
        hold_reasons=tuple(reasons),
    )
    if reasons:
        await ordering.invoicing.withdraw(connection, tenant, order.id)
    else:
        await ordering.invoicing.queue(connection, tenant, invoice_request(revised, terms, now))
    return revised
