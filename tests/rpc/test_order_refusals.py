"""What nobody should be able to do with an order, and what odd values in a request leave behind."""

from __future__ import annotations

import grpc
import pytest

from server.caller import Role
from tests.rpc.test_orders import move, refused
from tests.support.orders import Shop, line, new_key
from tests.support.reading import reason
from tria.order.v1 import order_pb2
from tria.order.v1 import order_service_pb2 as rpc

Order = order_pb2.Order
CODES = grpc.StatusCode


@pytest.mark.parametrize("units", [2**53, 2**63 - 1, -(2**63)])
async def test_a_number_that_no_json_holds_is_recorded_and_changes_nothing_else(shop: Shop, units: int) -> None:
    odd = line("PB-12", "200")
    odd.unit_price.units = units
    request = rpc.CreateOrderRequest(order=Order(lines=[odd]), request_id=new_key())
    who = shop.who()
    made = await shop.stub.CreateOrder(request, metadata=who)
    call = shop.stub.CreateOrder(request, metadata=who)
    assert await call == made
    assert ("x-idempotent-replay", "true") in tuple(await call.initial_metadata())
    assert ("x-idempotent-replay", "true") in tuple(await call.trailing_metadata())
    shown = await shop.value(
        "select count(*) from audit_pending where convert_from(leaf, 'utf8') like '%' || $1 || '%'", f'"{units}"'
    )
    assert shown == 2


async def test_what_a_client_writes_as_description_is_not_in_the_trail(shop: Shop) -> None:
    odd = line("PB-12", "200")
    odd.description = "for Mdm Quixotica Tan"
    order = Order(lines=[odd])
    await shop.stub.CreateOrder(rpc.CreateOrderRequest(order=order, request_id=new_key()), metadata=shop.who())
    assert not await shop.value(
        "select count(*) from audit_pending where convert_from(leaf, 'utf8') like '%Quixotica%'"
    )


async def test_an_order_belongs_to_a_conversation_of_its_outlet(shop: Shop) -> None:
    await shop.run(
        "insert into conversation (tenant, id, outlet, title, locale) values "
        "($1, 'ours', 'pizza', '', ''), ($1, 'theirs', 'wok', '', '')",
        "lumen",
    )
    assert (await shop.create(conversation="conversations/ours")).conversation == "conversations/ours"
    for name in ("conversations/theirs", "conversations/none"):
        error = await refused(shop.create(conversation=name))
        assert error.code() == CODES.NOT_FOUND


async def test_more_than_can_be_stored_is_an_invalid_argument(shop: Shop) -> None:
    enough: list[list[tuple[str, str]]] = [[("CT", "999999999999")], [("CT", "20000000000")] * 2]
    for lines in enough:
        error = await refused(shop.create(*lines))
        assert error.code() == CODES.INVALID_ARGUMENT


async def test_a_customer_who_lists_another_outlets_orders_is_told(shop: Shop) -> None:
    error = await refused(shop.stub.ListOrders(rpc.ListOrdersRequest(outlet="outlets/wok"), metadata=shop.who()))
    assert reason(error) == "OUTLET_MISMATCH"
    await shop.stub.ListOrders(rpc.ListOrdersRequest(outlet="outlets/pizza"), metadata=shop.who())


async def test_a_paid_order_is_cancelled_by_staff_only(shop: Shop) -> None:
    order = await shop.placed()
    await shop.run("update ledger set state = 'PAID'")
    error = await refused(move(shop, "Cancel", order, Role.CUSTOMER))
    assert (error.code(), reason(error)) == (CODES.FAILED_PRECONDITION, "ORDER_PAID")
    assert order.number in (error.details() or "")
    assert (await move(shop, "Cancel", order)).state == Order.CANCELLED
