"""What happens to an order, told in the conversation that it came from: the port of orders, on the side of chat."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from server.audit.actions import Action
from server.audit.changes import Author
from server.audit.leaf import Plain
from server.audit.sealing import Vault
from server.chat import conversations, feed, hand_offs
from server.chat.access import conversation_id
from server.chat.conversations import Conversation
from server.chat.events import Controller
from server.chat.feed import OrderChanged
from server.chat.hand_off import RETURNED, HandOffReason
from server.chat.hand_offs import Wanted
from server.db.pool import Connection
from server.order.order import Order
from server.order.states import State


class OrderNews:
    """`server.order.threads.Threads`: watchers of the conversation hear of the order, and an order that is held for
    staff puts the conversation into their queue until it is decided."""

    def __init__(self, vault: Vault, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._vault = vault
        self._now = now

    async def order_changed(self, connection: Connection, author: Author, order: Order) -> None:
        """Locks the conversation; an outlet that has no such one is told nothing."""
        tenant = author.caller.tenant
        if not order.conversation:
            return
        id = conversation_id(order.conversation)
        held = await conversations.lock_conversation(connection, self._vault, tenant, id, order.outlet)
        if held is None:
            return
        await feed.order_changed(connection, tenant, id, order.outlet, OrderChanged(order.id, order.state.value))
        waits = order.state is State.CONFIRMED and bool(order.hold_reasons)
        if waits and held.controller is Controller.ASSISTANT:
            await self._ask(connection, author, held, order)
        decided = not waits and held.controller is Controller.WAITING_FOR_STAFF
        if decided and await hand_offs.waits_for_order(connection, tenant, id, order.id):
            held = await hand_offs.give_back(connection, tenant, held)
            await author.record(connection, Action.CONTROL_RETURN, (held.name, order.name), _facts(held, RETURNED))

    async def _ask(self, connection: Connection, author: Author, held: Conversation, order: Order) -> None:
        wanted = Wanted(HandOffReason.ORDER_HELD, self._now(), order=order.id)
        held = await hand_offs.ask(connection, self._vault, author.caller.tenant, held, wanted)
        facts = _facts(held, wanted.reason.value) | {"level": wanted.reason.level}
        await author.record(connection, Action.HUMAN_REQUEST, (held.name, order.name), facts)


def _facts(held: Conversation, reason: str) -> dict[str, Plain]:
    return {"controller": held.controller.value, "controller_epoch": held.controller_epoch, "reason": reason}
