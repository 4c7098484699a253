"""Quoting and drafting orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from server.audit.actions import Action
from server.audit.changes import Author
from server.caller import Caller
from server.errors import not_found
from server.idempotency import Idempotency, Once, once
from server.order import order_store
from server.order.access import outlet_to_order_for
from server.order.order import Order
from server.order.ordering import Ordering, price, publish, store_draft
from server.order.pricing import Priced, Wanted
from server.order.terms import load_terms


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody wants to order; `outlet` may be empty for a customer, `day` None means the first possible one."""

    outlet: str
    wanted: Sequence[Wanted]
    day: date | None = None
    note: str = ""
    conversation: str = ""


class Placing:
    """The use cases before an order is confirmed."""

    def __init__(self, ordering: Ordering) -> None:
        self._ordering = ordering

    async def quote(self, caller: Caller, draft: Draft) -> tuple[str, Priced]:
        """(outlet, the order as it would be stored and what stands in its way); nothing is stored."""
        outlet = outlet_to_order_for(caller, draft.outlet)
        async with self._ordering.database.transaction(readonly=True) as connection:
            terms = await load_terms(connection, caller.tenant, outlet, self._ordering.money)
            now = self._ordering.now()
            return outlet, await price(connection, caller.tenant, terms, draft.wanted, draft.day, now)

    async def create(self, author: Author, draft: Draft, idempotency: Idempotency[Order]) -> Once:
        """Stores a draft. Raises NOT_FOUND for a conversation of another outlet, and FAILED_PRECONDITION for lines that
        cannot be priced; what else stands in the way of confirming it may still be put right."""
        caller = author.caller
        outlet = outlet_to_order_for(caller, draft.outlet)
        async with self._ordering.database.transaction() as connection:

            async def produce() -> Order:
                id = draft.conversation.removeprefix("conversations/")
                if id and not await order_store.has_conversation(connection, caller.tenant, id, outlet):
                    raise not_found(draft.conversation)
                terms = await load_terms(connection, caller.tenant, outlet, self._ordering.money)
                now = self._ordering.now()
                priced = await price(connection, caller.tenant, terms, draft.wanted, draft.day, now)
                order = await store_draft(
                    connection, self._ordering.vault, caller.tenant, terms, priced, now,
                    note=draft.note, conversation=draft.conversation, person=caller.person,
                )  # fmt: skip
                return await publish(connection, self._ordering, author, order, Action.ORDER_CREATE)

            return await once(connection, caller, idempotency, produce)
