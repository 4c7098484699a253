"""A running server with its worker, and one person who has left something in every place that takes it."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest_asyncio

from server import worker
from server.app import Application, application
from server.audit.changes import operator
from server.audit.verifying import ExportVerifier, Proven
from server.caller import Role
from server.config import Config, load
from server.db.pool import Database, PoolSettings
from server.embedded import demo
from server.embedded.issuer import Claims, Issuer
from server.order.catalogue import Catalogue
from server.order.catalogue_csv import read_catalogue
from server.order.pricing import Provenance, Wanted
from server.order.proposal import Asked, Kind
from tests.support.app import OUTLET, configuration
from tests.support.vaults import a_vault
from tria.audit.v1 import audit_pb2, audit_service_pb2, audit_service_pb2_grpc
from tria.chat.v1 import chat_service_pb2, chat_service_pb2_grpc
from tria.order.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc

TENANT = demo.TENANT
SKU = "PB-12-K"
_HOUR = timedelta(hours=1)
_FIELDS = (
    *("sub", "title", "text", "session text", "session", "user", "note", "changed", "reason", "said", "proposed"),
    *("question", "hand-off", "comment"),
)
_LETTERS = str.maketrans("0123456789", "ghijklmnop")


@dataclass(frozen=True, slots=True)
class Office:
    """Server and worker on a database of their own."""

    application: Application
    config: Config
    channel: grpc.aio.Channel
    issuer: Issuer
    database: Database
    dsn: str
    folder: Path
    variables: Mapping[str, str]

    @property
    def audit(self) -> audit_service_pb2_grpc.AuditServiceAsyncStub:
        return audit_service_pb2_grpc.AuditServiceStub(self.channel)

    @property
    def chat(self) -> chat_service_pb2_grpc.ChatServiceAsyncStub:
        return chat_service_pb2_grpc.ChatServiceStub(self.channel)

    @property
    def orders(self) -> order_service_pb2_grpc.OrderServiceAsyncStub:
        return order_service_pb2_grpc.OrderServiceStub(self.channel)

    def who(self, role: Role, subject: str, tenant: str = TENANT) -> tuple[tuple[str, str], ...]:
        """Metadata of a call by such a caller."""
        claims = Claims(role, tenant, subject, OUTLET if role is Role.CUSTOMER else "", _HOUR)
        return (("authorization", f"Bearer {self.issuer.mint(claims)}"),)

    async def erase(self, subject: str, request_id: str = "", **who: Any) -> audit_pb2.ErasureReceipt:
        request = audit_service_pb2.EraseSubjectRequest(
            subject=subject, request_id=request_id or new_key(), reason=f"asked for by {subject}"
        )
        receipt: audit_pb2.ErasureReceipt = await self.audit.EraseSubject(
            request, metadata=self.who(Role.ADMIN, "root", **who)
        )
        return receipt

    async def export(self, subject: str, request_id: str = "", **who: Any) -> audit_pb2.SubjectExport:
        request = audit_service_pb2.ExportSubjectRequest(subject=subject, request_id=request_id or new_key())
        export: audit_pb2.SubjectExport = await self.audit.ExportSubject(
            request, metadata=self.who(Role.ADMIN, "root", **who)
        )
        return export

    async def value(self, sql: str, *arguments: object) -> Any:
        async with self.database.connection() as connection:
            return await connection.fetchval(sql, *arguments)

    async def verified(self) -> Proven:
        """The whole log of the tenant, exported and proven. Raises Rejected."""
        verifier = ExportVerifier(keys=(self.config.audit.key.public,))
        request = audit_service_pb2.ExportEventsRequest(format=audit_service_pb2.ExportEventsRequest.NDJSON)
        content = b""
        async for body in self.audit.ExportEvents(request, metadata=self.who(Role.AUDITOR, "auditor")):
            content += body.data
        for line in content.splitlines(keepends=True):
            verifier.feed(line)
        return verifier.finish()


@dataclass(slots=True)
class Person:
    """Somebody with a word of their own for every field; none of the words is part of another."""

    office: Office
    mark: str = field(default_factory=lambda: uuid.uuid4().hex[:10])
    conversation: str = ""
    order: str = ""
    request_ids: dict[str, str] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        return f"{self.word('sub')}@example.com"

    @property
    def reference(self) -> str:
        return a_vault().people.reference(TENANT, self.subject)

    def word(self, field: str) -> str:
        """Letters only, so that no scanner of personal data takes it out of anything."""
        return "zq" + hashlib.sha256(f"{self.mark} {field}".encode()).hexdigest()[:16].translate(_LETTERS)

    def words(self) -> list[str]:
        """All that were left behind."""
        return [self.word(name) for name in _FIELDS]

    def who(self) -> tuple[tuple[str, str], ...]:
        return self.office.who(Role.CUSTOMER, self.subject)

    async def live(self) -> None:
        """Leaves them: conversations, messages, orders with notes, a proposal confirmed, a request replayed."""
        await self._talk()
        await self._order()
        await self._confirm_proposal()

    async def say(self, text: str, conversation: str = "") -> str:
        """The answer."""
        request = chat_service_pb2.SendMessageRequest(conversation=conversation or self.conversation, text=text)
        events = [event async for event in self.office.chat.SendMessage(request, metadata=self.who())]
        return events[-1].completed.text

    async def create_conversation(self, request_id: str) -> str:
        request = chat_service_pb2.CreateConversationRequest(request_id=request_id)
        request.conversation.title = f"About {self.word('title')}"
        return str((await self.office.chat.CreateConversation(request, metadata=self.who())).name)

    async def _talk(self) -> None:
        self.request_ids["CreateConversation"] = new_key()
        self.conversation = await self.create_conversation(self.request_ids["CreateConversation"])
        await self.say(f"Hello, I am {self.word('text')}, can a person call me?")
        await self._judge_and_ask()
        asked = chat_service_pb2.ChatRequest(
            message=f"What of {self.word('session text')}?", session_id=self.word("session"), user_id=self.word("user")
        )
        await self.office.chat.Chat(asked, metadata=self.who())

    async def _judge_and_ask(self) -> None:
        """The message asked for a person already; here is what it is about."""
        listed = chat_service_pb2.ListMessagesRequest(parent=self.conversation)
        page = await self.office.chat.ListMessages(listed, metadata=self.who())
        judgement = chat_service_pb2.SubmitFeedbackRequest(
            message=page.messages[-1].name,
            rating=chat_service_pb2.SubmitFeedbackRequest.NOT_HELPFUL,
            comment=f"not {self.word('comment')}",
        )
        await self.office.chat.SubmitFeedback(judgement, metadata=self.who())
        request = chat_service_pb2.RequestHumanRequest(
            conversation=self.conversation, note=f"about {self.word('hand-off')}", request_id=new_key()
        )
        await self.office.chat.RequestHuman(request, metadata=self.who())

    async def _order(self) -> None:
        lines = [order_pb2.OrderLine(sku=SKU, quantity="400")]
        request = order_service_pb2.CreateOrderRequest(
            order=order_pb2.Order(lines=lines, note=f"Ask for {self.word('note')}"), request_id=new_key()
        )
        draft = await self.office.orders.CreateOrder(request, metadata=self.who())
        change = order_service_pb2.UpdateOrderRequest(
            order=order_pb2.Order(name=draft.name, etag=draft.etag, note=f"Or {self.word('changed')}"),
            request_id=new_key(),
        )
        change.update_mask.paths.append("note")
        draft = await self.office.orders.UpdateOrder(change, metadata=self.who())
        cancel = order_service_pb2.CancelOrderRequest(
            name=draft.name, etag=draft.etag, request_id=new_key(), reason=f"says {self.word('reason')}"
        )
        await self.office.orders.CancelOrder(cancel, metadata=self.who())
        self.order = draft.name

    async def _confirm_proposal(self) -> None:
        said = Provenance("conversations/c/messages/m", 0, 5, 0.9, f"the {self.word('said')} box")
        asked = Asked(
            Kind.PLACE_ORDER,
            OUTLET,
            (Wanted(SKU, Decimal(500), (said,)),),
            note=f"for {self.word('proposed')}",
            conversation=self.conversation.partition("/")[2],
            questions=(f"Is {self.word('question')} there?",),
            person=self.reference,
        )
        async with self.office.database.transaction() as connection:
            proposal = await self.office.application.orders.proposals.propose(connection, TENANT, asked)
        request = chat_service_pb2.ConfirmProposalRequest(
            name=proposal.name, arguments_sha256=proposal.arguments_sha256, request_id=new_key()
        )
        await self.office.chat.ConfirmProposal(request, metadata=self.who())


def new_key() -> str:
    """A request_id."""
    return str(uuid.uuid4())


@asynccontextmanager
async def open_office(folder: Path, dsn: str, redis_url: str, chroma_url: str) -> AsyncIterator[Office]:
    """Server and worker in this process."""
    issuer = Issuer(folder / "issuer")
    issuer.prepare()
    urls = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": chroma_url}
    variables = configuration(folder, issuer, urls)
    config = load(variables, version="test")
    stop = asyncio.Event()
    async with Database(dsn, PoolSettings(min_size=1, max_size=4)) as database:
        await demo.seed_tenant(database)
        rows, _ = read_catalogue((demo.DATA / "products.csv").read_bytes())
        await Catalogue(database).import_rows(operator(TENANT), rows)
        working = asyncio.create_task(worker.run(config, stop))
        try:
            async with application(config, 0) as app:
                target = f"127.0.0.1:{app.servers.gateway_port}"
                async with grpc.aio.insecure_channel(target) as channel:
                    yield Office(app, config, channel, issuer, database, dsn, folder, variables)
        finally:
            stop.set()
            await working


@pytest_asyncio.fixture
async def office(dsn: str, redis_url: str, chroma_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    """A server with its worker, on a database of this test's own."""
    async with open_office(tmp_path, dsn, redis_url, chroma_url) as running:
        yield running


@pytest_asyncio.fixture
async def person(office: Office) -> Person:
    """Somebody who has used everything."""
    somebody = Person(office)
    await somebody.live()
    return somebody
