"""Sections to chunks: the passages that are embedded, found and cited.

A section that fits stays whole, because its heading and its text answer together. A longer one is cut between
paragraphs, then lines (a table row or a list item is a line), then sentences, and only then between words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from server.knowledge.reader import Section

MAX_WIDTH = 1000  # of a chunk: about 220 tokens of MiniLM's 256, leaving room for title and heading
_CHINESE_WIDTH = 2.5  # a Chinese character says as much as this many Latin letters

_CHINESE = re.compile(r"[\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef]")
_SENTENCE = re.compile(r"(?<=[。！？；])|(?<=[.!?;])(?=\s+\S)")
_WORD = re.compile(r"\s*\S+|\s+")


@dataclass(frozen=True, slots=True)
class Chunk:
    """`heading` is the path of headings, outermost first, joined by " > "; `text` holds no heading."""

    ordinal: int
    heading: str
    text: str


def width(text: str) -> float:
    """Length in Latin letters; Chinese counts 2.5 a character."""
    return len(text) + (_CHINESE_WIDTH - 1) * len(_CHINESE.findall(text))


def chunk(sections: Sequence[Section], limit: float = MAX_WIDTH) -> list[Chunk]:
    """Every word of the sections in order, in chunks of at most `limit` width; a chunk never spans two sections."""
    chunks: list[Chunk] = []
    for section in sections:
        heading = " > ".join(section.path)
        for text in split(section.text, limit):
            chunks.append(Chunk(len(chunks), heading, text))
    return chunks


def split(text: str, limit: float = MAX_WIDTH) -> list[str]:
    """`text` in pieces of at most `limit` width, cut at the coarsest boundary that allows it; no blank pieces."""
    pieces = [text]
    for cut in (_paragraphs, _lines, _sentences, _words, _characters):
        pieces = [
            part for piece in pieces for part in (_packed(cut(piece), limit) if width(piece) > limit else [piece])
        ]
    return [piece.strip() for piece in pieces if piece.strip()]


def sentences(text: str) -> list[str]:
    """The sentences of a passage, without blanks around them; lines end sentences too."""
    return [part.strip() for line in text.splitlines() for part in _SENTENCE.split(line) if part.strip()]


def _packed(parts: Iterator[str], limit: float) -> list[str]:
    """Neighbouring parts joined as long as they fit."""
    packed: list[str] = []
    used = 0.0
    for part in parts:
        size = width(part)
        if packed and used + size <= limit:
            packed[-1] += part
            used += size
        else:
            packed.append(part)
            used = size
    return packed


def _paragraphs(text: str) -> Iterator[str]:
    yield from re.split(r"(?<=\n\n)", text)


def _lines(text: str) -> Iterator[str]:
    yield from text.splitlines(keepends=True)


def _sentences(text: str) -> Iterator[str]:
    yield from _SENTENCE.split(text)


def _words(text: str) -> Iterator[str]:
    yield from _WORD.findall(text)


def _characters(text: str) -> Iterator[str]:
    yield from text
