"""Personal data stays where it belongs.

Every text field of every RPC, the metadata and the token's subject carry a value of their own through the real chain
into real stores; then everything that is kept or told is searched: logs, error reports, metrics, Redis, the audit file
and spool, every column of PostgreSQL, the files of Chroma, and what the model received. A failure names the place and
the field.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import prometheus_client
import pytest
import redis.asyncio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from llmock.pytest_plugin import LLMock

from interceptors.policy import contract
from server import sentry
from server.audit.changes import operator
from server.caller import Role
from server.config import load
from server.db.pool import Database
from server.embedded import demo
from server.embedded.issuer import Issuer
from server.knowledge.wiring import knowledge
from server.logs import JsonFormatter
from server.order.catalogue import Catalogue
from server.order.catalogue_csv import read_catalogue
from tests.support.app import Desk, configuration, running_desk
from tests.support.canaries import Canaries, methods, planted
from tests.support.llmock import model_variables
from tests.support.reading import text_of
from tests.support.sentry import SentryServer, sentry_server
from tria.chat.v1 import chat_pb2, chat_service_pb2
from tria.knowledge.v1 import knowledge_service_pb2, knowledge_service_pb2_grpc
from tria.order.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc

# Where what people wrote is kept, because keeping it is what the column is for: table.column and why. Whatever is not
# here may hold none of it.
ALLOWED: Mapping[str, str] = {
    "conversation.outlet": "the outlet's id, which staff may name",
    "message.client_message_id": "the caller's own id of a message, which a repetition is known by",
    "message.citations": "quotes of the supplier's documents",
    "knowledge_document.id": "the file's name, which is the document's name",
    "knowledge_document.name": "the file's name",
    "knowledge_document.filename": "the file's name",
    "knowledge_document.title": "the document's own title",
    "knowledge_revision.document": "the file's name",
    "knowledge_revision.title": "the document's own title",
    "knowledge_revision.content": "the document itself",
    "knowledge_revision.sections": "the document itself",
    "knowledge_chunk.document": "the file's name",
    "knowledge_chunk.text": "the document's passages",
    "knowledge_chunk.heading": "the document's headings",
    "knowledge_chunk.embedded_text": "the document's passages, glossed",
    "knowledge_chunk.terms": "the words that the document is found by",
    "knowledge_chunk.heading_terms": "the words that the document is found by",
    "knowledge_term.term": "the words that documents are found by",
    "product.sku": "the catalogue",
    "product.name": "the catalogue",
    "product.name_zh": "the catalogue",
    "product.name_ms": "the catalogue",
    "product.aliases": "the catalogue",
    "product.unit": "the catalogue",
    "product.tax_code": "the catalogue",
    "product.category": "the catalogue",
    "product.search_terms": "the words that a product is found by",
    "product.search_text": "the words that a product is found by",
    "product_price.sku": "the catalogue",
    "pgqueuer.payload": "the document's name, which is the file's",
    "pgqueuer.dedupe_key": "the document's name, which is the file's",
    "proposal.shown": "what the customer is shown",
}
_LINE = order_pb2.OrderLine(sku="PB-12-K", quantity="200")
_ROLES = (Role.CUSTOMER, Role.STAFF, Role.ADMIN)


class Lines(logging.Handler):
    """Every record of the process as the server would write it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonFormatter())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def all_logs() -> Iterator[Lines]:
    """The log of everything of ours at DEBUG, and of everybody else at INFO."""
    root, ours = logging.getLogger(), [logging.getLogger(name) for name in ("server", "interceptors", "tria")]
    before = [(logger, logger.level) for logger in (root, *ours)]
    lines = Lines()
    root.addHandler(lines)
    root.setLevel(logging.INFO)
    for logger in ours:
        logger.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(lines)
    for logger, level in before:
        logger.setLevel(level)


@asynccontextmanager
async def desk_with_a_model(
    folder: Path, dsn: str, redis_url: str, chroma_url: str, llmock: LLMock, reports: SentryServer
) -> AsyncIterator[Desk]:
    """The server with demo tenant and catalogue, a model, and error reports."""
    async with Database(dsn) as database:
        await demo.seed_tenant(database)
        rows, _ = read_catalogue((demo.DATA / "products.csv").read_bytes())
        await Catalogue(database).import_rows(operator(demo.TENANT), rows)
    overrides = {
        **model_variables(llmock.base_url()),
        "OPENAI_PRICES": "desk-test=2/0.5/8",
        "SENTRY_DSN": reports.dsn,
        "TRIA_LOG_LEVEL": "DEBUG",
    }
    async with running_desk(folder, dsn, redis_url, chroma_url, overrides) as desk:
        yield desk


