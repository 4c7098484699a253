"""The books for tests: real calls of xero-python to the sandbox, over real PostgreSQL and Valkey."""

from __future__ import annotations

import base64
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

import httpx
import redis.asyncio

from server.accounting.books import Books, Posting
from server.accounting.budget import Budget
from server.accounting.connecting import connect_by_credentials
from server.accounting.connection import Connections
from server.accounting.identity import Identity
from server.accounting.wiring import books_access, open_books
from server.audit.changes import operator
from server.breaker import CircuitBreaker
from server.config import Config, load
from server.db.pool import Database
from server.embedded.xero_sandbox.faults import FaultIn, FaultKind
from server.embedded.xero_sandbox.sandbox import Sandbox
from server.embedded.xero_sandbox.settings import TENANT_ID
from server.order.invoicing import InvoiceLine
from tests.support.xero import CLIENT

TENANT = "demo"


def xero_variables(sandbox_url: str, **changes: str) -> dict[str, str]:
    """Configuration of a process that posts to this sandbox."""
    return {
        "TRIA_ENVIRONMENT": "development",
        "TRIA_CHROMA_URL": "http://127.0.0.1:1",
        "TRIA_JWKS": "none",
        "TRIA_JWT_ISSUER": "none",
        "TRIA_JWT_AUDIENCE": "none",
        "TRIA_STATE_SECRET": "s" * 40,
        "TRIA_MASTER_KEYS": "test=" + base64.b64encode(b"k" * 32).decode(),
        "TRIA_AUDIT_KEY": "test=" + base64.b64encode(b"a" * 32).decode(),
        "TRIA_AUDIT_CHECKPOINT_FILE": "checkpoints.jsonl",
        "TRIA_ASSISTANT": "offline",
        "TRIA_AUDIT_FILE": "audit.log",
        "TAX_RATE": "2024-01-01=0.09",
        "XERO_SALES_ACCOUNT_CODE": "200",
        "TRIA_ACCOUNTING": "xero",
        "XERO_GRANT": "client_credentials",
        "XERO_CLIENT_ID": CLIENT[0],
        "XERO_CLIENT_SECRET": CLIENT[1],
        "XERO_API_URL": sandbox_url,
        "XERO_IDENTITY_URL": sandbox_url,
        "XERO_LOGIN_URL": f"{sandbox_url}/identity",
        **changes,
    }


def xero_config(sandbox_url: str, dsn: str, redis_url: str, **changes: str) -> Config:
    stores = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url}
    return load(xero_variables(sandbox_url, **stores, **changes), version="test")


@dataclass(frozen=True, slots=True)
class BooksDesk:
    """Everything between a posting and the sandbox."""

    sandbox: Sandbox
    config: Config
    database: Database
    connections: Connections
    identity: Identity
    budget: Budget
    books: Books
    people: Books
    breaker: CircuitBreaker

    def invoices(self) -> list[dict[str, Any]]:
        """What the sandbox has booked."""
        found: list[dict[str, Any]] = self.sandbox.state()["invoices"]
        return found

    def calls(self, name: str) -> int:
        return int(self.sandbox.state()["calls"].get(name, 0))


@asynccontextmanager
async def books_desk(
    sandbox: Sandbox,
    database: Database,
    dsn: str,
    redis_url: str,
    changes: Mapping[str, str] | None = None,
    *,
    connected: bool = True,
) -> AsyncIterator[BooksDesk]:
    """`changes` are further variables of the configuration."""
    config = xero_config(sandbox.url, dsn, redis_url, **(changes or {}))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(redis.asyncio.Redis.from_url(redis_url, socket_timeout=1.0))
        access = await stack.enter_async_context(books_access(config, database, client))
        opened = await stack.enter_async_context(open_books(config, access))
        assert opened is not None
        if connected:
            await connect_by_credentials(access.connections, access.identity, operator(TENANT), TENANT_ID)
        yield BooksDesk(
            sandbox,
            config,
            database,
            access.connections,
            access.identity,
            access.budget,
            opened.jobs,
            opened.people,
            opened.breakers.of(TENANT),
        )


BOXES = InvoiceLine(
    sku="PB-12",
    description="Pizza box 12 inch",
    quantity=Decimal(100),
    unit_price=Decimal("0.65"),
    tax_code="SR",
    tax_rate=Decimal("0.09"),
    line_total=Decimal("65.00"),
    line_tax=Decimal("5.85"),
)


def posting(number: str = "", **changes: object) -> Posting:
    """An invoice over 100 boxes: 65.00 and 5.85 of tax."""
    plain = Posting(
        number=number or f"T-{uuid.uuid4().hex[:12]}",
        reference="orders/1",
        contact_number="pizza-pronto-bugis",
        contact_name="Pizza Pronto Bugis",
        issued_on=date(2026, 3, 2),
        due_on=date(2026, 4, 1),
        currency="SGD",
        lines=(BOXES,),
        url="https://desk.example/orders/1",
        authorise=True,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # fields of Posting


async def consent(url: str) -> str:
    """Where a person who agrees is sent."""
    async with httpx.AsyncClient() as browser:
        answer = await browser.get(url)
    return str(answer.headers["Location"])


def fault(sandbox: Sandbox, kind: FaultKind, **options: Any) -> None:
    """What the next call that fits meets; `options` are fields of FaultIn."""
    sandbox.faults.add(FaultIn(kind=kind, **options))
