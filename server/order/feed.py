"""The feed of changes: an event is a row of the order's own transaction, numbered per tenant without visible gaps.

The table is the truth; a notification only says that it is worth looking. Watchers of any process read the same rows.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString

from server.audit.sealing import Vault
from server.db.pool import Connection
from server.order import order_store
from server.order.invoicing import Invoicing
from server.order.order import Order, as_snapshot, from_snapshot
from server.order.showing import orders_with_invoices
from server.order.states import State

CHANNEL = "order_event"
"""Notified with tenant and outlet."""


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """A change: `seq` counts them per tenant, `order` is as it was after it."""

    seq: int
    event_id: str
    time: datetime
    order: Order


# Taking the numbers last keeps the tenant's writers apart for the shortest time.
APPEND: Final[LiteralString] = """
with numbered as (
    insert into order_feed (tenant, last_seq) values ($1, cardinality($2::uuid[]))
    on conflict (tenant) do update set last_seq = order_feed.last_seq + excluded.last_seq
    returning last_seq - cardinality($2::uuid[]) as before
), told as (
    select * from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[])
        with ordinality as told (event_id, order_id, outlet, state, snapshot, place)
), added as (
    insert into order_event (tenant, seq, event_id, order_id, outlet, state, snapshot)
    select $1, before + place, event_id, order_id, outlet, state, snapshot::jsonb from numbered, told
)
select pg_notify('order_event', $1 || ' ' || outlet) from (select distinct outlet from told) as outlets"""


async def append(connection: Connection, tenant: str, *orders: Order) -> None:
    """Tells watchers of the changes, when the transaction commits. Call it last in the transaction."""
    await connection.execute(
        APPEND,
        tenant,
        [uuid.uuid4() for _ in orders],
        [order.id for order in orders],
        [order.outlet for order in orders],
        [order.state.value for order in orders],
        [as_snapshot(order) for order in orders],
    )


TAKE_TURN: Final[LiteralString] = """
insert into order_feed (tenant) values ($1)
on conflict (tenant) do update set last_seq = order_feed.last_seq
returning last_seq"""


async def invoices_changed(connection: Connection, tenant: str, orders: Sequence[str], invoicing: Invoicing) -> None:
    """Tells watchers that the invoices of orders (bare ids) stand differently now; accounting calls it last in the
    transaction that changed the invoices. Raises NOT_FOUND."""
    # The orders themselves are not locked: changes of orders lock them before their invoices, and we hold the invoices
    # already. Having the turn, we read every change that has an earlier number, and no later one can come before ours.
    await connection.fetchval(TAKE_TURN, tenant)
    await append(connection, tenant, *await orders_with_invoices(connection, invoicing, tenant, orders))


LAST_SEQ: Final[LiteralString] = "select last_seq from order_feed where tenant = $1"


async def last_seq(connection: Connection, tenant: str) -> int:
    """The number of the tenant's newest event, 0 when it has none."""
    found: int | None = await connection.fetchval(LAST_SEQ, tenant)
    return found or 0


SELECT_EVENTS: Final[LiteralString] = """
select event.seq, event_id, time, snapshot, event.order_id, note_box
from order_event as event
join customer_order on customer_order.tenant = event.tenant and customer_order.id = event.order_id
where event.tenant = $1 and event.seq > $2 and ($3::text = '' or event.outlet = $3)
    and (cardinality($4::text[]) = 0 or event.state = any($4))
order by event.seq
limit $5"""


async def events(
    connection: Connection, vault: Vault, tenant: str, after: int, outlet: str, states: Sequence[State], limit: int
) -> list[FeedEvent]:
    """The events behind number `after`, in order; `outlet` '' and no `states` mean all."""
    rows = await connection.fetch(SELECT_EVENTS, tenant, after, outlet, list(states), limit)
    keys = await vault.keys_of(connection, tenant, [row["note_box"] for row in rows])
    return [
        FeedEvent(
            row["seq"],
            str(row["event_id"]),
            row["time"],
            from_snapshot(row["snapshot"], order_store.note_of(row, keys, row["order_id"])),
        )
        for row in rows
    ]
