"""Rows of documents, revisions, passages and terms. Every statement stands right above the one function that runs it.

Writers first call `lock_corpus`: it orders the changes of one tenant.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from server.db.pool import Connection
from server.knowledge.reader import Section


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document as stored. `id` is the part of its name after `documents/`; `state` is INDEXING, INDEXED or
    INDEX_FAILED; `generation` changes with every import of other bytes."""

    id: str
    generation: int
    revision: str
    sha256: str
    title: str
    filename: str
    media_type: str
    language: str
    size_bytes: int
    chunk_count: int
    analysis: str
    state: str
    embedding_model: str
    imported_at: datetime

    @property
    def name(self) -> str:
        return f"documents/{self.id}"


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A passage to be stored. `terms` and `heading_terms` are search terms of `Lexicon.document_terms`."""

    ordinal: int
    heading: str
    text: str
    language: str
    sha256: str
    embedded_text: str
    terms: frozenset[str]
    heading_terms: frozenset[str]


@dataclass(frozen=True, slots=True)
class FoundChunk:
    """A passage that may answer, with its document's title; `matched` are those of the asked terms that it holds."""

    document: str
    ordinal: int
    revision: str
    title: str
    heading: str
    text: str
    language: str
    sha256: str
    matched: frozenset[str]
    heading_terms: frozenset[str]

    @property
    def name(self) -> str:
        return chunk_name(self.document, self.ordinal, self.revision)


@dataclass(frozen=True, slots=True)
class ToEmbed:
    """A passage on its way to the vector index: the text for a multilingual model and the English one."""

    ordinal: int
    full_text: str
    embedded_text: str


@dataclass(frozen=True, slots=True)
class ExpectedVectors:
    """The vectors that a document has once it is `settled`: `chunks` of `revision`. Before, any may be there."""

    generation: int
    revision: str
    chunks: int
    settled: bool


def chunk_name(document: str, ordinal: int, revision: str) -> str:
    """The stable name of a passage; also its id in the vector index."""
    return f"documents/{document}/chunks/{ordinal}@{revision}"


_DOCUMENT_COLUMNS: Final = """id, generation, revision, sha256, title, filename, media_type, language, size_bytes,
    chunk_count, analysis, state, embedding_model, imported_at"""

REMOVE_TENANT: Final = """
with corpus as (delete from knowledge_corpus where tenant = $1) delete from tenant where id = $1"""


async def remove_tenant(connection: Connection, tenant: str) -> None:
    """Remove a tenant that has nothing any more but its empty corpus."""
    await connection.execute(REMOVE_TENANT, tenant)


LOCK_CORPUS: Final = """
insert into knowledge_corpus (tenant, revision) values ($1, 1)
on conflict (tenant) do update set revision = knowledge_corpus.revision + 1
returning revision"""


async def lock_corpus(connection: Connection, tenant: str) -> int:
    """The tenant's next corpus revision; other writers of the tenant wait until this transaction ends."""
    revision: int = await connection.fetchval(LOCK_CORPUS, tenant)
    return revision


CORPUS_REVISION: Final = "select revision from knowledge_corpus where tenant = $1"


async def corpus_revision(connection: Connection, tenant: str) -> int:
    """0 before the first import."""
    return await connection.fetchval(CORPUS_REVISION, tenant) or 0


GET_DOCUMENT: Final = f"select {_DOCUMENT_COLUMNS} from knowledge_document where tenant = $1 and id = $2"


async def get_document(connection: Connection, tenant: str, document: str) -> DocumentRow | None:
    row = await connection.fetchrow(GET_DOCUMENT, tenant, document)
    return _document(row) if row else None


LIST_DOCUMENTS: Final = f"""
select {_DOCUMENT_COLUMNS} from knowledge_document where tenant = $1 and id collate "C" > $2
order by id collate "C" limit $3"""


async def list_documents(connection: Connection, tenant: str, after: str, limit: int) -> list[DocumentRow]:
    """By id, after the id `after` ("" for the first page)."""
    return [_document(row) for row in await connection.fetch(LIST_DOCUMENTS, tenant, after, limit)]


DOCUMENT_IDS: Final = "select id from knowledge_document where tenant = $1 order by id"


async def document_ids(connection: Connection, tenant: str) -> list[str]:
    return [row["id"] for row in await connection.fetch(DOCUMENT_IDS, tenant)]


