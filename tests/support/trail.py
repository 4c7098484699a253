"""The audit service in this process: real stores, the whole chain, and the keeper that numbers and signs."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest_asyncio
import redis.asyncio
from grpc_health.v1 import health as grpc_health
from prometheus_client import CollectorRegistry

from server import grpc_servers
from server.audit import store
from server.audit.actions import Action, Decision, LeafKind
from server.audit.actor import pseudonyms_from
from server.audit.desk import AuditDesk, audit_desk
from server.audit.handler import AuditHandler
from server.audit.leaf import Actor, Leaf
from server.audit.recorder import AuditRecorder
from server.audit.spool import Spool
from server.audit.store import Entry
from server.audit.wiring import LogKeeper, log_keeper
from server.caller import Role
from server.config import Config, load
from server.db.pool import Database, PoolSettings
from server.embedded.issuer import Claims, Issuer
from server.foundations import open_chain
from server.paging import PageTokens
from server.people_wiring import open_vault, subjects
from server.served import SERVICES
from server.stream_life import StreamLimits
from tests.support.app import configuration
from tests.support.stores import eventually
from tria.audit.v1 import audit_service_pb2_grpc

TENANT = "acme"
KEY = "billing.0123456789abcdef0123456789abcdef"
_SECRET = KEY.partition(".")[2]

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Trail:
    """A running audit service and what a test needs to call it. Every call is somebody new's unless `subject` is given,
    because limits count per person."""

    desk: AuditDesk
    database: Database
    stub: audit_service_pb2_grpc.AuditServiceAsyncStub
    channel: grpc.aio.Channel
    issuer: Issuer
    config: Config
    keeper: LogKeeper
    dsn: str
    folder: Path
    port: int

    def who(self, role: Role = Role.AUDITOR, *, tenant: str = TENANT, subject: str = "") -> Metadata:
        """Metadata of a call by such a caller."""
        outlet = "pizza" if role is Role.CUSTOMER else ""
        subject = subject or f"someone-{uuid.uuid4().hex[:8]}"
        return (
            ("authorization", f"Bearer {self.issuer.mint(Claims(role, tenant, subject, outlet, timedelta(hours=1)))}"),
        )

    async def add(self, count: int, tenant: str = TENANT, **fields: Any) -> list[Leaf]:
        """Writes events, and waits until they have their places and a checkpoint over them."""
        leaves = [some_event(number, tenant, **fields) for number in range(count)]
        async with self.database.connection() as connection:
            await store.add(connection, [Entry.of(leaf) for leaf in leaves])
            await store.wake(connection)
        await self.signed(tenant)
        return leaves

    async def signed(self, tenant: str = TENANT) -> int:
        """Waits until nothing of the tenant waits and its newest checkpoint covers all; how many records that is."""

        async def settled() -> bool:
            waiting = "select count(*) from audit_pending where tenant = $1"
            return not await self.value(waiting, tenant) and await self.value(_UNSIGNED, tenant) == 0

        await eventually(settled)
        size: int = await self.value("select max(size) from audit_checkpoint where tenant = $1", tenant)
        return size

    async def with_service(self) -> None:
        """Two tenants, and the key of a service of the first."""
        await self.run("insert into tenant (id, name) values ('acme', 'Acme'), ('globex', 'Globex')")
        await self.run(
            "insert into api_key (key_id, tenant, subject, roles, secret_sha256) "
            "values ('billing', 'acme', 'service:billing', '{SERVICE}', $1)",
            hashlib.sha256(_SECRET.encode()).digest(),
        )

    async def value(self, sql: str, *arguments: object) -> Any:
        async with self.database.connection() as connection:
            return await connection.fetchval(sql, *arguments)

    async def run(self, sql: str, *arguments: object) -> None:
        async with self.database.connection() as connection:
            await connection.execute(sql, *arguments)


_UNSIGNED = """
    select size - coalesce((select max(size) from audit_checkpoint as signed where signed.tenant = tree.tenant), 0)
    from audit_tree as tree where tenant = $1
"""


def some_event(number: int, tenant: str = TENANT, **fields: Any) -> Leaf:
    """An invented event; fields of the leaf may be given."""
    known: dict[str, Any] = {
        "action": Action.ORDER_CREATE if number % 2 else Action.DATA_READ,
        "actor": Actor("STAFF", f"ada-{number % 3}", "JWT"),
        "decision": Decision.ALLOWED,
        "kind": LeafKind.CHANGE,
        "targets": (f"orders/{number}", "outlets/pizza"),
        "request_id": f"r-{number}",
        "details": {"n": number},
    }
    return Leaf(tenant=tenant, **(known | fields))


@asynccontextmanager
async def trail_server(
    folder: Path, dsn: str, redis_url: str, *, heartbeat: float = 15.0, max_age: float = 600.0,
    overrides: Mapping[str, str] | None = None,
) -> AsyncIterator[Trail]:  # fmt: skip
    """An audit service over a migrated database."""
    issuer = Issuer(folder / "issuer")
    issuer.prepare()
    urls = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": "http://127.0.0.1:1"}
    quick = {"TRIA_AUDIT_CHECKPOINT_INTERVAL": "0.1"}
    config = load({**configuration(folder, issuer, urls), **quick, **(overrides or {})}, version="test")
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(dsn, PoolSettings(min_size=2, max_size=10)))
        client = redis.asyncio.Redis.from_url(redis_url, socket_timeout=1.0, protocol=3)
        stack.push_async_callback(client.aclose)
        recorder = await stack.enter_async_context(
            AuditRecorder(database, Spool(folder / "spool"), None, pseudonyms=pseudonyms_from(config.auth.state_secret))
        )
        keeper = await stack.enter_async_context(
            log_keeper(config.audit, dsn, database, CollectorRegistry(), asyncio.Event())
        )
        keys = (config.audit.key.public, *config.audit.old_keys)
        desk = audit_desk(database, dsn, keys, PageTokens(config.auth.state_secret), StreamLimits(heartbeat, max_age))
        listening = asyncio.create_task(desk.bell.keep_listening())
        stack.callback(listening.cancel)
        chain = await stack.enter_async_context(
            open_chain(config.auth, database, client, recorder, CollectorRegistry())
        )
        handler = AuditHandler(desk, subjects(database, open_vault(config.auth), config.audit.key), recorder.shown)
        servers = grpc_servers.build(
            config.listen.grpc,
            config.listen.internal,
            chain,
            grpc_health.aio.HealthServicer(),
            [lambda server: audit_service_pb2_grpc.add_AuditServiceServicer_to_server(handler, server)],
            SERVICES,
        )
        await servers.start()
        stack.push_async_callback(servers.stop, 0)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{servers.gateway_port}"))
        stub = audit_service_pb2_grpc.AuditServiceStub(channel)
        yield Trail(desk, database, stub, channel, issuer, config, keeper, dsn, folder, servers.gateway_port)


@pytest_asyncio.fixture
async def trail(dsn: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Trail]:
    """An audit service on a database of this test's own, with the API key of a service in it."""
    async with trail_server(tmp_path, dsn, redis_url) as running:
        await running.with_service()
        yield running
