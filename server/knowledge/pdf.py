"""Child program of reader.py: a PDF on standard input, `[[level, text], …]` as JSON on standard output.

Its own process, because pypdf runs on hostile bytes here: memory and CPU time are bounded by the kernel, and a parser
that loops or dies takes nothing with it. Exit codes: 2 damaged, 3 password, 4 too many pages, 5 no text.
"""

from __future__ import annotations

import io
import json
import logging
import resource
import statistics
import sys
from dataclasses import dataclass
from typing import Any

from pypdf import PdfReader
from pypdf.errors import DependencyError, PyPdfError

MAX_PAGES = 300
_MEMORY = 512 << 20  # bytes
_CPU_SECONDS = 10
_MAX_CHARACTERS = 1_000_001  # one more than the reader accepts, so that it sees the excess
_HEADING_RATIO = 1.12  # a line this much larger than the body text is a heading
_HEADING_LENGTH = 120
_PARAGRAPH_GAP = 1.6  # distance of two lines, in font sizes, from which a new paragraph begins

DAMAGED, PASSWORD, TOO_MANY_PAGES, NO_TEXT = 2, 3, 4, 5


@dataclass(slots=True)
class Line:
    """One line of a page: its words, font size and distance below the line before, both in points."""

    text: str
    size: float
    gap: float


def lines_of(reader: PdfReader) -> list[Line]:
    """All lines in reading order as pypdf sees it."""
    lines: list[Line] = []
    total = 0
    for page in reader.pages:
        height = [0.0]

        def visit(text: str, cm: Any, tm: Any, _font: Any, size: float, height: list[float] = height) -> None:
            scale = abs(tm[3] * cm[3]) or 1.0
            y = tm[5] * cm[3] + cm[5]
            for place, part in enumerate(text.split("\n")):
                words = " ".join(part.split())
                if not words:
                    continue
                same = lines and place == 0 and abs(height[0] - y) < 1.0 and height[0] != 0.0
                if same:
                    lines[-1].text += " " + words
                else:
                    lines.append(Line(words, size * scale, abs(height[0] - y) if height[0] else 0.0))
                height[0] = y

        page.extract_text(visitor_text=visit)
        total = sum(len(line.text) for line in lines)
        if total > _MAX_CHARACTERS:
            break
    return lines


def blocks_of(lines: list[Line]) -> list[tuple[int, str]]:
    """Headings by font size (the largest is level 1), the rest joined to paragraphs by the gaps between lines."""
    body = statistics.median_low([line.size for line in lines for _ in range(1 + len(line.text) // 20)])
    large = sorted({round(line.size, 1) for line in lines if line.size > body * _HEADING_RATIO}, reverse=True)
    levels = {size: min(place, 6) for place, size in enumerate(large, start=1)}
    blocks: list[tuple[int, str]] = []
    for line in lines:
        level = levels.get(round(line.size, 1), 0) if len(line.text) <= _HEADING_LENGTH else 0
        continues = blocks and not level and blocks[-1][0] == 0 and line.gap <= body * _PARAGRAPH_GAP
        if continues:
            blocks[-1] = (0, f"{blocks[-1][1]} {line.text}")
        else:
            blocks.append((level, line.text))
    return blocks


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    logging.disable(logging.CRITICAL)
    try:
        reader = PdfReader(io.BytesIO(sys.stdin.buffer.read()))
        if reader.is_encrypted and not reader.decrypt(""):
            return PASSWORD
        if len(reader.pages) > MAX_PAGES:
            return TOO_MANY_PAGES
        lines = lines_of(reader)
    except DependencyError:
        return PASSWORD
    except (PyPdfError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, MemoryError):
        # What pypdf raises on damaged files besides its own errors; the process ends here either way.
        return DAMAGED
    if not lines:
        return NO_TEXT
    sys.stdout.write(json.dumps(blocks_of(lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