PUT_DOCUMENT: Final = f"""
insert into knowledge_document (tenant, id, generation, revision, sha256, title, filename, media_type, language,
    size_bytes, chunk_count, analysis)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
on conflict (tenant, id) do update set generation = excluded.generation, revision = excluded.revision,
    sha256 = excluded.sha256, title = excluded.title, filename = excluded.filename, media_type = excluded.media_type,
    language = excluded.language, size_bytes = excluded.size_bytes, chunk_count = excluded.chunk_count,
    analysis = excluded.analysis, state = 'INDEXING', embedding_model = '', imported_at = now()
returning {_DOCUMENT_COLUMNS}"""


async def put_document(
    connection: Connection,
    tenant: str,
    document: str,
    *,
    generation: int,
    sha256: str,
    title: str,
    filename: str,
    media_type: str,
    language: str,
    size_bytes: int,
    chunk_count: int,
    analysis: str,
) -> DocumentRow:
    """Insert or replace; the document is INDEXING afterwards."""
    row = await connection.fetchrow(
        PUT_DOCUMENT,
        tenant,
        document,
        generation,
        sha256[:16],
        sha256,
        title,
        filename,
        media_type,
        language,
        size_bytes,
        chunk_count,
        analysis,
    )
    if row is None:
        raise AssertionError("insert ... returning returns the row")
    return _document(row)


PUT_REVISION: Final = """
insert into knowledge_revision (tenant, document, revision, sha256, title, sections, imported_by)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (tenant, document, revision) do update set title = excluded.title, sections = excluded.sections,
    imported_at = now(), imported_by = excluded.imported_by"""


async def put_revision(
    connection: Connection, tenant: str, row: DocumentRow, sections: Sequence[Section], imported_by: str
) -> None:
    """The same revision again is the last one's who imported it."""
    words = json.dumps([[section.path, section.text] for section in sections], ensure_ascii=False)
    await connection.execute(PUT_REVISION, tenant, row.id, row.revision, row.sha256, row.title, words, imported_by)


GET_SECTIONS: Final = """
select s.value -> 0 as path, s.value ->> 1 as text
from knowledge_document d
join knowledge_revision r on r.tenant = d.tenant and r.document = d.id and r.revision = d.revision,
    jsonb_array_elements(r.sections) with ordinality as s (value, place)
where d.tenant = $1 and d.id = $2 order by s.place"""

_PATH: Final = "select array(select jsonb_array_elements_text($1::jsonb))"


async def get_sections(connection: Connection, tenant: str, document: str) -> list[Section]:
    """The words of the current revision, as they were read from the file."""
    rows = await connection.fetch(GET_SECTIONS, tenant, document)
    return [Section(tuple(await connection.fetchval(_PATH, row["path"])), row["text"]) for row in rows]


REMOVE_CHUNKS: Final = """
with gone as (
    delete from knowledge_chunk where tenant = $1 and document = $2 returning terms
), counted as (
    select term, count(*) as n from gone, unnest(tsvector_to_array(gone.terms)) as term group by term
), lowered as (
    update knowledge_term t set chunks = t.chunks - c.n from counted c where t.tenant = $1 and t.term = c.term
)
update knowledge_corpus set chunks = chunks - (select count(*) from gone) where tenant = $1"""

FORGET_TERMS: Final = "delete from knowledge_term where tenant = $1 and chunks = 0"


async def remove_chunks(connection: Connection, tenant: str, document: str) -> None:
    """Delete the passages of a document and take them out of the counts."""
    await connection.execute(REMOVE_CHUNKS, tenant, document)
    await connection.execute(FORGET_TERMS, tenant)


ADD_CHUNK: Final = """
insert into knowledge_chunk (tenant, document, ordinal, revision, heading, text, language, sha256, embedded_text, terms,
    heading_terms)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, array_to_tsvector($10::text[]), $11::text[])"""

COUNT_TERMS: Final = """
insert into knowledge_term (tenant, term, chunks)
select $1, term, count(*) from knowledge_chunk c, unnest(tsvector_to_array(c.terms)) as term
where c.tenant = $1 and c.document = $2 group by term
on conflict (tenant, term) do update set chunks = knowledge_term.chunks + excluded.chunks"""

COUNT_CHUNKS: Final = "update knowledge_corpus set chunks = chunks + $2 where tenant = $1"


async def add_chunks(connection: Connection, tenant: str, row: DocumentRow, chunks: Sequence[ChunkRow]) -> None:
    """Store the passages of a document that has none and count them in."""
    await connection.executemany(
        ADD_CHUNK,
        [
            (
                tenant,
                row.id,
                chunk.ordinal,
                row.revision,
                chunk.heading,
                chunk.text,
                chunk.language,
                chunk.sha256,
                chunk.embedded_text,
                sorted(chunk.terms),
                sorted(chunk.heading_terms),
            )
            for chunk in chunks
        ],
    )
    await connection.execute(COUNT_TERMS, tenant, row.id)
    await connection.execute(COUNT_CHUNKS, tenant, len(chunks))


