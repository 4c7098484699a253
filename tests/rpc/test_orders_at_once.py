"""Many calls at once with one request_id: one order, one answer, one invoice asked for. Twenty go through the whole
chain, as many as one caller may make at once; fifty go to the use cases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from server.audit.changes import Author, operator
from server.caller import AuthMethod, Caller, Role
from server.idempotency import Idempotency, Once
from server.order.encode import order_message
from server.order.order import Order
from server.order.placing import Draft
from server.order.pricing import Wanted
from server.order.proposal import Asked, Kind
from tests.support.accounting import Accounts
from tests.support.orders import OUTLET, TENANT, line, new_key
from tria.chat.v1 import chat_service_pb2
from tria.order.v1 import order_pb2, order_service_pb2


async def twenty(call: Callable[[], Any]) -> None:
    """All answers are the same, all but one of them marked as replays."""
    calls = [call() for _ in range(20)]
    answers = await asyncio.gather(*calls)
    replays = [("x-idempotent-replay", "true") in tuple(await each.trailing_metadata()) for each in calls]
    assert sorted(replays) == [False] + [True] * 19
    assert all(answer == answers[0] for answer in answers)


async def fifty(run: Callable[[Author, Idempotency[Order]], Awaitable[Once]], method: str) -> None:
    """The same of the use case behind a call."""
    author = replace(operator(TENANT), caller=Caller(TENANT, "ann", frozenset({Role.CUSTOMER}), AuthMethod.JWT, OUTLET))
    key: Idempotency[Order] = Idempotency(method, new_key(), b"same", _bytes)
    answers = await asyncio.gather(*(run(author, key) for _ in range(50)))
    assert len({answer.answer for answer in answers}) == 1
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 49


def _bytes(order: Order) -> bytes:
    return order_message(order).SerializeToString()


async def counts(accounts: Accounts) -> dict[str, int]:
    tables = ("customer_order", "order_event", "invoice", "pgqueuer")
    return {table: await accounts.value(f"select count(*) from {table}") for table in tables}


async def test_twenty_creations_are_one_order(accounts: Accounts) -> None:
    draft = order_pb2.Order(lines=[line("PB-12", "200")])
    request = order_service_pb2.CreateOrderRequest(order=draft, request_id=new_key())
    who = accounts.who(Role.CUSTOMER)
    await twenty(lambda: accounts.orders.CreateOrder(request, metadata=who))
    assert await counts(accounts) == {"customer_order": 1, "order_event": 1, "invoice": 0, "pgqueuer": 0}


async def test_twenty_confirmations_of_an_order_are_one_invoice(accounts: Accounts) -> None:
    who = accounts.who(Role.CUSTOMER)
    draft = order_pb2.Order(lines=[line("PB-12", "200")])
    made = await accounts.orders.CreateOrder(
        order_service_pb2.CreateOrderRequest(order=draft, request_id=new_key()), metadata=who
    )
    request = order_service_pb2.ConfirmOrderRequest(name=made.name, etag=made.etag, request_id=new_key())
    await twenty(lambda: accounts.orders.ConfirmOrder(request, metadata=who))
    assert await counts(accounts) == {"customer_order": 1, "order_event": 2, "invoice": 1, "pgqueuer": 1}


async def test_twenty_confirmations_of_a_proposal_are_one_order_and_one_invoice(accounts: Accounts) -> None:
    asked = Asked(Kind.PLACE_ORDER, OUTLET, (Wanted("PB-12", Decimal(200)),), conversation="conversations/c")
    async with accounts.database.transaction() as connection:
        proposal = await accounts.desk.application.orders.proposals.propose(connection, TENANT, asked)
    request = chat_service_pb2.ConfirmProposalRequest(
        name=proposal.name, arguments_sha256=proposal.arguments_sha256, request_id=new_key()
    )
    who = accounts.who(Role.CUSTOMER)
    await twenty(lambda: accounts.desk.chat.ConfirmProposal(request, metadata=who))
    assert await counts(accounts) == {"customer_order": 1, "order_event": 1, "invoice": 1, "pgqueuer": 1}


async def test_fifty_creations_are_one_order(accounts: Accounts) -> None:
    desk = accounts.desk.application.orders
    draft = Draft("", (Wanted("PB-12", Decimal(200)),), None)
    await fifty(lambda author, key: desk.placing.create(author, draft, key), "CreateOrder")
    assert await counts(accounts) == {"customer_order": 1, "order_event": 1, "invoice": 0, "pgqueuer": 0}


async def test_fifty_confirmations_of_an_order_are_one_invoice(accounts: Accounts) -> None:
    desk = accounts.desk.application.orders
    made = await accounts.orders.CreateOrder(
        order_service_pb2.CreateOrderRequest(order=order_pb2.Order(lines=[line("PB-12", "200")]), request_id=new_key()),
        metadata=accounts.who(Role.CUSTOMER),
    )
    await fifty(lambda author, key: desk.deciding.confirm(author, made.name, made.etag, key), "ConfirmOrder")
    assert await counts(accounts) == {"customer_order": 1, "order_event": 2, "invoice": 1, "pgqueuer": 1}
