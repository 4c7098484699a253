"""WatchOrders: live, resumed by cursor on another server, filtered, and never ended by an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError

from server.caller import Role
from server.order.feed import invoices_changed
from tests.support.ledger import Ledger
from tests.support.orders import TENANT, Shop, bare, new_key, shop_server
from tests.support.reading import reason
from tests.support.stores import eventually
from tria.order.v1 import order_pb2
from tria.order.v1 import order_service_pb2 as rpc

PATIENCE = 10.0
Order = order_pb2.Order


@asynccontextmanager
async def watching(
    shop: Shop, cursor: str = "", role: Role = Role.CUSTOMER, outlet: str = "pizza", **request: Any
) -> AsyncIterator[Any]:
    """A watch whose first event, the sign of life, has come."""
    call: Any = shop.stub.WatchOrders(
        rpc.WatchOrdersRequest(cursor=cursor, **request), metadata=shop.who(role, outlet=outlet)
    )
    first = await asyncio.wait_for(call.read(), PATIENCE)
    assert first.WhichOneof("event") == "heartbeat"
    assert first.cursor
    yield call
    call.cancel()


async def following(call: Any, count: int) -> list[rpc.OrderEvent]:
    """The next changes."""
    events: list[rpc.OrderEvent] = []
    while len(events) < count:
        event = await asyncio.wait_for(call.read(), PATIENCE)
        assert event is not grpc.aio.EOF
        if event.HasField("order"):
            events.append(event)
    return events


def states(events: list[rpc.OrderEvent]) -> list[str]:
    return [Order.State.Name(event.order.state) for event in events]


async def test_changes_come_as_they_happen(shop: Shop) -> None:
    async with watching(shop) as call:
        await shop.create(outlet="wok")
        placed = await shop.placed()
        events = await following(call, 2)
    assert states(events) == ["DRAFT", "CONFIRMED"]
    assert events[1].order == placed
    assert len({event.event_id for event in events}) == 2
    assert events[0].time.ToNanoseconds() <= events[1].time.ToNanoseconds()


async def test_a_watch_goes_on_at_another_server(shop: Shop, redis_url: str) -> None:
    """Each event shows the order as it was then, and none is missed or told twice."""
    async with watching(shop) as call:
        draft = await shop.create(note="Gate 3")
        [first] = await following(call, 1)
    confirmed = await shop.confirm(draft)
    await shop.stub.AcceptOrder(
        rpc.AcceptOrderRequest(name=draft.name, request_id=new_key()), metadata=shop.who(Role.STAFF)
    )
    async with (
        shop_server(shop.folder, shop.dsn, redis_url) as other,
        watching(other, first.cursor) as call,
    ):
        events = await following(call, 2)
        assert states(events) == ["CONFIRMED", "ACCEPTED"]
        assert events[0].order == confirmed
        assert events[0].order.note == "Gate 3"
        await shop.create()  # at the first server, heard at the second
        assert states(await following(call, 1)) == ["DRAFT"]
    async with watching(shop, first.cursor) as call:
        again = await following(call, 3)
    assert [event.event_id for event in again[:2]] == [event.event_id for event in events]


async def test_a_watch_is_filtered(shop: Shop) -> None:
    async with (
        watching(shop, role=Role.STAFF, states=[Order.CONFIRMED]) as confirmed,
        watching(shop, role=Role.STAFF, outlet="outlets/wok") as wok,
        watching(shop, outlet="wok") as customer,
    ):
        await shop.placed(outlet="wok")
        await shop.placed()
        assert [event.order.outlet for event in await following(confirmed, 2)] == ["outlets/wok", "outlets/pizza"]
        assert states(await following(customer, 2)) == ["DRAFT", "CONFIRMED"]
        assert states(await following(wok, 2)) == ["DRAFT", "CONFIRMED"]


@pytest.mark.parametrize(("outlet", "tenant"), [("wok", "lumen"), ("pizza", "other")])
async def test_a_cursor_is_its_owners(shop: Shop, outlet: str, tenant: str) -> None:
    async with watching(shop) as call:
        await shop.create()
        [event] = await following(call, 1)
    theirs = shop.stub.WatchOrders(
        rpc.WatchOrdersRequest(cursor=event.cursor), metadata=shop.who(outlet=outlet, tenant=tenant)
    )
    with pytest.raises(AioRpcError) as caught:
        await theirs.read()
    assert reason(caught.value) == "PAGE_TOKEN_INVALID"


async def test_silence_has_heartbeats_and_an_end(shop: Shop, redis_url: str) -> None:
    async with (
        shop_server(shop.folder, shop.dsn, redis_url, heartbeat=0.1, max_age=1.0) as quick,
        watching(quick) as call,
    ):
        events = []
        while (event := await asyncio.wait_for(call.read(), PATIENCE)) is not grpc.aio.EOF:
            events.append(event)
        assert {event.WhichOneof("event") for event in events[:-1]} == {"heartbeat"}
        assert 3 <= len(events) <= 12
        assert events[-1].HasField("reconnect")
        assert events[-1].cursor
        assert 0 < events[-1].reconnect.delay.ToMilliseconds() <= 2000
        assert await call.code() is grpc.StatusCode.OK


async def test_a_stopping_server_sends_watchers_elsewhere(shop: Shop) -> None:
    async with watching(shop) as call:
        shop.desk.watching.drain()
        event = await asyncio.wait_for(call.read(), PATIENCE)
        assert event.HasField("reconnect")


async def test_events_are_heard_again_after_the_listener_was_lost(shop: Shop) -> None:
    listeners = "select array_agg(pid) from pg_stat_activity where application_name = 'tria-bell' and datname = $1"
    name = shop.dsn.partition("?")[0].rpartition("/")[2]

    async def listening(without: int = 0) -> bool:
        pids = await shop.value(listeners, name)
        return bool(pids) and without not in pids

    await eventually(listening)
    [pid] = await shop.value(listeners, name)
    async with watching(shop) as call:
        await shop.value("select pg_terminate_backend($1)", pid)
        await eventually(lambda: listening(pid))
        await shop.create()
        # Sooner than the watcher would look by itself.
        event = await asyncio.wait_for(call.read(), 3)
        assert event.HasField("order")


async def test_numbers_have_no_gaps_whoever_commits_first(shop: Shop) -> None:
    """Forty writers at once, some of which roll back: a reader that polls sees 1, 2, 3 and nothing late."""
    async with watching(shop, role=Role.STAFF) as call:
        made = await asyncio.gather(
            *(shop.create(("PB-12", "200") if number % 4 else ("NOPE", "1")) for number in range(40)),
            return_exceptions=True,
        )
        good = [order for order in made if isinstance(order, Order)]
        assert len(good) == 30
        events = await following(call, 30)
    assert {event.order.name for event in events} == {order.name for order in good}
    seqs = await shop.value("select array_agg(seq order by seq) from order_event")
    assert seqs == list(range(1, 31))


async def test_what_happens_to_the_invoice_reaches_watchers(shop: Shop) -> None:
    """Accounting writes its change and the event in one transaction."""
    placed = await shop.placed()
    async with watching(shop) as call:
        async with shop.database.transaction() as connection:
            await connection.execute("update ledger set state = 'PAID'")
            await invoices_changed(connection, TENANT, [bare(placed.name)], Ledger())
        [event] = await following(call, 1)
    assert event.order.invoice.state == order_pb2.Invoice.PAID
    assert (event.order.etag, event.order.total) == (placed.etag, placed.total)
