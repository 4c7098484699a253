"""What a search over a tenant's documents returns; plain values shared by knowledge and chat."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passage:
    """One chunk of one document revision that fits a query.

    `chunk` is the stable name `documents/{id}/chunks/{ordinal}@{revision}`; `document` is `documents/{id}`;
    `revision` is the first 16 hex digits of the document's SHA-256. `score` is in [0, 1]: the calibrated likelihood
    that the chunk answers the query, comparable between queries. `sha256` is the hex digest of `text`.
    """

    chunk: str
    document: str
    revision: str
    title: str
    heading: str
    text: str
    language: str
    score: float
    sha256: str


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Passages best first. `degraded` is true when the vector index could not be asked and only words were matched;
    `confident` is true when the best passage passes the threshold below which an assistant must abstain."""

    passages: tuple[Passage, ...]
    confident: bool
    degraded: bool
