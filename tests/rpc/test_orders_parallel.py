"""One request from many callers at once, over the wire and through two servers: done once, answered alike."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import grpc
import pytest

from server.caller import Role
from server.order.pricing import Wanted
from server.order.proposal import Asked, Kind, Proposal
from tests.support.orders import OUTLET, TENANT, Shop, amount, line, new_key, shop_server
from tests.support.reading import reason
from tria.chat.v1 import chat_service_pb2 as chat
from tria.order.v1 import order_pb2
from tria.order.v1 import order_service_pb2 as rpc

CALLERS = 50


async def proposed(shop: Shop) -> Proposal:
    asked = Asked(Kind.PLACE_ORDER, OUTLET, (Wanted("PB-12", Decimal(200)),), conversation="conversations/c")
    async with shop.database.transaction() as connection:
        return await shop.desk.proposals.propose(connection, TENANT, asked)


async def answers(calls: list[Any]) -> tuple[list[Any], list[bool]]:
    """What each call answered, and whether it was a replay."""
    results = await asyncio.gather(*calls)
    replays = [("x-idempotent-replay", "true") in tuple(await call.trailing_metadata()) for call in calls]
    return results, replays


async def test_fifty_creations_of_one_request_are_one_order(shop: Shop, redis_url: str) -> None:
    order = order_pb2.Order(lines=[line("PB-12", "200")])
    request, who = rpc.CreateOrderRequest(order=order, request_id=new_key()), shop.who()
    async with shop_server(shop.folder, shop.dsn, redis_url) as replica:
        stubs = [shop.stub, replica.stub]
        calls = [stubs[number % 2].CreateOrder(request, metadata=who) for number in range(CALLERS)]
        made, replays = await answers(calls)
    assert all(each == made[0] for each in made)
    assert sorted(replays) == [False] + [True] * (CALLERS - 1)
    for table in ("customer_order", "order_event"):
        assert await shop.value(f"select count(*) from {table}") == 1
    assert await shop.leaves("ORDER_CREATE") == 1


async def test_one_request_id_with_many_bodies_is_one_order(shop: Shop) -> None:
    key, who = new_key(), shop.who()

    async def create(boxes: int) -> str:
        order = order_pb2.Order(lines=[line("PB-12", str(boxes))])
        try:
            return str(
                (await shop.stub.CreateOrder(rpc.CreateOrderRequest(order=order, request_id=key), metadata=who)).name
            )
        except grpc.aio.AioRpcError as error:
            return reason(error)

    results = await asyncio.gather(*(create(100 + number) for number in range(CALLERS)))
    assert results.count("IDEMPOTENCY_KEY_REUSED") == CALLERS - 1
    assert await shop.value("select count(*) from customer_order") == 1


async def test_fifty_confirmations_of_one_proposal_are_one_order(shop: Shop, redis_url: str) -> None:
    proposal, who = await proposed(shop), shop.who()
    request = chat.ConfirmProposalRequest(
        name=proposal.name, arguments_sha256=proposal.arguments_sha256, request_id=new_key()
    )
    async with shop_server(shop.folder, shop.dsn, redis_url) as replica:
        stubs = [shop.chat, replica.chat]
        calls = [stubs[number % 2].ConfirmProposal(request, metadata=who) for number in range(CALLERS)]
        confirmed, replays = await answers(calls)
    assert all(each == confirmed[0] for each in confirmed)
    assert sorted(replays) == [False] + [True] * (CALLERS - 1)
    assert await shop.value("select count(*) from customer_order") == 1
    assert await shop.stock("PB-12") == 99_800
    assert await shop.ledger(confirmed[0].resource) == [(1, "QUEUED", amount(confirmed[0].proposal.total))]


async def test_fifty_people_confirm_one_order_once(shop: Shop) -> None:
    """Everybody with a request of their own: one is done, the others are told that it is."""
    draft = await shop.create()

    async def confirm() -> str:
        try:
            return order_pb2.Order.State.Name((await shop.confirm(draft)).state)
        except grpc.aio.AioRpcError as error:
            return reason(error)

    results = await asyncio.gather(*(confirm() for _ in range(CALLERS)))
    assert results.count("CONFIRMED") == 1
    assert set(results) <= {"CONFIRMED", "ETAG_MISMATCH", "ORDER_TRANSITION_ILLEGAL"}
    assert await shop.stock("PB-12") == 99_800
    assert len(await shop.ledger(draft.name)) == 1


@pytest.mark.parametrize("verb", ["Accept", "Reject", "Cancel"])
async def test_fifty_decisions_of_one_request_are_one_move(shop: Shop, verb: str) -> None:
    placed, who = await shop.placed(), shop.who(Role.STAFF)
    request = getattr(rpc, f"{verb}OrderRequest")(name=placed.name, request_id=new_key())
    calls = [getattr(shop.stub, f"{verb}Order")(request, metadata=who) for _ in range(CALLERS)]
    moved, replays = await answers(calls)
    assert all(each == moved[0] for each in moved)
    assert sorted(replays) == [False] + [True] * (CALLERS - 1)
    assert await shop.leaves(f"ORDER_{verb.upper()}") == 1