DELETE_DOCUMENT: Final = "delete from knowledge_document where tenant = $1 and id = $2 returning generation"


async def delete_document(connection: Connection, tenant: str, document: str) -> int | None:
    """The generation that was deleted with its revisions, None when there was none. Call `remove_chunks` before."""
    generation: int | None = await connection.fetchval(DELETE_DOCUMENT, tenant, document)
    return generation


CHUNKS_TO_EMBED: Final = """
select c.ordinal, c.embedded_text, concat_ws('. ', d.title, nullif(c.heading, ''), c.text) as full_text
from knowledge_chunk c join knowledge_document d on d.tenant = c.tenant and d.id = c.document
where c.tenant = $1 and c.document = $2 and c.revision = $3 order by c.ordinal"""


async def chunks_to_embed(connection: Connection, tenant: str, document: str, revision: str) -> list[ToEmbed]:
    rows = await connection.fetch(CHUNKS_TO_EMBED, tenant, document, revision)
    return [ToEmbed(row["ordinal"], row["full_text"], row["embedded_text"]) for row in rows]


GENERATION: Final = "select generation from knowledge_document where tenant = $1 and id = $2"


async def generation_of(connection: Connection, tenant: str, document: str) -> int | None:
    generation: int | None = await connection.fetchval(GENERATION, tenant, document)
    return generation


SET_STATE: Final = """
update knowledge_document set state = $4, embedding_model = $5
where tenant = $1 and id = $2 and generation = $3 returning id"""


async def set_state(
    connection: Connection, tenant: str, document: str, generation: int, state: str, model: str
) -> bool:
    """False when the document has moved on to another generation or is gone."""
    return await connection.fetchval(SET_STATE, tenant, document, generation, state, model) is not None


REOPEN: Final = """
update knowledge_document set state = 'INDEXING', embedding_model = ''
where tenant = $1 and id = $2 and state = 'INDEXED'"""


async def reopen(connection: Connection, tenant: str, document: str) -> None:
    """An INDEXED document is INDEXING again: its vectors may not be what they should be."""
    await connection.execute(REOPEN, tenant, document)


STALE_DOCUMENTS: Final = """
select tenant, id, generation from knowledge_document
where (state <> 'INDEXED' or embedding_model <> $1) and imported_at < now() - make_interval(secs => $2)
order by imported_at limit $3"""


async def stale_documents(
    connection: Connection, model: str, age_seconds: float, limit: int
) -> list[tuple[str, str, int]]:
    """(tenant, id, generation) of documents without vectors of `model`, imported more than `age_seconds` ago."""
    rows = await connection.fetch(STALE_DOCUMENTS, model, age_seconds, limit)
    return [(row["tenant"], row["id"], row["generation"]) for row in rows]


INDEXED_TENANTS: Final = """
select distinct tenant from knowledge_document where state = 'INDEXED' and embedding_model = $1 order by tenant"""


async def indexed_tenants(connection: Connection, model: str) -> list[str]:
    """The tenants that must have vectors of `model`."""
    return [row["tenant"] for row in await connection.fetch(INDEXED_TENANTS, model)]


EXPECTED_VECTORS: Final = """
select id, generation, revision, chunk_count, state = 'INDEXED' and embedding_model = $2 as settled
from knowledge_document where tenant = $1"""


async def expected_vectors(connection: Connection, tenant: str, model: str) -> dict[str, ExpectedVectors]:
    """What the vector index of `model` must hold, by document."""
    rows = await connection.fetch(EXPECTED_VECTORS, tenant, model)
    return {
        row["id"]: ExpectedVectors(row["generation"], row["revision"], row["chunk_count"], row["settled"])
        for row in rows
    }


UNINDEXED: Final = """
select id, state from knowledge_document
where tenant = $1 and id = any($2::text[]) and state <> 'INDEXED' order by id"""


async def unindexed(connection: Connection, tenant: str, documents: Sequence[str]) -> dict[str, str]:
    """Those of the documents that are not INDEXED, with their state."""
    rows = await connection.fetch(UNINDEXED, tenant, list(documents))
    return {row["id"]: row["state"] for row in rows}


def _document(row: asyncpg.Record) -> DocumentRow:
    return DocumentRow(**dict(row))
