"""The order service in this process: real stores, the whole chain, a small catalogue, and callers with tokens."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest_asyncio
import redis.asyncio
from grpc_health.v1 import health as grpc_health
from prometheus_client import CollectorRegistry

from server import grpc_servers
from server.accounting.invoices import Invoices
from server.audit.actor import pseudonyms_from
from server.audit.changes import Author, operator
from server.audit.recorder import AuditRecorder
from server.audit.spool import Spool
from server.caller import Role
from server.chat.proposal_handler import ProposalHandler
from server.config import load
from server.db.pool import Connection, Database, PoolSettings
from server.embedded.issuer import Claims, Issuer
from server.foundations import open_chain
from server.order.catalogue import Catalogue
from server.order.catalogue_csv import Row
from server.order.handler import OrderHandler
from server.order.invoicing import Invoicing
from server.order.money import Money
from server.order.product import CatalogueProduct
from server.order.terms import MoneyRules
from server.order.wiring import OrderDesk, order_desk
from server.paging import PageTokens
from server.served import SERVICES
from server.settings import Secret, parse_tax_rates
from server.stream_life import StreamLimits
from tests.support.app import configuration
from tests.support.ledger import CREATE, Ledger
from tests.support.vaults import a_vault
from tria.chat.v1 import chat_service_pb2_grpc
from tria.order.v1 import order_pb2, order_service_pb2_grpc
from tria.order.v1 import order_service_pb2 as rpc

TENANT = "lumen"
OUTLET = "pizza"
SETTINGS = {
    "ordering": {
        "minimum_order": "20",
        "delivery_fee": "12",
        "free_delivery_from": "150",
        "zones": {"Sentosa": {"surcharge": "18"}},
        "hold": {"usual_percent": "200", "first_order_above": "1000", "any_above": "5000"},
    }
}
PRODUCTS = (
    ("PB-12", "Pizza box 12 inch", "piece", "0.58", "100", "100000"),
    ("PB-10", "Pizza box 10 inch", "piece", "0.47", "100", "100000"),
    ("NP", "Lunch napkin", "pack", "3.10", "5", "100000"),
    ("FEW", "Rare tray", "sleeve", "13.90", "1", "10"),
    ("CT", "Cutlery set", "carton", "38.50", "1", None),
)


@dataclass(slots=True)
class Clock:
    """The real time, moved by `ahead`."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class _Proposals(ProposalHandler, chat_service_pb2_grpc.ChatServiceServicer):
    """ChatService with the RPCs of proposals only."""


@dataclass(frozen=True, slots=True)
class Shop:
    """A running order service and what a test needs to call it. Every call is somebody new's unless `who` is given,
    because limits count per person."""

    desk: OrderDesk
    database: Database
    author: Author
    stub: order_service_pb2_grpc.OrderServiceAsyncStub
    chat: chat_service_pb2_grpc.ChatServiceAsyncStub
    issuer: Issuer
    clock: Clock
    dsn: str
    folder: Path = field(repr=False, default=Path())

    def who(
        self, role: Role = Role.CUSTOMER, *, outlet: str = OUTLET, tenant: str = TENANT, subject: str = ""
    ) -> tuple[tuple[str, str], ...]:
        """Metadata of a call by such a caller."""
        claims = Claims(
            role,
            tenant,
            subject or f"someone-{uuid.uuid4().hex[:8]}",
            outlet if role is Role.CUSTOMER else "",
            timedelta(hours=1),
        )
        return (("authorization", f"Bearer {self.issuer.mint(claims)}"),)

    async def create(self, *lines: tuple[str, str], outlet: str = OUTLET, **fields: Any) -> order_pb2.Order:
        """A draft of the outlet's own."""
        order = order_pb2.Order(lines=[line(*each) for each in lines or (("PB-12", "200"),)], **fields)
        request = rpc.CreateOrderRequest(order=order, request_id=new_key())
        return await self.stub.CreateOrder(request, metadata=self.who(outlet=outlet))

    async def confirm(self, order: order_pb2.Order, outlet: str = OUTLET) -> order_pb2.Order:
        """The order, confirmed as it was seen."""
        request = rpc.ConfirmOrderRequest(name=order.name, etag=order.etag, request_id=new_key())
        return await self.stub.ConfirmOrder(request, metadata=self.who(outlet=outlet))

    async def placed(self, *lines: tuple[str, str], outlet: str = OUTLET) -> order_pb2.Order:
        """A confirmed order."""
        return await self.confirm(await self.create(*lines, outlet=outlet), outlet)

    async def stock(self, sku: str) -> int:
        """What is left of a product that is counted."""
        return int(await self.value("select stock from product where tenant = $1 and sku = $2", TENANT, sku))

    async def ledger(self, name: str) -> list[tuple[int, str, Decimal]]:
        """(revision, state, total) of an order's invoices; the lines of each add up to its total."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "select revision, state, total, line_sum from ledger where order_id = $1 order by revision", bare(name)
            )
        assert all(row["total"] == row["line_sum"] for row in rows)
        return [(row["revision"], row["state"], row["total"]) for row in rows]

    async def value(self, sql: str, *arguments: object) -> Any:
        async with self.database.connection() as connection:
            return await connection.fetchval(sql, *arguments)

    async def run(self, sql: str, *arguments: object) -> None:
        async with self.database.connection() as connection:
            await connection.execute(sql, *arguments)

    async def leaves(self, action: str) -> int:
        """How many CHANGE leaves of the action were written; those of the calls themselves do not count."""
        found: int = await self.value(
            "select count(*) from audit_pending where action = $1 and leaf::text is not null "
            "and convert_from(leaf, 'utf8')::jsonb ->> 'kind' = 'CHANGE'",
            action,
        )
        return found


def line(sku: str, quantity: str) -> order_pb2.OrderLine:
    return order_pb2.OrderLine(sku=sku, quantity=quantity)


def new_key() -> str:
    """A request_id."""
    return str(uuid.uuid4())


def bare(name: str) -> str:
    """The id in a resource's name."""
    return name.rpartition("/")[2]


