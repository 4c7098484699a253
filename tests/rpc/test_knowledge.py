"""Documents on real PostgreSQL and Chroma: import, index, search, delete, tenants, outages, and the RPCs' own part."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
import pytest_asyncio

from server.audit.actor import Shown
from server.audit.changes import operator
from server.caller import AuthMethod, Caller, Role, current_caller
from server.db.pool import Database
from server.embedded.chroma import EmbeddedChroma
from server.errors import AppError, Code, Reason
from server.knowledge.handler import KnowledgeHandler
from server.knowledge.indexing import INDEX_DOCUMENT
from server.knowledge.wiring import Knowledge, KnowledgeSettings, open_knowledge
from server.paging import PageTokens
from server.settings import Secret
from server.tenants import ensure_tenant
from tests.support.stores import eventually
from tria.knowledge.v1 import knowledge_pb2, knowledge_service_pb2

NO_CONTEXT = cast("grpc.aio.ServicerContext[Any, Any]", None)  # the handler never touches it

DELIVERY = (
    b"# Delivery\n\n## Sentosa\n\nWe deliver to Sentosa on Saturday for SGD 18.\n\n## Slots\n\nThe van comes early.\n"
)
RETURNS = b"# Returns\n\n## Defective goods\n\nReport leaking cups within 3 days with a photo.\n"


@pytest.fixture
def tenant() -> str:
    """A name of its own: the Chroma server is shared by all tests."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest_asyncio.fixture
async def known(database: Database, chroma_url: str, tenant: str) -> AsyncIterator[Knowledge]:
    async with database.transaction() as connection:
        await ensure_tenant(connection, tenant)
        await ensure_tenant(connection, "other")
    async with open_knowledge(KnowledgeSettings(chroma_url), database) as known:
        yield known


