"""Documents of a tenant: import, delete, list, and keeping the vector index in step with them.

An import is one PostgreSQL transaction: rows, words, and the job that will make the vectors (indexing.py). From its
commit on the document is found by words; the job adds meaning.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from server.audit.actions import Action
from server.audit.changes import Author
from server.audit.leaf import Plain
from server.db.pool import Connection, Database
from server.errors import not_found
from server.idempotency import Idempotency, Once, once
from server.knowledge import store
from server.knowledge.analysis import analyse, main_language
from server.knowledge.embedding import Embedder
from server.knowledge.indexing import Enqueue, Indexing, ask_for_vectors
from server.knowledge.lexical import Lexicon
from server.knowledge.names import document_id, document_name
from server.knowledge.reader import Source, read
from server.knowledge.store import DocumentRow, ExpectedVectors
from server.knowledge.vectors import VectorIndex
from server.tenants import ensure_tenant

log = logging.getLogger(__name__)

_STALE_SECONDS = 600.0  # a document without vectors for so long gets another job
_READERS = 2
_REPAIRED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did; `unchanged` when the same bytes were there already."""

    document: DocumentRow
    unchanged: bool


@dataclass(frozen=True, slots=True)
class _Incoming:
    """A file that was read and is to be stored."""

    source: Source
    filename: str
    sha256: str
    size: int
    title: str


@dataclass(frozen=True, slots=True)
class Page:
    """Documents by id; `last` is the id to go on after, "" at the end; `revision` is the corpus revision."""

    documents: tuple[DocumentRow, ...]
    last: str
    revision: int


