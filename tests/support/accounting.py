"""The whole way of an invoice in one process: the real server, its worker's jobs, and a Xero sandbox over HTTP."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask

from server.accounting.connecting import connect_by_credentials
from server.accounting.following import Following
from server.accounting.invoice_changes import InvoiceChanges
from server.accounting.invoice_wiring import entrypoints, invoices
from server.accounting.sending import Sending
from server.accounting.steps import Patience
from server.accounting.wiring import BooksAccess, OpenBooks, books_access, open_books
from server.audit.changes import operator
from server.caller import Role
from server.config import Config, load
from server.db.pool import Database, PoolSettings
from server.embedded.issuer import Issuer
from server.embedded.xero_sandbox.sandbox import Sandbox
from server.embedded.xero_sandbox.settings import Limits
from server.jobs import JobRuntime, JobSettings, Postpone
from server.order.feed import invoices_changed
from server.redis_client import open_redis
from tests.support import orders
from tests.support.app import Desk, configuration, running_desk
from tests.support.orders import OUTLET, TENANT, bare, line, new_key
from tests.support.stores import eventually
from tests.support.xero import CLIENT, xero_sandbox
from tria.accounting.v1 import accounting_service_pb2_grpc
from tria.order.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc

QUICK = JobSettings(heartbeat=2.0, poll=0.2, grace=2.0)
IMPATIENT = Patience(lease=2.0, key_life=3.0, apart=0.5, first_delay=0.05, max_delay=0.4)
WIDE = Limits(minute=100_000, day=1_000_000, concurrent=5, app_minute=1_000_000)
WEBHOOK_KEY = "sandbox-webhook-key"

_S = order_pb2.Invoice.State


def xero_variables(sandbox_url: str) -> dict[str, str]:
    """Configuration of a server or worker whose books are a sandbox."""
    return {
        "TRIA_ACCOUNTING": "xero",
        "XERO_GRANT": "client_credentials",
        "XERO_CLIENT_ID": CLIENT[0],
        "XERO_CLIENT_SECRET": CLIENT[1],
        "XERO_API_URL": sandbox_url,
        "XERO_IDENTITY_URL": sandbox_url,
        "XERO_LOGIN_URL": f"{sandbox_url}/identity",
        "XERO_WEBHOOK_KEY": WEBHOOK_KEY,
        "XERO_MINUTE_LIMIT": "10000",
        "XERO_DAY_LIMIT": "1000000",
        "TRIA_PUBLIC_URL": "https://desk.example",
    }


@dataclass(slots=True)
class Accounts:
    """A server, a worker and a sandbox. Calls are by staff of the tenant, each somebody new."""

    desk: Desk
    sandbox: Sandbox
    database: Database
    config: Config
    access: BooksAccess
    books: OpenBooks
    changes: InvoiceChanges

    @property
    def orders(self) -> order_service_pb2_grpc.OrderServiceAsyncStub:
        return order_service_pb2_grpc.OrderServiceStub(self.desk.channel)

    @property
    def accounting(self) -> accounting_service_pb2_grpc.AccountingServiceAsyncStub:
        return accounting_service_pb2_grpc.AccountingServiceStub(self.desk.channel)

    @property
    def following(self) -> Following:
        return Following(self.changes, self.books.jobs)

    def who(
        self, role: Role = Role.STAFF, *, tenant: str = TENANT, outlet: str = OUTLET
    ) -> tuple[tuple[str, str], ...]:
        return self.desk.metadata(role, tenant=tenant, outlet=outlet, subject=f"someone-{uuid.uuid4().hex[:8]}")

    async def placed(self, *lines: tuple[str, str], outlet: str = OUTLET) -> order_pb2.Order:
        """A confirmed order."""
        who = self.who(Role.CUSTOMER, outlet=outlet)
        draft = order_pb2.Order(lines=[line(*each) for each in lines or (("PB-12", "200"),)])
        made = await self.orders.CreateOrder(
            order_service_pb2.CreateOrderRequest(order=draft, request_id=new_key()), metadata=who
        )
        asked = order_service_pb2.ConfirmOrderRequest(name=made.name, etag=made.etag, request_id=new_key())
        confirmed: order_pb2.Order = await self.orders.ConfirmOrder(asked, metadata=who)
        return confirmed

    async def many(self, count: int) -> list[order_pb2.Order]:
        """Confirmed orders of as many outlets, each over another total."""
        outlets = [f"outlet-{number:03d}" for number in range(count)]
        async with self.database.connection() as connection:
            await connection.executemany(
                "insert into outlet (tenant, id, name) values ($1, $2, $2) on conflict do nothing",
                [(TENANT, outlet) for outlet in outlets],
            )
        return [await self.placed(("PB-12", str(100 + number)), outlet=outlet) for number, outlet in enumerate(outlets)]

    async def order(self, name: str) -> order_pb2.Order:
        found: order_pb2.Order = await self.orders.GetOrder(
            order_service_pb2.GetOrderRequest(name=name), metadata=self.who()
        )
        return found

    async def until(self, name: str, *states: str, within: float = 20.0) -> order_pb2.Order:
        """The order, once its invoice stands in one of the states."""
        wanted = {_S.Value(state) for state in states}
        seen = order_pb2.Order()

        async def so() -> bool:
            nonlocal seen
            seen = await self.order(name)
            return seen.invoice.state in wanted

        await eventually(so, within=within)
        return seen

    def booked(self, order: order_pb2.Order | str = "", *, alive: bool = True) -> list[dict[str, Any]]:
        """The sandbox's invoices of the order ('': all); `alive`: without those that are voided or deleted."""
        number = order.number if isinstance(order, order_pb2.Order) else order
        found: list[dict[str, Any]] = self.sandbox.state()["invoices"]
        gone = {"VOIDED", "DELETED"} if alive else set()
        return [each for each in found if each["status"] not in gone and number in {"", each["reference"]}]

    async def rows(self, name: str) -> list[Mapping[str, Any]]:
        """The rows of an order's invoices, oldest first."""
        async with self.database.connection() as connection:
            found = await connection.fetch("select * from invoice where order_id = $1 order by revision", bare(name))
        return [dict(row) for row in found]

    async def value(self, sql: str, *arguments: object) -> Any:
        async with self.database.connection() as connection:
            return await connection.fetchval(sql, *arguments)

    async def leaves(self, action: str) -> list[Mapping[str, Any]]:
        """The details of the CHANGE leaves of an action, oldest first."""
        sql = (
            "select convert_from(leaf, 'utf8')::jsonb -> 'details' as details from audit_pending "
            "where action = $1 and convert_from(leaf, 'utf8')::jsonb ->> 'kind' = 'CHANGE' order by id"
        )
        async with self.database.connection() as connection:
            return [json.loads(row["details"]) for row in await connection.fetch(sql, action)]

    async def connect(self, tenant: str = TENANT) -> None:
        await connect_by_credentials(self.access.connections, self.access.identity, operator(tenant), "")

    async def post(self, order: order_pb2.Order, changes: InvoiceChanges | None = None) -> None:
        """The job of the order's invoice, once, as a worker would run it; nobody else works meanwhile."""
        payload = json.dumps({"tenant": TENANT, "order": bare(order.name), "revision": order.revision})
        with suppress(Postpone):
            await Sending(changes or self.changes, self.books.jobs, self.books.people).post(payload.encode())

    @asynccontextmanager
    async def working(self) -> AsyncIterator[JobRuntime]:
        """A worker in this process."""
        runtime = JobRuntime(
            self.desk.dsn, entrypoints(self.changes, self.books.jobs, self.books.people), settings=QUICK
        )
        task = asyncio.create_task(runtime.run())
        try:
            yield runtime
        finally:
            runtime.request_stop()
            await asyncio.wait_for(task, 30)


