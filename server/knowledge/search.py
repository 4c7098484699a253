"""Hybrid retrieval: passages near in meaning and passages that hold the words, ranked by one calibrated probability.

Vectors and words are asked for at the same time. Without Chroma the words answer alone, with weights of their own, and
the result says that it is degraded.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from dataclasses import dataclass

from server.db.pool import Database
from server.knowledge import matching
from server.knowledge.embedding import Embedder, EmbeddingFailed
from server.knowledge.language import detect
from server.knowledge.lexical import FUZZY, Lexicon, Question
from server.knowledge.passages import Passage, SearchResult
from server.knowledge.ranking import (
    HYBRID,
    WORDS_ONLY,
    Evidence,
    Statistics,
    Weights,
    features,
    language_fit,
    probability,
)
from server.knowledge.store import FoundChunk
from server.knowledge.vectors import Hit, KnowledgeIndexUnavailable, VectorIndex

log = logging.getLogger(__name__)

_NEAREST = 40  # candidates by meaning
_MATCHING = 40  # candidates by words
_MAX_QUESTION = 2000  # characters; a longer message is cut, its first words say what it is about
_SURE = 0.6  # confidence of the language detection from which it overrules the caller's hint
_CHUNK_NAME = re.compile(r"documents/(?P<document>[^/]+)/chunks/(?P<ordinal>\d+)@(?P<revision>[0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question with what the tenant's corpus says about its terms."""

    question: Question
    statistics: Statistics
    language: str


class KnowledgeSearch:
    """Searches the documents of one tenant at a time; holds no state of its own."""

    def __init__(self, database: Database, index: VectorIndex, embedder: Embedder, lexicon: Lexicon) -> None:
        self._database = database
        self._index = index
        self._embedder = embedder
        self._lexicon = lexicon

    async def search(self, tenant: str, query: str, limit: int, language_hint: str = "") -> SearchResult:
        """At most `limit` passages, best first. `language_hint` (BCP 47) decides where the text does not.

        Raises AppError UNAVAILABLE when PostgreSQL is away; without Chroma the result is `degraded`.
        """
        text = query[:_MAX_QUESTION].strip()
        language = _language(text, language_hint)
        near = asyncio.create_task(self._near(tenant, text, language), name="knowledge-near")
        try:
            asked, places = await self._by_words(tenant, text, language)
            hits = await near
        finally:
            near.cancel()
            await asyncio.wait({near})
        if not asked.statistics.chunks:
            return SearchResult((), confident=False, degraded=False)
        # An index without any vector for a corpus that has passages is a lost or a very young one.
        degraded = not hits
        chunks = await self._load(tenant, asked, places, hits or [])
        weights = WORDS_ONLY if degraded else HYBRID
        ranked = self._ranked(asked, chunks, hits or [], weights)[:limit]
        confident = bool(ranked) and ranked[0].score >= weights.threshold
        return SearchResult(tuple(ranked), confident=confident, degraded=degraded)

    async def _near(self, tenant: str, text: str, language: str) -> list[Hit] | None:
        """The nearest vectors, or None when they cannot be had."""
        said = text
        if not self._embedder.multilingual and language != "en":
            said = self._lexicon.gloss(text) or text
        try:
            return await self._index.query(tenant, await self._embedder.embed_query(said), _NEAREST)
        except (KnowledgeIndexUnavailable, EmbeddingFailed) as away:
            log.warning("searching by words only: %s", away)
            return None

    async def _by_words(self, tenant: str, text: str, language: str) -> tuple[_Asked, list[tuple[str, int]]]:
        async with self._database.connection() as connection:
            question = self._lexicon.question(text)
            statistics = await matching.term_statistics(connection, tenant, question.terms)
            misspelt = [unit.word for unit in question.units if unit.latin and statistics.unknown(unit)]
            if misspelt:
                nearest = await matching.similar_terms(connection, tenant, misspelt, FUZZY)
                question = question.corrected({word: nearest.get(word, "") for word in misspelt})
                statistics = await matching.term_statistics(connection, tenant, question.terms)
            weights = {
                term: statistics.weight(unit)
                for unit in question.units
                for term in (*unit.exact, *unit.related)
                if statistics.frequency.get(term)
            }
            places = await matching.matching_chunks(connection, tenant, weights, _MATCHING) if weights else []
        return _Asked(question, statistics, language), places

    async def _load(
        self, tenant: str, asked: _Asked, places: list[tuple[str, int]], hits: list[Hit]
    ) -> list[FoundChunk]:
        named = (_CHUNK_NAME.fullmatch(hit.id) for hit in hits)
        near = [(found["document"], int(found["ordinal"])) for found in named if found]
        async with self._database.connection() as connection:
            return await matching.load_chunks(
                connection, tenant, list(dict.fromkeys([*near, *places])), asked.question.terms
            )

    def _ranked(self, asked: _Asked, chunks: list[FoundChunk], hits: list[Hit], weights: Weights) -> list[Passage]:
        cosines = {hit.id: hit.cosine for hit in hits}
        # A passage that only its words brought here is no nearer than the last of the near ones.
        farthest = min(cosines.values(), default=0.0)
        scored = []
        for chunk in chunks:
            closeness = self._embedder.scale.apply(cosines.get(chunk.name, farthest)) if hits else None
            evidence = Evidence(
                chunk.matched, chunk.heading_terms, closeness, language_fit(asked.language, chunk.language)
            )
            score = probability(features(asked.question, asked.statistics, evidence), weights)
            scored.append(_passage(chunk, score))
        return sorted(scored, key=lambda passage: (-passage.score, passage.chunk))


def _language(text: str, hint: str) -> str:
    detected = detect(text)
    hinted = hint.split("-", maxsplit=1)[0].lower()
    return hinted if hinted in ("en", "zh", "ms") and detected.confidence < _SURE else detected.language


def _passage(chunk: FoundChunk, score: float) -> Passage:
    return Passage(
        chunk=chunk.name,
        document=f"documents/{chunk.document}",
        revision=chunk.revision,
        title=chunk.title,
        heading=chunk.heading,
        text=chunk.text,
        language=chunk.language,
        score=round(score, 4) if math.isfinite(score) else 0.0,
        sha256=chunk.sha256,
    )
