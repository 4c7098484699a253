"""Moving orders: confirm, accept, reject, fulfil, complete, cancel. Each is one transaction."""

from __future__ import annotations

from dataclasses import replace

from server.audit.actions import Action
from server.audit.changes import Author
from server.db.pool import Connection
from server.errors import AppError, Code, Reason
from server.idempotency import Idempotency, Once, once
from server.order import habits, order_store
from server.order.access import check_etag, party
from server.order.order import Order
from server.order.ordering import (
    Moved,
    Ordering,
    Twin,
    confirm,
    duplicate,
    find_twin,
    invoice_request,
    load,
    next_state,
    price,
    publish,
    refuse_paid,
    reload,
    wanted_of,
)
from server.order.pricing import UNPRICEABLE, Priced, refuse
from server.order.sentences import Saying, say
from server.order.states import Move, Party, State
from server.order.terms import load_terms, lock_outlet

_ACTIONS = {
    Move.ACCEPT: Action.ORDER_ACCEPT,
    Move.REJECT: Action.ORDER_REJECT,
    Move.FULFIL: Action.ORDER_FULFIL,
    Move.COMPLETE: Action.ORDER_COMPLETE,
    Move.CANCEL: Action.ORDER_CANCEL,
}


class Deciding:
    """The use cases that move an order from state to state."""

    def __init__(self, ordering: Ordering) -> None:
        self._ordering = ordering

    async def confirm(self, author: Author, name: str, etag: str, idempotency: Idempotency[Order]) -> Once:
        """The customer confirms exactly what it saw.

        Raises ABORTED (ETAG_MISMATCH) when prices moved since the order was priced: it is priced anew and must be seen
        again. Raises FAILED_PRECONDITION for every guard, and once for a suspected duplicate: asked again by a new
        request, the order is meant.
        """
        ordering = self._ordering
        try:
            async with ordering.database.transaction() as connection:

                async def produce() -> Order:
                    return await self._confirm(connection, author, name, etag, idempotency.request_id)

                return await once(connection, author.caller, idempotency, produce)
        except Moved as moved:
            raise await self._reprice(author, name, moved.priced) from moved
        except Twin as twin:
            raise await self._ask(author, name, idempotency.request_id, twin.order) from twin

    async def move(
        self, author: Author, name: str, etag: str, move: Move, reason: str, idempotency: Idempotency[Order]
    ) -> Once:
        """Accepts, rejects, fulfils, completes or cancels. Raises FAILED_PRECONDITION (ORDER_TRANSITION_ILLEGAL)."""
        async with self._ordering.database.transaction() as connection:

            async def produce() -> Order:
                order = await load(connection, self._ordering.vault, author, name)
                check_etag(etag, order.etag)
                return await move_order(connection, self._ordering, author, order, move, reason)

            return await once(connection, author.caller, idempotency, produce)

    async def _confirm(self, connection: Connection, author: Author, name: str, etag: str, request_id: str) -> Order:
        ordering, tenant = self._ordering, author.caller.tenant
        order = await load(connection, ordering.vault, author, name)
        await next_state(connection, ordering, author, order, Move.CONFIRM)
        check_etag(etag, order.etag)
        await lock_outlet(connection, tenant, order.outlet)
        terms = await load_terms(connection, tenant, order.outlet, ordering.money)
        now = ordering.now()
        priced = await price(connection, tenant, terms, wanted_of(order), order.delivery_date, now)
        refuse(priced.violations, UNPRICEABLE)
        if (priced.lines, priced.fee_lines) != (order.lines, order.fee_lines):
            raise Moved(priced)
        refuse(priced.violations)
        twin = await find_twin(connection, ordering.vault, tenant, terms, priced, now)
        told = order.duplicate_of if order.duplicate_asked != request_id else ""
        if twin is not None and twin.id != told:
            raise Twin(twin)
        confirmed = await confirm(connection, ordering, author, order, terms, priced)
        details = {"hold_reasons": list(confirmed.hold_reasons)}
        return await publish(connection, ordering, author, confirmed, Action.ORDER_CONFIRM, details)

    async def _reprice(self, author: Author, name: str, priced: Priced) -> AppError:
        """Stores today's prices and returns the refusal that carries the new etag."""
        async with self._ordering.database.transaction() as connection:
            order = await load(connection, self._ordering.vault, author, name)
            if order.state.open:
                tenant = author.caller.tenant
                vault = self._ordering.vault
                await order_store.replace_lines(connection, vault, tenant, order, order.revision, priced)
                await order_store.update(connection, vault, tenant, order)
                order = await reload(connection, vault, tenant, order.id)
                await publish(connection, self._ordering, author, order, Action.ORDER_UPDATE, {"repriced": 1})
            terms = await load_terms(connection, author.caller.tenant, order.outlet, self._ordering.money, closed=True)
        return AppError(
            Code.ABORTED,
            Reason.ETAG_MISMATCH,
            say(Saying.REPRICED, terms.language),
            metadata={"etag": order.etag},
        )

    async def _ask(self, author: Author, name: str, request_id: str, twin: Order) -> AppError:
        """Remembers that the customer was asked and returns the question."""
        async with self._ordering.database.transaction() as connection:
            order = await load(connection, self._ordering.vault, author, name)
            await order_store.asked_duplicate(connection, author.caller.tenant, order.id, twin.id, request_id)
            terms = await load_terms(connection, author.caller.tenant, order.outlet, self._ordering.money, closed=True)
        return duplicate(twin, terms.language)


async def move_order(
    connection: Connection, ordering: Ordering, author: Author, order: Order, move: Move, reason: str
) -> Order:
    """Moves a locked order and everything that hangs on it: stock, habits, invoice, trail and feed."""
    tenant = author.caller.tenant
    was_open = order.state.open
    state = await next_state(connection, ordering, author, order, move)
    if move is Move.CANCEL and party(author.caller) is Party.CUSTOMER:
        terms = await load_terms(connection, tenant, order.outlet, ordering.money, closed=True)
        await refuse_paid(connection, ordering, tenant, order, terms.language)
    moved = replace(order, state=state, hold_reasons=())
    called_off = state in {State.CANCELLED, State.REJECTED}
    if called_off and not was_open:
        # The outlet first, as at confirmation: habits are counted under its lock.
        await lock_outlet(connection, tenant, order.outlet)
        await order_store.return_stock(connection, tenant, order.id)
    await order_store.update(connection, ordering.vault, tenant, moved, decision_reason=reason)
    if called_off and not was_open:
        await habits.forget(connection, tenant, order)
        await ordering.invoicing.withdraw(connection, tenant, order.id)
    if move is Move.ACCEPT:
        # Held orders are invoiced now; for the others this changes nothing.
        terms = await load_terms(connection, tenant, order.outlet, ordering.money, closed=True)
        await ordering.invoicing.queue(connection, tenant, invoice_request(moved, terms, ordering.now()))
    stored = await reload(connection, ordering.vault, tenant, order.id)
    details = {"was": order.state.value, "hold_reasons": list(order.hold_reasons)}
    return await publish(connection, ordering, author, stored, _ACTIONS[move], details)
