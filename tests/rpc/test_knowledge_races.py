"""What the vector index holds when imports, deletions, jobs and repairs of the same documents meet."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import numpy as np
import pytest
import pytest_asyncio

from server.audit.changes import operator
from server.db.pool import Database
from server.errors import AppError
from server.jobs import enqueue
from server.knowledge import store
from server.knowledge.embedding import OnnxEmbedder, Vectors
from server.knowledge.indexing import INDEX_DOCUMENT
from server.knowledge.lexical import Lexicon
from server.knowledge.search import KnowledgeSearch
from server.knowledge.service import KnowledgeService
from server.knowledge.vectors import Hit, VectorIndex

OLD = b"# Delivery\n\n## Sentosa\n\nWe deliver to Sentosa on Saturday.\n\n## Slots\n\nThe van comes early.\n"
NEW = b"# Delivery\n\n## Sentosa\n\nWe deliver to Sentosa on Monday for SGD 18.\n"


class Stops:
    """Places where the next one to come is held until it is let go."""

    def __init__(self) -> None:
        self._at: dict[str, tuple[asyncio.Event, asyncio.Event]] = {}

    def hold(self, place: str) -> tuple[asyncio.Event, asyncio.Event]:
        """(somebody is there, set this to let it go)"""
        self._at[place] = asyncio.Event(), asyncio.Event()
        return self._at[place]

    async def come_by(self, place: str) -> None:
        if place in self._at:
            there, go = self._at.pop(place)
            there.set()
            await go.wait()


class StoppingEmbedder(OnnxEmbedder):
    def __init__(self, stops: Stops) -> None:
        super().__init__()
        self._stops = stops

    async def embed(self, texts: Sequence[str]) -> Vectors:
        await self._stops.come_by("embed")
        return await super().embed(texts)


class StoppingIndex(VectorIndex):
    """Chroma; `written` are the revisions that were stored, `meanwhile` happens once before a listing is answered."""

    def __init__(self, url: str, model: str, dimensions: int, stops: Stops) -> None:
        super().__init__(url, model, dimensions)
        self._stops = stops
        self.written: list[str] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def upsert(self, tenant: str, document: str, revision: str, ids: Sequence[str], vectors: Vectors) -> None:
        await self._stops.come_by("upsert")
        self.written.append(revision)
        await super().upsert(tenant, document, revision, ids, vectors)

    async def remove(self, tenant: str, document: str, *, keep: str = "") -> None:
        await self._stops.come_by("remove")
        await super().remove(tenant, document, keep=keep)

    async def held(self, tenant: str) -> Counter[tuple[str, str]]:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await super().held(tenant)

    async def query(self, tenant: str, vector: Vectors, limit: int) -> list[Hit]:
        await self._stops.come_by("query")
        return await super().query(tenant, vector, limit)


@dataclass
class Desk:
    """A tenant's knowledge with its stops."""

    tenant: str
    database: Database
    service: KnowledgeService
    index: StoppingIndex
    embedder: StoppingEmbedder
    lexicon: Lexicon
    stops: Stops

    async def put(self, id: str, content: bytes) -> str:
        """The revision."""
        imported = await self.service.import_document(operator(self.tenant), f"{id}.md", content)
        return imported.document.revision

    async def job(self, id: str) -> None:
        await self.service.index_document(json.dumps({"tenant": self.tenant, "document": id}).encode())

    async def jobs(self) -> list[str]:
        """Runs what is queued; the documents."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "delete from pgqueuer where entrypoint = $1 returning payload", INDEX_DOCUMENT
            )
        ids = sorted(json.loads(row["payload"])["document"] for row in rows)
        for id in ids:
            await self.job(id)
        return ids

    async def state(self, id: str) -> str:
        return (await self.service.get_document(self.tenant, f"documents/{id}")).state


@pytest_asyncio.fixture
async def desk(database: Database, chroma_url: str) -> AsyncIterator[Desk]:
    stops = Stops()
    async with AsyncExitStack() as stack:
        embedder = StoppingEmbedder(stops)
        stack.push_async_callback(embedder.close)
        index = StoppingIndex(chroma_url, embedder.model, embedder.dimensions, stops)
        stack.push_async_callback(index.close)
        lexicon = await asyncio.to_thread(Lexicon)
        service = KnowledgeService(database, index, embedder, lexicon, enqueue)
        yield Desk(f"t-{uuid.uuid4().hex[:12]}", database, service, index, embedder, lexicon, stops)


@pytest.mark.parametrize("place", ["embed", "upsert", "remove"])
async def test_a_job_overtaken_by_a_newer_revision_leaves_the_newer_vectors(desk: Desk, place: str) -> None:
    old = await desk.put("delivery", OLD)
    there, go = desk.stops.hold(place)
    slow = asyncio.create_task(desk.job("delivery"))
    await there.wait()
    new = await desk.put("delivery", NEW)
    await desk.job("delivery")
    assert await desk.index.held(desk.tenant) == {("delivery", new): 1}
    go.set()
    await slow
    assert await desk.index.held(desk.tenant) == {("delivery", new): 1}
    assert await desk.state("delivery") == "INDEXED"
    assert (old in desk.index.written) == (place != "embed")
    assert await desk.service.repair() == 0


async def test_a_job_that_takes_a_deleted_documents_vectors_spares_the_one_imported_since(desk: Desk) -> None:
    await desk.put("delivery", OLD)
    await desk.jobs()
    await desk.service.delete_document(operator(desk.tenant), "documents/delivery")
    there, go = desk.stops.hold("remove")
    slow = asyncio.create_task(desk.job("delivery"))
    await there.wait()
    new = await desk.put("delivery", NEW)
    await desk.job("delivery")
    go.set()
    await slow
    assert await desk.index.held(desk.tenant) == {("delivery", new): 1}
    assert await desk.state("delivery") == "INDEXED"


async def test_a_job_overtaken_by_a_deletion_leaves_nothing(desk: Desk) -> None:
    await desk.put("delivery", OLD)
    there, go = desk.stops.hold("upsert")
    slow = asyncio.create_task(desk.job("delivery"))
    await there.wait()
    await desk.service.delete_document(operator(desk.tenant), "documents/delivery")
    await desk.job("delivery")
    go.set()
    await slow
    assert await desk.index.held(desk.tenant) == {}


async def test_repair_compares_documents_and_revisions_and_not_only_their_number(desk: Desk) -> None:
    a, b, c = [await desk.put(id, NEW + id.encode()) for id in "abc"]
    await desk.jobs()
    await desk.index.remove(desk.tenant, "b")  # lost
    stray = store.chunk_name("a", 0, "0" * 16)  # left behind
    await desk.index.upsert(desk.tenant, "a", "0" * 16, [stray], np.ones((1, 384), np.float32))
    deleted = store.chunk_name("gone", 0, "1" * 16)
    await desk.index.upsert(desk.tenant, "gone", "1" * 16, [deleted], np.ones((1, 384), np.float32))
    assert await desk.service.repair() == 3
    assert (await desk.index.held(desk.tenant))["c", c] == 1, "what is whole is not touched"
    assert await desk.jobs() == ["a", "b", "gone"]
    assert await desk.index.held(desk.tenant) == {("a", a): 1, ("b", b): 1, ("c", c): 1}
    assert await desk.service.repair() == 0


async def test_repair_does_nothing_to_an_index_that_changes_while_it_looks(desk: Desk) -> None:
    revisions = {id: await desk.put(id, NEW + id.encode()) for id in "abcef"}
    await desk.jobs()
    written = len(desk.index.written)

    async def meanwhile() -> None:
        for gone in "aef":
            await desk.service.delete_document(operator(desk.tenant), f"documents/{gone}")
        revisions["b"] = await desk.put("b", OLD)
        revisions["d"] = await desk.put("d", NEW)
        await desk.jobs()

    desk.index.meanwhile = meanwhile
    assert await desk.service.repair() == 0
    assert await desk.jobs() == []
    assert desk.index.written[written:] == [revisions["b"], revisions["d"]]
    held = await desk.index.held(desk.tenant)
    assert held == {("b", revisions["b"]): 2, ("c", revisions["c"]): 1, ("d", revisions["d"]): 1}


async def test_the_listing_goes_over_every_page(desk: Desk, chroma_url: str) -> None:
    revisions = {id: await desk.put(id, OLD + id.encode()) for id in "abc"}
    await desk.jobs()
    expected = dict.fromkeys(revisions.items(), 2)
    assert await desk.index.held(desk.tenant) == expected
    for size in (1, 2, 4):
        paging = VectorIndex(chroma_url, desk.embedder.model, desk.embedder.dimensions, read_batch=size)
        assert await paging.held(desk.tenant) == expected
        await paging.close()


async def test_a_rebuilt_index_keeps_who_imported_and_when(desk: Desk) -> None:
    await desk.put("delivery", OLD)
    query = "select imported_by, imported_at from knowledge_revision where tenant = $1"
    async with desk.database.connection() as connection:
        before = await connection.fetchrow(query, desk.tenant)
    assert await desk.service.rebuild_index(desk.tenant) == 1
    async with desk.database.connection() as connection:
        after = await connection.fetchrow(query, desk.tenant)
    assert before is not None
    assert before["imported_by"] == operator(desk.tenant).caller.subject
    assert after == before


async def test_a_search_that_fails_leaves_no_task_behind(desk: Desk) -> None:
    desk.stops.hold("embed")
    away = Database("postgresql://127.0.0.1:1/never")  # never started: every call is refused at once
    search = KnowledgeSearch(away, desk.index, desk.embedder, desk.lexicon)
    with pytest.raises(AppError):
        await search.search(desk.tenant, "when do you deliver", 3)
    assert "knowledge-near" not in {task.get_name() for task in asyncio.all_tasks()}
