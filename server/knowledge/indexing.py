"""The job that gives a document its vectors, and waiting for it.

It may be killed and repeated at any point, and run twice at once: it writes vectors under names that contain the
revision, deletes those of other revisions, and marks the document only if it is still the one that was read. If it is
not, the deletion may have met the newer revision's vectors, so the newer one is made to count as not indexed.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Sequence
from typing import Protocol

from server.db.pool import Connection, Database
from server.errors import AppError, Code, Reason
from server.knowledge import store
from server.knowledge.embedding import Embedder, EmbeddingFailed, Vectors
from server.knowledge.store import DocumentRow
from server.knowledge.vectors import VectorIndex

log = logging.getLogger(__name__)

INDEX_DOCUMENT = "index_document"  # the job's entrypoint

_POLL = 0.2  # seconds
_PATIENCE = 3.0  # seconds without progress after which the one who waits does the work


class Enqueue(Protocol):
    """`server.jobs.enqueue`: adds a job in the connection's transaction."""

    def __call__(
        self, connection: Connection, entrypoint: str, payload: bytes, dedupe_key: str | None = None
    ) -> Awaitable[object]: ...


async def ask_for_vectors(connection: Connection, enqueue: Enqueue, tenant: str, id: str, generation: int) -> None:
    """Adds the job. The generation is in the key: else a newer revision's job would be lost while an older one runs."""
    payload = json.dumps({"tenant": tenant, "document": id}).encode()
    await enqueue(connection, INDEX_DOCUMENT, payload, f"{INDEX_DOCUMENT}:{tenant}:{id}:{generation}")


class Indexing:
    """Brings the vector index in step with PostgreSQL, one document at a time."""

    def __init__(self, database: Database, index: VectorIndex, embedder: Embedder) -> None:
        self._database = database
        self._index = index
        self._embedder = embedder

    async def run(self, payload: bytes) -> None:
        """Make the vectors of the document's current revision and remove all others; nothing when they are there.

        Raises KnowledgeIndexUnavailable or EmbeddingFailed for another attempt; a permanent failure is recorded as
        INDEX_FAILED instead. Returns when the index agrees with what PostgreSQL said last.
        """
        job = json.loads(payload)
        await self._index_document(str(job["tenant"]), str(job["document"]))

    async def wait(self, tenant: str, ids: Sequence[str], *, within: float) -> None:
        """Return when every document has its vectors. Where no worker makes progress, this process makes them itself.

        Raises AppError KNOWLEDGE_UNAVAILABLE after `within` s, or when a document cannot be embedded.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        left, since, alone = len(ids) + 1, loop.time(), False
        while True:
            async with self._database.connection() as connection:
                states = await store.unindexed(connection, tenant, ids)
            if "INDEX_FAILED" in states.values():
                raise _not_indexed([id for id, state in states.items() if state == "INDEX_FAILED"])
            if not states:
                return
            now = loop.time()
            if len(states) < left:
                left, since = len(states), now
            if now > end:
                raise _not_indexed(list(states))
            alone = alone or now - since > _PATIENCE
            if alone:
                await self._index_document(tenant, next(iter(states)))
            else:
                await asyncio.sleep(_POLL)

    async def _index_document(self, tenant: str, id: str) -> None:
        while not await self._index_current(tenant, id):
            log.info("a document changed while it was indexed; once more", extra={"document": id})

    async def _index_current(self, tenant: str, id: str) -> bool:
        """One pass; False when the document changed meanwhile."""
        async with self._database.connection() as connection:
            row = await store.get_document(connection, tenant, id)
            chunks = await store.chunks_to_embed(connection, tenant, id, row.revision) if row else []
        if row is None:
            await self._index.remove(tenant, id)
            return await self._still_gone(tenant, id)
        if row.state == "INDEXED" and row.embedding_model == self._embedder.model:
            return True
        try:
            vectors = await self._vectors(chunks)
        except EmbeddingFailed as failed:
            if not failed.permanent:
                raise
            log.exception("a document cannot be embedded", extra={"document": id})
            return await self._mark(tenant, row, "INDEX_FAILED", "")
        ids = [store.chunk_name(id, chunk.ordinal, row.revision) for chunk in chunks]
        if not await self._is_current(tenant, row):
            return False
        await self._index.upsert(tenant, id, row.revision, ids, vectors)
        if await self._is_current(tenant, row):
            await self._index.remove(tenant, id, keep=row.revision)
        return await self._mark(tenant, row, "INDEXED", self._embedder.model)

    async def _vectors(self, chunks: Sequence[store.ToEmbed]) -> Vectors:
        multilingual = self._embedder.multilingual
        return await self._embedder.embed(
            [chunk.full_text if multilingual else chunk.embedded_text for chunk in chunks]
        )

    async def _is_current(self, tenant: str, row: DocumentRow) -> bool:
        async with self._database.connection() as connection:
            return await store.generation_of(connection, tenant, row.id) == row.generation

    async def _mark(self, tenant: str, row: DocumentRow, state: str, model: str) -> bool:
        """False when the document changed meanwhile. It then has to be indexed again, by this job or by its repetition:
        that removes what this pass wrote and writes what it may have removed."""
        async with self._database.transaction() as connection:
            await store.lock_corpus(connection, tenant)
            marked = await store.set_state(connection, tenant, row.id, row.generation, state, model)
            if not marked:
                await store.reopen(connection, tenant, row.id)
            return marked

    async def _still_gone(self, tenant: str, id: str) -> bool:
        """The same for a document that was not there."""
        async with self._database.transaction() as connection:
            if await store.generation_of(connection, tenant, id) is None:
                return True
            await store.lock_corpus(connection, tenant)
            await store.reopen(connection, tenant, id)
            return False


def _not_indexed(ids: Sequence[str]) -> AppError:
    return AppError(
        Code.UNAVAILABLE,
        Reason.KNOWLEDGE_UNAVAILABLE,
        f"not indexed: {', '.join(ids[:10])}; they are found by words only until a worker has indexed them",
        retry_after=5.0,
    )