def amount(money: Any) -> Decimal:
    return Decimal(money.units) + Decimal(money.nanos).scaleb(-9)


async def fill(database: Database) -> None:
    """Two tenants, their outlets, and a catalogue of the first."""
    async with database.transaction() as connection:
        for tenant in (TENANT, "other"):
            await connection.execute(
                "insert into tenant (id, name, settings) values ($1, $1, $2)", tenant, json.dumps(SETTINGS)
            )
        await _outlets(connection)
        await connection.execute(CREATE)
    rows = [
        Row(
            number,
            CatalogueProduct(
                sku,
                name,
                unit,
                100,
                Money("SGD", Decimal(price)),
                "SR",
                min_quantity=Decimal(minimum),
                stock=Decimal(stock) if stock else None,
            ),
        )
        for number, (sku, name, unit, price, minimum, stock) in enumerate(PRODUCTS, start=2)
    ]
    await Catalogue(database).import_rows(operator(TENANT), rows)


async def _outlets(connection: Connection) -> None:
    outlets = [
        (TENANT, OUTLET, "Pizza Pronto", "en", "", False),
        (TENANT, "wok", "金锅", "zh", "", False),
        (TENANT, "sentosa", "Kopi Sentosa", "ms", "Sentosa", False),
        (TENANT, "late-payer", "Island Canteen", "en", "", True),
        ("other", OUTLET, "Another", "en", "", False),
    ]
    await connection.executemany(
        "insert into outlet (tenant, id, name, language, zone, credit_hold) values ($1, $2, $3, $4, $5, $6)", outlets
    )


def desk_without_accounting(database: Database, dsn: str) -> OrderDesk:
    """The use cases of orders, nothing listening."""
    money = MoneyRules(parse_tax_rates("2024-01-01=0.09"), "SGD")
    return order_desk(
        database,
        a_vault(),
        Catalogue(database),
        dsn,
        Invoices(connected=False),
        money,
        PageTokens(Secret("x" * 32)),
        StreamLimits(15.0, 600.0),
    )


@asynccontextmanager
async def shop_server(
    folder: Path, dsn: str, redis_url: str, *, heartbeat: float = 15.0, max_age: float = 600.0,
    invoicing: Invoicing | None = None,
) -> AsyncIterator[Shop]:  # fmt: skip
    """An order service over a filled database."""
    issuer = Issuer(folder / "issuer")
    issuer.prepare()
    variables: Mapping[str, str] = configuration(
        folder, issuer, {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": "http://127.0.0.1:1"}
    )
    config = load(variables, version="test")
    name = uuid.uuid4().hex[:8]
    clock = Clock()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(dsn, PoolSettings(min_size=2, max_size=20)))
        client = redis.asyncio.Redis.from_url(redis_url, socket_timeout=1.0, protocol=3)
        stack.push_async_callback(client.aclose)
        recorder = await stack.enter_async_context(
            AuditRecorder(
                database, Spool(folder / f"spool-{name}"), None, pseudonyms=pseudonyms_from(config.auth.state_secret)
            )
        )
        tokens = PageTokens(config.auth.state_secret)
        money = MoneyRules(config.money.tax_rates, config.money.currency)
        limits = StreamLimits(heartbeat, max_age)
        desk = order_desk(
            database, a_vault(), Catalogue(database), dsn, invoicing or Ledger(), money, tokens, limits, clock
        )
        listening = asyncio.create_task(desk.bell.keep_listening())
        stack.callback(listening.cancel)
        chain = await stack.enter_async_context(
            open_chain(config.auth, database, client, recorder, CollectorRegistry())
        )
        handler = OrderHandler(Catalogue(database), tokens, recorder.shown, desk)
        chat = _Proposals(desk.proposals, recorder.shown)  # type: ignore[abstract]
        servers = grpc_servers.build(
            config.listen.grpc,
            config.listen.internal,
            chain,
            grpc_health.aio.HealthServicer(),
            [
                lambda server: order_service_pb2_grpc.add_OrderServiceServicer_to_server(handler, server),
                lambda server: chat_service_pb2_grpc.add_ChatServiceServicer_to_server(chat, server),
            ],
            SERVICES,
        )
        await servers.start()
        stack.push_async_callback(servers.stop, 0)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{servers.gateway_port}"))
        yield Shop(
            desk,
            database,
            operator(TENANT),
            order_service_pb2_grpc.OrderServiceStub(channel),
            chat_service_pb2_grpc.ChatServiceStub(channel),
            issuer,
            clock,
            dsn,
            folder,
        )


@pytest_asyncio.fixture
async def shop(dsn: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    """An order service on a database of this test's own."""
    async with Database(dsn, PoolSettings(min_size=1, max_size=2)) as database:
        await fill(database)
    async with shop_server(tmp_path, dsn, redis_url) as running:
        yield running
