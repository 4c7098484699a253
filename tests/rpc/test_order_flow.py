"""The whole way of an order over gRPC alone: words, a proposal, a person's confirmation, and everybody who watches."""

from __future__ import annotations

import asyncio
import uuid
from decimal import Decimal
from typing import Any

from server.caller import Role
from tests.support.app import Desk
from tests.support.orders import amount
from tests.support.reading import check_stream
from tria.chat.v1 import chat_pb2, chat_service_pb2
from tria.order.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc

ORDER = "Hi, 20 boxes of 12 inch and 5 packs of napkins for tomorrow please"
PATIENCE = 20.0


async def told(watch: Any, name: str, state: order_pb2.Order.State.ValueType) -> order_pb2.Order:
    """The order once a watcher is told that it stands so."""
    while True:
        event = await asyncio.wait_for(watch.read(), PATIENCE)
        if event.HasField("order") and (event.order.name, event.order.state) == (name, state):
            order: order_pb2.Order = event.order
            return order


async def test_from_words_to_a_completed_order(desk: Desk) -> None:
    orders = order_service_pb2_grpc.OrderServiceStub(desk.channel)
    watch: Any = orders.WatchOrders(
        order_service_pb2.WatchOrdersRequest(), metadata=desk.metadata(subject=uuid.uuid4().hex)
    )
    assert (await asyncio.wait_for(watch.read(), PATIENCE)).HasField("heartbeat")

    events = await desk.say(ORDER)
    check_stream(events)
    assert events[-1].completed.answer_kind == chat_pb2.PROPOSED
    [proposal] = [event.proposal for event in events if event.HasField("proposal")]
    assert {line.sku: line.quantity for line in proposal.lines if line.sku} == {"PB-12-K": "20", "NP-33-2": "5"}
    assert sum(amount(line.line_total) + amount(line.line_tax) for line in proposal.lines) == amount(proposal.total)
    assert amount(proposal.total) == Decimal("42.62")

    request = chat_service_pb2.ConfirmProposalRequest(
        name=proposal.name, arguments_sha256=proposal.arguments_sha256, request_id=str(uuid.uuid4())
    )
    made = await desk.chat.ConfirmProposal(request, metadata=desk.metadata(subject=uuid.uuid4().hex))
    order = await told(watch, made.resource, order_pb2.Order.CONFIRMED)
    assert order.total == proposal.total
    said = {line.sku: ORDER[origin.start : origin.end] for line in order.lines for origin in line.provenance}
    assert said == {"PB-12-K": "20 boxes of 12 inch", "NP-33-2": "5 packs of napkins"}

    staff = desk.metadata(Role.STAFF, subject=uuid.uuid4().hex)
    for verb, state in (("Accept", "ACCEPTED"), ("Fulfil", "FULFILLING"), ("Complete", "COMPLETED")):
        message = getattr(order_service_pb2, f"{verb}OrderRequest")(name=order.name, request_id=str(uuid.uuid4()))
        await getattr(orders, f"{verb}Order")(message, metadata=staff)
        seen = await told(watch, order.name, order_pb2.Order.State.Value(state))
        assert seen.total == order.total
    watch.cancel()
