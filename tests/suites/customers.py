"""Customers who order and ask while everything breaks, and take down what they are told."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx

from server.caller import Role
from server.embedded import demo
from server.embedded.issuer import Claims, Issuer
from tests.suites.history import Followed, History, Placed, Stored, hash_of
from tests.suites.questions import Talk
from tests.support.system import System
from tria.chat.v1 import chat_service_pb2
from tria.order.v1 import order_pb2
from tria.order.v1 import order_service_pb2 as rpc
from tria_client.client import TriaClient
from tria_client.errors import TriaError

T = TypeVar("T")
# Product and quantity that are just above what a first order must come to, and leave stock for all.
GOODS = (("PB-12-K", 220), ("PB-10-K", 270), ("PB-14-K", 160), ("PB-08-K", 330))
PATIENCE = 180.0  # seconds of insisting, after which an outcome is unknown

# Each customer has an outlet like the demo's first: two orders of one outlet on a day may be taken for one.
MORE_OUTLETS = """
insert into outlet (tenant, id, name, address, language, payment_terms_days, credit_hold, zone, minimum_order)
select tenant, $2 || number, name || ' ' || number, address, language, payment_terms_days, false, zone, 20
from outlet, generate_series(0, $3 - 1) as number where tenant = $1 and id = 'pizza-pronto-bugis'
on conflict do nothing
"""
PREFIX = "chaos-"


async def prepare(dsn: str, count: int) -> None:
    """An outlet for each customer."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(MORE_OUTLETS, demo.TENANT, PREFIX, count)
    finally:
        await connection.close()


async def insist(call: Callable[[], Awaitable[T]]) -> T | None:
    """The same request again until it has an outcome; None when there was none in time."""
    ends = asyncio.get_running_loop().time() + PATIENCE
    while asyncio.get_running_loop().time() < ends:
        try:
            return await call()
        except TriaError as error:
            if error.code.name not in {"UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "CANCELLED"}:
                raise
            await asyncio.sleep(0.3)
    return None


async def customer(up: System, number: int, history: History, stop: asyncio.Event, orders: int) -> None:
    """Orders and asks by turns: `orders` orders, and questions until it is time to stop."""
    outlet = f"{PREFIX}{number}"
    claims = Claims(Role.CUSTOMER, demo.TENANT, f"customer-{number}", outlet, timedelta(hours=4))
    token, talk = Issuer(up.state_dir / "issuer").mint(claims), Talk(number)
    async with TriaClient(up.ready["grpc"], token=token, tls=False) as client:
        placed = 0
        while placed < orders or not stop.is_set():
            if placed < orders:
                history.orders.append(await _order(client, number, placed))
                placed += 1
            await _ask(client, talk.next().text, history)
            await asyncio.sleep(0.2)


async def _order(client: TriaClient, number: int, turn: int) -> Placed:
    sku, quantity = GOODS[(number + turn) % len(GOODS)]
    line = order_pb2.OrderLine(sku=sku, quantity=str(quantity + turn))
    create = rpc.CreateOrderRequest(order=order_pb2.Order(lines=[line]), request_id=str(uuid.uuid4()))
    made = await insist(lambda: client.orders.CreateOrder(create, timeout=20))
    if made is None:
        return Placed(create.request_id)
    confirm = rpc.ConfirmOrderRequest(name=made.name, etag=made.etag, request_id=str(uuid.uuid4()))
    done = await insist(lambda: client.orders.ConfirmOrder(confirm, timeout=20))
    confirmed = done is not None and done.state in {order_pb2.Order.CONFIRMED, order_pb2.Order.ACCEPTED}
    total = (done or made).total
    return Placed(create.request_id, made.name, total.units + Decimal(total.nanos) / 10**9, confirmed)


async def _ask(client: TriaClient, text: str, history: History) -> None:
    """Asks and takes down all that was seen, also of a stream that broke: it was refused, or nobody answered for
    long."""
    seen = _Seen()
    try:
        await _follow(client, text, seen)
    except TriaError:
        seen.broken = True
    if seen.numbers or not seen.broken:
        history.streams.append(
            Followed(seen.run, seen.numbers, seen.ends, hash_of(seen.words), seen.told, broken=seen.broken)
        )


@dataclass(slots=True)
class _Seen:
    """A stream so far."""

    run: str = ""
    numbers: list[int] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    words: str = ""
    told: str = ""
    broken: bool = False


async def _follow(client: TriaClient, text: str, seen: _Seen) -> None:
    made = await insist(lambda: client.conversations.CreateConversation(chat_service_pb2.CreateConversationRequest()))
    async for event in client.send(made.name if made else "", text, timeout=PATIENCE):
        kind = event.WhichOneof("event") or ""
        seen.run = event.run or seen.run
        if kind == "snapshot":  # the log is gone: the text so far, and the numbers up to here
            seen.words, seen.numbers = event.snapshot.text, list(range(1, event.snapshot.last_seq))
        if event.seq:
            seen.numbers.append(event.seq)
        seen.words += event.text_delta.text
        seen.told = event.text_done.sha256 or seen.told
        if kind in {"completed", "cancelled", "interrupted", "failed"}:
            seen.ends.append(kind)


async def stored(dsn: str, sandbox: str) -> Stored:
    """What the stores and the books hold."""
    connection = await asyncpg.connect(dsn)
    try:
        orders = await connection.fetch(
            "select id, state from customer_order where tenant = $1 and outlet like $2", demo.TENANT, f"{PREFIX}%"
        )
        invoices = await connection.fetch("select number, order_id from invoice where tenant = $1", demo.TENANT)
        trail = await connection.fetch("select seq, leaf from audit_event where tenant = $1 order by seq", demo.TENANT)
        tree = await connection.fetchrow("select size, root from audit_tree where tenant = $1", demo.TENANT)
    finally:
        await connection.close()
    async with httpx.AsyncClient(base_url=sandbox, timeout=30) as client:
        booked: list[dict[str, Any]] = (await client.get("/sandbox/state")).json()["invoices"]
    return Stored(
        {f"orders/{row['id']}": row["state"] for row in orders},
        [(row["number"], f"orders/{row['order_id']}") for row in invoices],
        booked,
        [row["seq"] for row in trail],
        [row["leaf"] for row in trail],
        tree["size"] if tree else 0,
        tree["root"] if tree else b"",
    )


async def waiting(dsn: str) -> int:
    """How much is still on its way: audit leaves without a place, invoices that are not in the books."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        found: int = await connection.fetchval(
            "select (select count(*) from audit_pending) + (select count(*) from invoice "
            "where state in ('QUEUED', 'WAITING_BUDGET', 'SENDING', 'OUTCOME_UNKNOWN'))"
        )
    finally:
        await connection.close()
    return found


def spooled(state_dir: Path) -> int:
    """Bytes of audit leaves that wait on disk."""
    return sum(path.stat().st_size for path in state_dir.glob("*-spool/*.leaves"))