def headers(canaries: Canaries, desk: Desk, role: Role) -> tuple[tuple[str, str], ...]:
    """Metadata with a value wherever a caller may write one; the subject is somebody's address."""
    subject = canaries.mail("token.sub")
    return (
        *desk.metadata(role, subject=subject),
        ("x-request-id", canaries.mail("metadata.x-request-id")),
        ("user-agent", canaries.mail("metadata.user-agent")),
        ("x-forwarded-for", canaries.mail("metadata.x-forwarded-for")),
        ("traceparent", canaries.mail("metadata.traceparent")),
        ("sentry-trace", canaries.mail("metadata.sentry-trace")),
        ("baggage", f"who={canaries.mail('metadata.baggage')}"),
        ("x-user-id", canaries.word("metadata.x-user-id")),
    )


async def call(desk: Desk, method: MethodDescriptor, request: Message, metadata: Any) -> grpc.StatusCode:
    """Calls any method with one request; of a stream at most three messages are read."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    answer = GetMessageClass(method.output_type).FromString
    rpc = getattr(desk.channel, kind)(
        path, request_serializer=type(request).SerializeToString, response_deserializer=answer
    )
    given = iter([request]) if method.client_streaming else request
    going = rpc(given, metadata=metadata, timeout=5)
    try:
        if not method.server_streaming:
            await going
        else:
            for _ in range(3):
                if await going.read() is grpc.aio.EOF:
                    break
            going.cancel()
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def play_every_method(canaries: Canaries, desk: Desk) -> dict[str, set[grpc.StatusCode]]:
    seen: dict[str, set[grpc.StatusCode]] = {}
    for method in methods(contract()):
        for role in _ROLES:
            for valid in (True, False):
                request = planted(canaries, method, valid=valid)
                code = await call(desk, method, request, headers(canaries, desk, role))
                seen.setdefault(method.full_name, set()).add(code)
    return seen


async def play_the_desk(canaries: Canaries, desk: Desk) -> str:
    """The calls that store something, valid in every respect; returns what the customer read."""
    known = knowledge_service_pb2_grpc.KnowledgeServiceStub(desk.channel)
    orders = order_service_pb2_grpc.OrderServiceStub(desk.channel)
    text = f"Deliveries to Sentosa leave at 14:00 and cost SGD 18. Ask {canaries.mail('document text')} for the driver."
    await known.ImportDocument(
        knowledge_service_pb2.ImportDocumentRequest(
            filename=f"delivery-{canaries.identity('document file name')}.md",
            title=f"Delivery {canaries.mail('document title')}",
            content=f"# Delivery\n\n{text}\n".encode(),
        ),
        metadata=headers(canaries, desk, Role.STAFF),
    )
    made = await desk.chat.CreateConversation(
        chat_service_pb2.CreateConversationRequest(
            conversation=chat_pb2.Conversation(title=canaries.word("conversation title"))
        ),
        metadata=headers(canaries, desk, Role.CUSTOMER),
    )
    said = ""
    for part in ("first message", "second message"):
        request = chat_service_pb2.SendMessageRequest(
            conversation=made.name,
            text=f"I am {canaries.mail(part)}. When do you deliver to Sentosa and what does it cost?",
            client_message_id=f"m-{uuid.uuid4()}",
        )
        stream = desk.chat.SendMessage(request, metadata=headers(canaries, desk, Role.CUSTOMER))
        said = text_of([event async for event in stream])
    await orders.QuoteOrder(
        order_service_pb2.QuoteOrderRequest(lines=[_LINE]),
        metadata=headers(canaries, desk, Role.CUSTOMER),
    )
    order = await orders.CreateOrder(
        order_service_pb2.CreateOrderRequest(
            order=order_pb2.Order(lines=[_LINE], note=canaries.word("order note")),
            request_id=str(uuid.uuid4()),
        ),
        metadata=headers(canaries, desk, Role.CUSTOMER),
    )
    await orders.CancelOrder(
        order_service_pb2.CancelOrderRequest(
            name=order.name, request_id=str(uuid.uuid4()), etag=order.etag, reason=canaries.word("order reason")
        ),
        metadata=headers(canaries, desk, Role.CUSTOMER),
    )
    return said


async def index_documents(folder: Path, dsn: str, redis_url: str, chroma_url: str) -> None:
    """What the worker would do with the imported document."""
    issuer = Issuer(folder / "issuer")
    issuer.prepare()
    urls = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": chroma_url}
    config = load(configuration(folder, issuer, urls), version="test")
    async with Database(dsn) as database, knowledge(config, database) as known:
        async with database.connection() as connection:
            jobs = await connection.fetch("select payload from pgqueuer where entrypoint = 'index_document'")
        for job in jobs:
            await known.service.index_document(job["payload"])


async def columns(dsn: str) -> AsyncIterator[tuple[str, bytes]]:
    """Every column of every table as text; bytes as they are."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "select table_name, column_name, data_type from information_schema.columns"
            " join information_schema.tables using (table_schema, table_name)"
            " where table_schema not in ('pg_catalog', 'information_schema') and table_type = 'BASE TABLE'"
        )
        for table, column, kind in rows:
            shown = f"encode(\"{column}\", 'escape')" if kind == "bytea" else f'"{column}"::text'
            values = await connection.fetch(f'select {shown} as value from "{table}" where "{column}" is not null')
            yield f"{table}.{column}", "\n".join(row["value"] for row in values).encode()
    finally:
        await connection.close()


