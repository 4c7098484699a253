"""The statements behind a search: how often terms occur, which passages hold them, and what those passages say.

The tenant is part of every condition, so a passage of another tenant is never read, not even to be dropped later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from server.db.pool import Connection
from server.knowledge.ranking import Statistics
from server.knowledge.store import FoundChunk

TERM_STATISTICS: Final = """
select term, chunks from knowledge_term where tenant = $1 and term = any($2::text[])
union all select '', chunks from knowledge_corpus where tenant = $1"""


async def term_statistics(connection: Connection, tenant: str, terms: Sequence[str]) -> Statistics:
    rows = await connection.fetch(TERM_STATISTICS, tenant, list(terms))
    frequency = {row["term"]: row["chunks"] for row in rows}
    return Statistics(chunks=frequency.pop("", 0), frequency=frequency)


SIMILAR_TERMS: Final = """
select distinct on (w.word) w.word, t.term
from unnest($2::text[]) as w (word)
join knowledge_term t on t.tenant = $1 and t.term % w.word
where similarity(t.term, w.word) >= $3
order by w.word, similarity(t.term, w.word) desc, t.term"""


async def similar_terms(connection: Connection, tenant: str, words: Sequence[str], threshold: float) -> dict[str, str]:
    """For each misspelt word the nearest term of the tenant's documents, by trigrams (pg_trgm)."""
    rows = await connection.fetch(SIMILAR_TERMS, tenant, list(words), threshold)
    return {row["word"]: row["term"] for row in rows}


MATCHING_CHUNKS: Final = """
select c.document, c.ordinal
from unnest($2::text[], $3::float8[]) as q (term, weight)
join knowledge_chunk c on c.tenant = $1 and c.terms @@ (quote_literal(q.term))::tsquery
group by c.document, c.ordinal
order by sum(q.weight) desc, c.document, c.ordinal limit $4"""


async def matching_chunks(
    connection: Connection, tenant: str, weights: dict[str, float], limit: int
) -> list[tuple[str, int]]:
    """(document, ordinal) of the passages that hold the most weight of terms, best first."""
    rows = await connection.fetch(MATCHING_CHUNKS, tenant, list(weights), list(weights.values()), limit)
    return [(row["document"], row["ordinal"]) for row in rows]


LOAD_CHUNKS: Final = """
select c.document, c.ordinal, c.revision, d.title, c.heading, c.text, c.language, c.sha256, c.heading_terms,
    array(select lexeme from unnest(c.terms) where lexeme = any($4::text[])) as matched
from unnest($2::text[], $3::integer[]) as w (document, ordinal)
join knowledge_chunk c on c.tenant = $1 and c.document = w.document and c.ordinal = w.ordinal
join knowledge_document d on d.tenant = c.tenant and d.id = c.document"""


async def load_chunks(
    connection: Connection, tenant: str, places: Sequence[tuple[str, int]], terms: Sequence[str]
) -> list[FoundChunk]:
    """The current passages at the places; one that is gone is left out."""
    documents = [document for document, _ in places]
    ordinals = [ordinal for _, ordinal in places]
    rows = await connection.fetch(LOAD_CHUNKS, tenant, documents, ordinals, list(terms))
    return [
        FoundChunk(
            document=row["document"],
            ordinal=row["ordinal"],
            revision=row["revision"],
            title=row["title"],
            heading=row["heading"],
            text=row["text"],
            language=row["language"],
            sha256=row["sha256"],
            matched=frozenset(row["matched"]),
            heading_terms=frozenset(row["heading_terms"]),
        )
        for row in rows
    ]