@asynccontextmanager
async def accounts_server(
    folder: Path,
    dsn: str,
    redis_url: str,
    *,
    variables: Mapping[str, str] | None = None,
    patience: Patience = IMPATIENT,
    **settings: Any,
) -> AsyncIterator[Accounts]:
    """Over a filled database; `settings` are the sandbox's."""
    issuer = Issuer(folder / "issuer")
    issuer.prepare()
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(xero_sandbox(**{"limits": WIDE, **settings}))
        overrides = {**xero_variables(sandbox.url), **(variables or {})}
        chroma = "http://127.0.0.1:1"
        urls = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": chroma}
        config = load({**configuration(folder, issuer, urls), **overrides}, version="test")
        desk = await stack.enter_async_context(running_desk(folder, dsn, redis_url, chroma, overrides))
        database = await stack.enter_async_context(Database(dsn, PoolSettings(min_size=2, max_size=10)))
        client = open_redis(config.store.redis_url.reveal(), cluster=config.store.redis_cluster, timeout=1.0)
        stack.push_async_callback(client.aclose)
        access = await stack.enter_async_context(books_access(config, database, client))
        opened = await stack.enter_async_context(open_books(config, access))
        assert opened is not None
        announce = partial(invoices_changed, invoicing=invoices(config.accounting))
        yield Accounts(desk, sandbox, database, config, access, opened, InvoiceChanges(database, announce, patience))


@pytest_asyncio.fixture
async def accounts(dsn: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Accounts]:
    """A server that is connected to a sandbox; nobody works yet."""
    async with Database(dsn, PoolSettings(min_size=1, max_size=2)) as database:
        await orders.fill(database)
    async with accounts_server(tmp_path, dsn, redis_url) as running:
        await running.connect()
        yield running


def total(order: order_pb2.Order) -> Decimal:
    """What the customer confirmed."""
    return orders.amount(order.total)


async def cancel(accounts: Accounts, name: str) -> order_pb2.Order:
    request = order_service_pb2.CancelOrderRequest(name=name, request_id=new_key())
    cancelled: order_pb2.Order = await accounts.orders.CancelOrder(request, metadata=accounts.who())
    return cancelled


async def change(accounts: Accounts, name: str, quantity: str) -> order_pb2.Order:
    order = order_pb2.Order(name=name, lines=[line("PB-12", quantity)])
    request = order_service_pb2.UpdateOrderRequest(
        order=order, update_mask=FieldMask(paths=["lines"]), request_id=new_key()
    )
    changed: order_pb2.Order = await accounts.orders.UpdateOrder(request, metadata=accounts.who())
    return changed