class KnowledgeService:
    """Everything that changes a tenant's documents. Safe to call from several processes at once."""

    def __init__(
        self, database: Database, index: VectorIndex, embedder: Embedder, lexicon: Lexicon, enqueue: Enqueue
    ) -> None:
        self._database = database
        self._index = index
        self._embedder = embedder
        self._lexicon = lexicon
        self._enqueue = enqueue
        self._indexing = Indexing(database, index, embedder)
        self._reading = asyncio.Semaphore(_READERS)  # each may use a core for seconds

    async def import_document(self, author: Author, filename: str, content: bytes, *, title: str = "") -> Imported:
        """Create or replace the document that `document_name(filename)` names; the same bytes again change nothing.

        Raises AppError DOCUMENT_UNREADABLE or DOCUMENT_TOO_LARGE.
        """
        tenant, id = author.caller.tenant, document_id(document_name(filename))
        sha256 = hashlib.sha256(content).hexdigest()
        async with self._database.connection() as connection:
            present = await store.get_document(connection, tenant, id)
        if present and self._same(present, sha256, title):
            return Imported(present, unchanged=True)
        incoming = await self._read(filename, content, title)
        async with self._database.transaction() as connection:
            return await self._import(connection, author, id, incoming)

    async def import_once(
        self, author: Author, filename: str, content: bytes, *, title: str, idempotency: Idempotency[Imported]
    ) -> Once:
        """The same for a call that may be repeated with its request_id. Raises IDEMPOTENCY_KEY_REUSED too."""
        incoming = await self._read(filename, content, title)
        id = document_id(document_name(filename))
        async with self._database.transaction() as connection:
            produce = partial(self._import, connection, author, id, incoming)
            return await once(connection, author.caller, idempotency, produce)

    async def _read(self, filename: str, content: bytes, title: str) -> _Incoming:
        async with self._reading:
            source = await read(filename, content)
        if title:
            source = Source(title[:300], source.media_type, source.sections)
        return _Incoming(source, filename, hashlib.sha256(content).hexdigest(), len(content), title)

    async def _import(self, connection: Connection, author: Author, id: str, incoming: _Incoming) -> Imported:
        tenant = author.caller.tenant
        await ensure_tenant(connection, tenant)
        generation = await store.lock_corpus(connection, tenant)
        present = await store.get_document(connection, tenant, id)
        if present and self._same(present, incoming.sha256, incoming.title):
            return Imported(present, unchanged=True)
        row = await self._put(
            connection, tenant, id, incoming.source, sha256=incoming.sha256, filename=incoming.filename,
            size=incoming.size, generation=generation,
        )  # fmt: skip
        await store.put_revision(connection, tenant, row, incoming.source.sections, author.caller.subject)
        details: dict[str, Plain] = {"revision": row.revision, "chunks": row.chunk_count}
        await author.record(connection, Action.DOCUMENT_IMPORT, (row.name,), details)
        await ask_for_vectors(connection, self._enqueue, tenant, id, generation)
        return Imported(row, unchanged=False)

    async def delete_document(self, author: Author, name: str) -> None:
        """Delete the document with its revisions and passages; a job takes its vectors away. Raises NOT_FOUND."""
        tenant, id = author.caller.tenant, document_id(name)
        async with self._database.transaction() as connection:
            if await store.get_document(connection, tenant, id) is None:
                raise not_found(name)
            generation = await store.lock_corpus(connection, tenant)
            await store.remove_chunks(connection, tenant, id)
            if await store.delete_document(connection, tenant, id) is None:
                raise not_found(name)
            await author.record(connection, Action.DOCUMENT_DELETE, (name,), {})
            await ask_for_vectors(connection, self._enqueue, tenant, id, generation)

    async def get_document(self, tenant: str, name: str) -> DocumentRow:
        """Raises NOT_FOUND, the same for another tenant's document."""
        async with self._database.connection() as connection:
            row = await store.get_document(connection, tenant, document_id(name))
        if row is None:
            raise not_found(name)
        return row

    async def list_documents(self, tenant: str, *, size: int, after: str = "") -> Page:
        """`size` documents after the id `after`."""
        async with self._database.connection() as connection:
            rows = await store.list_documents(connection, tenant, after, size + 1)
            revision = await store.corpus_revision(connection, tenant)
        more = len(rows) > size
        return Page(tuple(rows[:size]), rows[size - 1].id if more else "", revision)

    async def knowledge_revision(self, tenant: str) -> int:
        """Grows with every change that may change an answer, vectors arriving included; caches key on it."""
        async with self._database.connection() as connection:
            return await store.corpus_revision(connection, tenant)

    async def index_document(self, payload: bytes) -> None:
        """The job, see `Indexing.run`."""
        await self._indexing.run(payload)

    async def wait_indexed(self, tenant: str, names: Sequence[str], *, within: float = 120.0) -> None:
        """See `Indexing.wait`."""
        await self._indexing.wait(tenant, [document_id(name) for name in names], within=within)

    async def rebuild_index(self, tenant: str) -> int:
        """Throw the tenant's vectors away and have them all made again; passages are analysed again too.

        Returns how many documents were queued.
        """
        await self._index.drop(tenant)
        async with self._database.connection() as connection:
            ids = await store.document_ids(connection, tenant)
        for id in ids:
            await self._renew(tenant, id)
        return len(ids)

    async def repair(self) -> int:
        """For a clock: queue again what has waited too long for its vectors (a held job, another embedding model), and
        what the vector index has lost or holds too much of. Returns how many documents were queued."""
        async with self._database.transaction() as connection:
            stale = await store.stale_documents(connection, self._embedder.model, _STALE_SECONDS, _REPAIRED_AT_ONCE)
            for tenant, id, generation in stale:
                await ask_for_vectors(connection, self._enqueue, tenant, id, generation)
            tenants = await store.indexed_tenants(connection, self._embedder.model)
        queued = len(stale)
        for tenant in tenants:
            # Twice: a listing that is not a snapshot may miss what is there.
            if (astray := await self._astray(tenant)) and (astray := astray & await self._astray(tenant)):
                log.warning("vectors are missing or left over", extra={"tenant": tenant, "documents": len(astray)})
                await self._index_again(tenant, sorted(astray))
                queued += len(astray)
        return queued

    async def _astray(self, tenant: str) -> set[str]:
        """The documents whose vectors are not what they must be, and those that are gone but have some; without any
        that changed while the index was looked at."""
        before = await self._expected(tenant)
        held: dict[str, dict[str, int]] = {}
        for (id, revision), count in (await self._index.held(tenant)).items():
            held.setdefault(id, {})[revision] = count
        after = await self._expected(tenant)
        unchanged = {id for id in before.keys() | held.keys() if before.get(id) == after.get(id)}
        return {id for id in unchanged if not _fits(before.get(id), held.get(id, {}))}

    async def _expected(self, tenant: str) -> dict[str, ExpectedVectors]:
        async with self._database.connection() as connection:
            return await store.expected_vectors(connection, tenant, self._embedder.model)

    async def _index_again(self, tenant: str, ids: Sequence[str]) -> None:
        """Has the documents' vectors written anew and others removed; the vectors that are there serve meanwhile."""
        for at in range(0, len(ids), _REPAIRED_AT_ONCE):  # imports wait for one transaction, not for all
            async with self._database.transaction() as connection:
                corpus = await store.lock_corpus(connection, tenant)
                for id in ids[at : at + _REPAIRED_AT_ONCE]:
                    await store.reopen(connection, tenant, id)
                    generation = await store.generation_of(connection, tenant, id)
                    await ask_for_vectors(connection, self._enqueue, tenant, id, generation or corpus)

    def _same(self, present: DocumentRow, sha256: str, title: str) -> bool:
        return (
            present.sha256 == sha256
            and present.analysis == self._lexicon.analysis
            and (not title or present.title == title[:300])
        )

    async def _put(
        self,
        connection: Connection,
        tenant: str,
        id: str,
        source: Source,
        *,
        sha256: str,
        filename: str,
        size: int,
        generation: int,
    ) -> DocumentRow:
        chunks = await asyncio.to_thread(analyse, self._lexicon, source.title, source.sections)
        await store.remove_chunks(connection, tenant, id)
        row = await store.put_document(
            connection,
            tenant,
            id,
            generation=generation,
            sha256=sha256,
            title=source.title,
            filename=filename,
            media_type=source.media_type,
            language=main_language(chunks),
            size_bytes=size,
            chunk_count=len(chunks),
            analysis=self._lexicon.analysis,
        )
        await store.add_chunks(connection, tenant, row, chunks)
        return row

    async def _renew(self, tenant: str, id: str) -> None:
        """Analyses and embeds the current revision again; the revision itself, with its author, stays as it is."""
        async with self._database.transaction() as connection:
            generation = await store.lock_corpus(connection, tenant)
            row = await store.get_document(connection, tenant, id)
            if row is None:  # deleted since it was listed
                return
            source = Source(row.title, row.media_type, tuple(await store.get_sections(connection, tenant, id)))
            await self._put(
                connection, tenant, id, source, sha256=row.sha256, filename=row.filename, size=row.size_bytes,
                generation=generation,
            )  # fmt: skip
            await ask_for_vectors(connection, self._enqueue, tenant, id, generation)


def _fits(expected: ExpectedVectors | None, held: dict[str, int]) -> bool:
    if expected is None:
        return not held
    return not expected.settled or held == {expected.revision: expected.chunks}
