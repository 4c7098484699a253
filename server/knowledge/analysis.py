"""A file's sections to the rows that search needs. Pure and CPU-bound: run it in a thread for large documents."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from server.knowledge.chunking import chunk, width
from server.knowledge.language import detect
from server.knowledge.lexical import Lexicon
from server.knowledge.reader import Section
from server.knowledge.store import ChunkRow


def analyse(lexicon: Lexicon, title: str, sections: Sequence[Section]) -> list[ChunkRow]:
    """One row per chunk, in order. Title and headings are part of what a chunk is found by, not of its text."""
    rows = []
    for piece in chunk(sections):
        heading = f"{title}. {piece.heading}" if piece.heading else title
        full = f"{heading}. {piece.text}"
        language = detect(full).language
        rows.append(
            ChunkRow(
                ordinal=piece.ordinal,
                heading=piece.heading,
                text=piece.text,
                language=language,
                sha256=hashlib.sha256(piece.text.encode()).hexdigest(),
                embedded_text=full if language == "en" else lexicon.gloss(full) or full,
                terms=lexicon.document_terms(full),
                heading_terms=lexicon.document_terms(heading),
            )
        )
    return rows


def main_language(rows: Sequence[ChunkRow]) -> str:
    """The language that most of the text is in."""
    amounts: Counter[str] = Counter()
    for row in rows:
        amounts[row.language] += int(width(row.text))
    return max(sorted(amounts), key=lambda language: amounts[language])