async def run_jobs(known: Knowledge, database: Database) -> list[dict[str, str]]:
    """What a worker would do, in order; the payloads."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            "delete from pgqueuer where entrypoint = $1 returning id, payload", INDEX_DOCUMENT
        )
    payloads = [row["payload"] for row in sorted(rows, key=lambda row: row["id"])]
    for payload in payloads:
        await known.service.index_document(payload)
    return [json.loads(payload) for payload in payloads]


async def headings(known: Knowledge, tenant: str, question: str) -> list[str]:
    return [passage.heading for passage in (await known.search.search(tenant, question, 5)).passages]


async def test_found_by_words_at_once_and_by_meaning_after_the_job(
    known: Knowledge, database: Database, tenant: str
) -> None:
    imported = await known.service.import_document(operator(tenant), "delivery.md", DELIVERY)
    assert (imported.document.name, imported.document.state, imported.unchanged) == (
        "documents/delivery",
        "INDEXING",
        False,
    )
    before = await known.search.search(tenant, "when do you deliver to Sentosa", 3)
    assert before.degraded
    assert before.passages[0].heading == "Sentosa"
    revision = await known.service.knowledge_revision(tenant)
    assert await run_jobs(known, database) == [{"tenant": tenant, "document": "delivery"}]
    assert (await known.service.get_document(tenant, "documents/delivery")).state == "INDEXED"
    assert await known.service.knowledge_revision(tenant) > revision
    after = await known.search.search(tenant, "when do you deliver to Sentosa", 3)
    assert not after.degraded
    assert after.confident
    best = after.passages[0]
    assert best.chunk == f"documents/delivery/chunks/0@{imported.document.revision}"
    assert (best.document, best.title, best.text) == (
        "documents/delivery",
        "Delivery",
        "We deliver to Sentosa on Saturday for SGD 18.",
    )


async def test_the_same_bytes_change_nothing_and_make_no_job(known: Knowledge, database: Database, tenant: str) -> None:
    await known.service.import_document(operator(tenant), "delivery.md", DELIVERY)
    await run_jobs(known, database)
    revision = await known.service.knowledge_revision(tenant)
    again = await known.service.import_document(operator(tenant), "delivery.md", DELIVERY)
    assert again.unchanged
    assert await known.service.knowledge_revision(tenant) == revision
    assert await run_jobs(known, database) == []


async def test_a_new_revision_takes_the_place_of_the_old_one(known: Knowledge, database: Database, tenant: str) -> None:
    await known.service.import_document(operator(tenant), "delivery.md", DELIVERY)
    await run_jobs(known, database)
    await known.service.import_document(operator(tenant), "delivery.md", RETURNS)
    assert await headings(known, tenant, "Sentosa delivery") in ([], ["Defective goods"])
    await run_jobs(known, database)
    assert (await known.index.held(tenant)).total() == 1
    assert await headings(known, tenant, "my cups are leaking") == ["Defective goods"]
    async with database.connection() as connection:
        kept = await connection.fetchval("select count(*) from knowledge_revision where tenant = $1", tenant)
        counts = await connection.fetchrow(
            "select (select chunks from knowledge_corpus where tenant = $1) as chunks,"
            " (select count(*) from knowledge_term where tenant = $1 and term = '@sentosa') as old_terms",
            tenant,
        )
    assert kept == 2
    assert counts is not None
    assert (counts["chunks"], counts["old_terms"]) == (1, 0)


async def test_a_job_repeated_late_or_for_an_older_revision_converges(
    known: Knowledge, database: Database, tenant: str
) -> None:
    await known.service.import_document(operator(tenant), "delivery.md", DELIVERY)
    payload = json.dumps({"tenant": tenant, "document": "delivery"}).encode()
    await asyncio.gather(*(known.service.index_document(payload) for _ in range(3)))
    await known.service.import_document(operator(tenant), "delivery.md", RETURNS)
    await asyncio.gather(known.service.index_document(payload), known.service.index_document(payload))
    assert (await known.index.held(tenant)).total() == 1
    assert (await known.service.get_document(tenant, "documents/delivery")).state == "INDEXED"


async def test_concurrent_imports_keep_the_counts(known: Knowledge, database: Database, tenant: str) -> None:
    files = [(f"doc-{n % 4}.md", f"# D\n\ndelivery number {n} of boxes\n".encode()) for n in range(12)]
    await asyncio.gather(*(known.service.import_document(operator(tenant), name, content) for name, content in files))
    async with database.connection() as connection:
        counted = await connection.fetch(
            "select term, chunks from knowledge_term where tenant = $1 order by term", tenant
        )
        real = await connection.fetch(
            "select term, count(*) as chunks from knowledge_chunk, unnest(tsvector_to_array(terms)) as term"
            " where tenant = $1 group by term order by term",
            tenant,
        )
        chunks = await connection.fetchval("select chunks from knowledge_corpus where tenant = $1", tenant)
    assert [tuple(row) for row in counted] == [tuple(row) for row in real]
    assert chunks == 4


async def test_deleting_takes_words_and_vectors_away(known: Knowledge, database: Database, tenant: str) -> None:
    await known.service.import_document(operator(tenant), "delivery.md", DELIVERY)
    await run_jobs(known, database)
    await known.service.delete_document(operator(tenant), "documents/delivery")
    assert await headings(known, tenant, "Sentosa") == []
    await run_jobs(known, database)
    assert (await known.index.held(tenant)).total() == 0
    with pytest.raises(AppError) as caught:
        await known.service.get_document(tenant, "documents/delivery")
    assert caught.value.code is Code.NOT_FOUND
    with pytest.raises(AppError) as caught:
        await known.service.delete_document(operator(tenant), "documents/delivery")
    assert caught.value.code is Code.NOT_FOUND


async def test_a_tenant_sees_its_own_documents_only(known: Knowledge, database: Database, tenant: str) -> None:
    await known.service.import_document(operator(tenant), "delivery.md", DELIVERY)
    await run_jobs(known, database)
    assert (await known.search.search("other", "Sentosa delivery", 5)).passages == ()
    assert (await known.service.list_documents("other", size=10)).documents == ()
    with pytest.raises(AppError) as caught:
        await known.service.get_document("other", "documents/delivery")
    assert caught.value.reason is Reason.RESOURCE_NOT_FOUND
    imported = await known.service.import_document(operator("newcomer"), "delivery.md", DELIVERY)
    assert not imported.unchanged


async def test_a_lost_index_is_noticed_and_rebuilt(known: Knowledge, database: Database, tenant: str) -> None:
    await known.service.import_document(operator(tenant), "delivery.md", DELIVERY)
    await run_jobs(known, database)
    await known.index.drop(tenant)
    result = await known.search.search(tenant, "Sentosa delivery", 3)
    assert result.degraded
    assert result.passages[0].heading == "Sentosa"
    assert await known.service.repair() == 1
    assert (await run_jobs(known, database))[0]["document"] == "delivery"
    assert (await known.index.held(tenant)).total() == 2
    assert not (await known.search.search(tenant, "Sentosa delivery", 3)).degraded
    assert await known.service.repair() == 0


async def test_search_goes_on_by_words_while_chroma_is_away(database: Database, tenant: str, stores_root: Path) -> None:
    server = EmbeddedChroma(stores_root / f"chroma-{tenant}")
    url = await server.start()
    async with database.transaction() as connection:
        await ensure_tenant(connection, tenant)
    try:
        async with open_knowledge(KnowledgeSettings(url), database) as known:
            await known.service.import_document(operator(tenant), "delivery.md", DELIVERY)
            await run_jobs(known, database)
            await server.stop()
            loop = asyncio.get_running_loop()
            begun = loop.time()
            results = [await known.search.search(tenant, "deliver to Sentosa", 3) for _ in range(20)]
            assert loop.time() - begun < 5
            assert all(result.degraded and result.passages[0].heading == "Sentosa" for result in results)
            assert not await known.index.ping()
            await server.start()

            async def whole_again() -> bool:
                return not (await known.search.search(tenant, "deliver to Sentosa", 3)).degraded

            await eventually(whole_again)
    finally:
        await server.stop()


async def test_waiting_does_the_work_where_no_worker_does(known: Knowledge, tenant: str) -> None:
    imported = await known.service.import_document(operator(tenant), "delivery.md", DELIVERY)
    await known.service.wait_indexed(tenant, [imported.document.name], within=30)
    assert (await known.index.held(tenant)).total() == 2


async def test_a_misspelt_word_of_the_documents_is_found(known: Knowledge, database: Database, tenant: str) -> None:
    await known.service.import_document(
        operator(tenant), "a.md", b"# Styrofoam\n\nWe stopped selling styrofoam in 2021.\n"
    )
    await known.service.import_document(operator(tenant), "b.md", RETURNS)
    result = await known.search.search(tenant, "styrofom", 1)
    assert [passage.document for passage in result.passages] == ["documents/a"]


@pytest.mark.parametrize(
    "question", ["", "   ", "'; drop table x --", "\u202e\u0000", "& | ! ( ) :* <->", "😀" * 500, "的"]
)
async def test_odd_questions_are_answered_with_nothing_or_something(
    known: Knowledge, tenant: str, question: str
) -> None:
    await known.service.import_document(operator(tenant), "delivery.md", DELIVERY)
    result = await known.search.search(tenant, question, 3)
    assert not result.confident


@pytest.fixture
def caller(tenant: str) -> Iterator[None]:
    token = current_caller.set(Caller(tenant, "u1", frozenset({Role.STAFF}), AuthMethod.JWT))
    yield
    current_caller.reset(token)


async def test_the_rpcs(known: Knowledge, database: Database, tenant: str, caller: None) -> None:
    handler = KnowledgeHandler(known.service, known.search, PageTokens(Secret("s" * 32)), Shown(None))
    for name in ("b.md", "a.txt", "配送.md"):
        content = f"# {name}\n\nDelivery to Sentosa costs SGD 18 in {name}.\n".encode()
        request = knowledge_service_pb2.ImportDocumentRequest(filename=name, content=content, title="Sentosa fees")
        answer = await handler.ImportDocument(request, NO_CONTEXT)
        assert (answer.unchanged, answer.document.title) == (False, "Sentosa fees")
    assert (await handler.ImportDocument(request, NO_CONTEXT)).unchanged
    await run_jobs(known, database)

    first = await handler.ListDocuments(knowledge_service_pb2.ListDocumentsRequest(page_size=2), NO_CONTEXT)
    rest = await handler.ListDocuments(
        knowledge_service_pb2.ListDocumentsRequest(page_size=2, page_token=first.next_page_token), NO_CONTEXT
    )
    names = [document.name for document in (*first.documents, *rest.documents)]
    assert names[:2] == ["documents/a", "documents/b"]
    assert names[2].startswith("documents/document-")
    assert rest.next_page_token == ""
    assert rest.revision == await known.service.knowledge_revision(tenant)

    document = await handler.GetDocument(knowledge_service_pb2.GetDocumentRequest(name="documents/a"), NO_CONTEXT)
    assert (document.state, document.media_type, document.chunk_count) == (
        knowledge_pb2.Document.INDEXED,
        "text/plain",
        1,
    )
    found = await handler.SearchKnowledge(
        knowledge_service_pb2.SearchKnowledgeRequest(query="Sentosa delivery cost", page_size=2), NO_CONTEXT
    )
    assert len(found.passages) == 2
    assert found.confident
    assert found.passages[0].score >= found.passages[1].score > 0
    await handler.DeleteDocument(knowledge_service_pb2.DeleteDocumentRequest(name="documents/a"), NO_CONTEXT)
    with pytest.raises(AppError):
        await handler.GetDocument(knowledge_service_pb2.GetDocumentRequest(name="documents/a"), NO_CONTEXT)
