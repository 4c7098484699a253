"""The real server in this process: real stores, the whole chain, demo data, and callers with tokens."""

from __future__ import annotations

import base64
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from server.app import Application, application
from server.audit.changes import operator
from server.caller import Role
from server.config import load
from server.db.pool import Database
from server.embedded import demo
from server.embedded.issuer import AUDIENCE, ISSUER, Claims, Issuer
from server.knowledge.wiring import knowledge
from server.order.catalogue import Catalogue
from server.order.catalogue_csv import read_catalogue
from tests.support.scaled import scaled
from tests.support.stores import _TEMPLATE, _own_database
from tria.chat.v1 import chat_event_pb2, chat_pb2, chat_service_pb2, chat_service_pb2_grpc

OUTLET = "pizza-pronto-bugis"


@dataclass(frozen=True, slots=True)
class Desk:
    """A running server and what a test needs to call it."""

    application: Application
    channel: grpc.aio.Channel
    issuer: Issuer
    dsn: str
    subject: str = field(default_factory=lambda: f"someone-{uuid.uuid4().hex[:8]}")

    @property
    def chat(self) -> chat_service_pb2_grpc.ChatServiceAsyncStub:
        return chat_service_pb2_grpc.ChatServiceStub(self.channel)

    def token(
        self, role: Role = Role.CUSTOMER, *, tenant: str = demo.TENANT, outlet: str = OUTLET, subject: str = ""
    ) -> str:
        claims = Claims(
            role, tenant, subject or self.subject, outlet if role is Role.CUSTOMER else "", timedelta(hours=1)
        )
        return self.issuer.mint(claims)

    def metadata(
        self, role: Role = Role.CUSTOMER, *, tenant: str = demo.TENANT, outlet: str = OUTLET, subject: str = ""
    ) -> tuple[tuple[str, str], ...]:
        """Metadata of a call by such a caller."""
        return (("authorization", f"Bearer {self.token(role, tenant=tenant, outlet=outlet, subject=subject)}"),)

    async def conversation(self) -> str:
        """The name of a new conversation of the default outlet, made by somebody new: limits count per person."""
        made: chat_pb2.Conversation = await self.chat.CreateConversation(
            chat_service_pb2.CreateConversationRequest(),
            metadata=self.metadata(subject=f"someone-{uuid.uuid4().hex[:8]}"),
        )
        return made.name

    async def say(self, text: str, conversation: str = "") -> list[chat_event_pb2.ChatEvent]:
        """Every event of the answer to one message, sent by somebody new: limits count per person."""
        request = chat_service_pb2.SendMessageRequest(conversation=conversation or await self.conversation(), text=text)
        metadata = self.metadata(subject=f"someone-{uuid.uuid4().hex[:8]}")
        return [event async for event in self.chat.SendMessage(request, metadata=metadata)]


def configuration(folder: Path, issuer: Issuer, urls: Mapping[str, str]) -> dict[str, str]:
    """Variables of a server on free ports over the given stores."""
    return {
        "TRIA_ENVIRONMENT": "development",
        **scaled(urls),
        "TRIA_GRPC_LISTEN": "127.0.0.1:0",
        "TRIA_INTERNAL_LISTEN": "127.0.0.1:0",
        "TRIA_METRICS_LISTEN": "127.0.0.1:0",
        "TRIA_WORKER_METRICS_LISTEN": "127.0.0.1:0",
        "TRIA_POOL_MIN": "2",
        "TRIA_JWKS": str(issuer.jwks_path),
        "TRIA_JWT_ISSUER": ISSUER,
        "TRIA_JWT_AUDIENCE": AUDIENCE,
        "TRIA_STATE_SECRET": "s" * 40,
        "TRIA_MASTER_KEYS": "test=" + base64.b64encode(b"k" * 32).decode(),
        "TRIA_ASSISTANT": "offline",
        "TRIA_ACCOUNTING": "none",
        "TRIA_AUDIT_FILE": str(folder / "audit.log"),
        "TRIA_AUDIT_KEY": "test=" + base64.b64encode(b"a" * 32).decode(),
        "TRIA_AUDIT_CHECKPOINT_INTERVAL": "0.5",
        "TRIA_AUDIT_CHECKPOINT_FILE": str(folder / "checkpoints.jsonl"),
        "TAX_RATE": "2024-01-01=0.09",
        "XERO_SALES_ACCOUNT_CODE": "200",
    }


async def fill(variables: Mapping[str, str]) -> None:
    """Demo data, found by words and by meaning."""
    config = load(variables, version="test")
    async with Database(config.store.direct.reveal()) as database, knowledge(config, database) as known:
        await demo.seed_tenant(database)
        rows, _ = read_catalogue((demo.DATA / "products.csv").read_bytes())
        await Catalogue(database).import_rows(operator(demo.TENANT), rows)
        await demo.seed_usual(database)
        for path in demo.documents():
            await known.service.import_document(operator(demo.TENANT), path.name, path.read_bytes())
        async with database.connection() as connection:
            jobs = await connection.fetch("select payload from pgqueuer where entrypoint = 'index_document'")
        for job in jobs:
            await known.service.index_document(job["payload"])


@asynccontextmanager
async def running_desk(
    folder: Path, dsn: str, redis_url: str, chroma_url: str, overrides: Mapping[str, str] | None = None
) -> AsyncIterator[Desk]:
    """A server over these stores; `overrides` are further variables."""
    issuer = Issuer(folder / "issuer")
    issuer.prepare()
    urls = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": chroma_url}
    variables = {**configuration(folder, issuer, urls), **(overrides or {})}
    config = load(variables, version="test")
    async with application(config, 0) as app:
        target = f"127.0.0.1:{app.servers.gateway_port}"
        async with grpc.aio.insecure_channel(target) as channel:
            yield Desk(app, channel, issuer, dsn)


@pytest_asyncio.fixture(scope="session")
async def filled_dsn(
    postgres: str, valkey: str, chroma_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """DSN of one database with the demo data, for the session."""
    folder: Path = tmp_path_factory.mktemp("fill")
    issuer = Issuer(folder / "issuer")
    issuer.prepare()
    async with _own_database(postgres, _TEMPLATE) as dsn:
        urls = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": valkey, "TRIA_CHROMA_URL": chroma_url}
        await fill(configuration(folder, issuer, urls))
        yield dsn


@pytest_asyncio.fixture(scope="session")
async def desk(
    filled_dsn: str, valkey: str, chroma_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Desk]:
    """The server with the demo data, for the session; tests make conversations of their own."""
    async with running_desk(tmp_path_factory.mktemp("desk"), filled_dsn, valkey, chroma_url) as running:
        yield running