async def redis_content(url: str) -> bytes:
    """Every key, and its value as Redis itself would write it down."""
    client = redis.asyncio.Redis.from_url(url)
    try:
        parts = []
        async for key in client.scan_iter():
            parts += [key, await client.dump(key) or b"", repr(await client.type(key)).encode()]
            if await client.type(key) == b"stream":
                parts.append(repr(await client.xrange(key)).encode())  # packed small in a dump
            elif await client.type(key) == b"hash":
                parts.append(repr(await client.hgetall(key)).encode())
        return b"\n".join(parts)
    finally:
        await client.aclose()


def files(folder: Path) -> Iterable[tuple[str, bytes]]:
    """The audit files and the spool."""
    for path in sorted(folder.rglob("audit*")):
        if path.is_file():
            yield f"file {path.name}", path.read_bytes()
        else:
            yield from ((f"file {inner.name}", inner.read_bytes()) for inner in path.rglob("*") if inner.is_file())


async def test_no_value_is_found_where_it_does_not_belong(
    tmp_path: Path, stores_root: Path, dsn: str, redis_url: str, chroma_url: str, llmock: LLMock
) -> None:
    canaries = Canaries()
    llmock.reply("At 14:00 for SGD 18 [1]; we will write to ⟦EMAIL_1⟧.", times=None)
    leaks: dict[str, list[str]] = {}

    def search(place: str, content: bytes) -> None:
        if found := canaries.hits(content):
            leaks[place] = found

    with sentry_server() as reports, all_logs() as logs:
        async with desk_with_a_model(tmp_path, dsn, redis_url, chroma_url, llmock, reports) as desk:
            seen = await play_every_method(canaries, desk)
            said = await play_the_desk(canaries, desk)
            await index_documents(tmp_path / "worker", dsn, redis_url, chroma_url)
            said += await play_the_desk(canaries, desk)
            sentry.capture(ValueError(f"bad {canaries.mail('error text')}"), reason="INTERNAL")
            logging.getLogger("server.test").error("sent to %s", canaries.mail("log argument"))
            search("Redis", await redis_content(redis_url))
            search("/metrics", prometheus_client.generate_latest(desk.application.registry))
        sentry.stop(5.0)
        for number, body in enumerate(reports.bodies):
            search(f"Sentry report {number}", body)
    for line in logs.lines:
        search(f"log line {line[:300]}", line.encode())
    for name, content in files(tmp_path):
        search(name, content)
    for path in (stores_root / "chroma").rglob("*"):
        # A vector is named after its document, which is named after its file.
        if path.is_file() and (kept := [hit for hit in canaries.hits(path.read_bytes()) if "file" not in hit]):
            leaks[f"Chroma {path.name}"] = kept
    contents = {name: content async for name, content in columns(dsn)}
    stored = {name: canaries.hits(content) for name, content in contents.items()}
    leaks |= {f"PostgreSQL {name}": found for name, found in stored.items() if found and name not in ALLOWED}
    # A word that no recogniser knows may be in a question; what a recogniser knows may not.
    sent = json.dumps([request.body for request in llmock.requests], ensure_ascii=False)
    if told := [hit for hit in canaries.hits(sent.encode()) if not hit.startswith("zq")]:
        leaks["the model"] = told

    assert not leaks, "\n".join(f"{place}: {'; '.join(found[:8])}" for place, found in leaks.items())
    # That there was something to find: otherwise the search proves nothing.
    assert stored["knowledge_document.filename"]
    assert contents["message.text_box"]
    assert contents["customer_order.note_box"]
    assert any("first message" in hit for hit in canaries.hits(said.encode())) or "canary" in said
    assert len(logs.lines) > 100
    assert reports.bodies
    assert len(llmock.requests) >= 2
    assert all(seen.values())
    assert len(canaries.places) > 1000


def test_the_search_finds_what_was_planted() -> None:
    canaries = Canaries()
    values = [canaries.mail("a"), canaries.word("b"), canaries.identity("c")]
    for value in values:
        assert canaries.hits(f"x {value} y".encode())
    assert canaries.hits(b"nothing") == []
    assert canaries.hits(b"c99999.canary") == []


@pytest.mark.parametrize("method", list(methods(contract())), ids=lambda method: method.full_name)
def test_most_text_fields_are_planted(method: MethodDescriptor) -> None:
    """A request that carries nothing would test nothing."""
    canaries = Canaries()
    request = planted(canaries, method, valid=False)
    assert bool(request.ListFields()) == bool(canaries.places)
