"""Folding: the text as a recogniser should see it, with offsets back to the text as it was written.

Every fold maps one code point to one code point (full-width, circled and mathematical digits and letters, accented
Latin, dashes, spaces, quotes) or drops it (zero-width characters, soft hyphen, combining marks, keycaps), so
positions stay exact and the fold of a text is the concatenation of the folds of its parts: what streaming relies
on.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from array import array
from collections.abc import Iterable
from typing import NamedTuple

_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d\u00ad"
_QUOTES = "\u2018\u2019\u201a\u201b\u02bc\uff07"
_DOTS = "\u2024\ufe52\uff0e\uff61"
_INVISIBLE_EXTRA = (0x034F, 0x20E3, 0x3164, 0xFFA0)  # grapheme joiner, keycap, Hangul fillers
_COMBINING = range(0x0300, 0x0370)
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)
BLANK = "\x01"
_FIRST_NON_ASCII = 0x80
_NEVER_FOLDED = (range(0x3400, 0xF900), range(0x20000, 0xE0000), range(0xE1000, sys.maxunicode + 1))


def _folded(code: int) -> str | None:
    """The ASCII stand-in of one code point, "" when it is invisible, None when it folds to nothing simpler."""
    char = chr(code)
    category = unicodedata.category(char)
    if category == "Cf" or code in _COMBINING or code in _VARIATION_SELECTORS or code in _INVISIBLE_EXTRA:
        return ""
    if category in {"Zs", "Zl", "Zp"}:
        return "\n" if category != "Zs" else " "
    if category == "Nd":
        return str(unicodedata.digit(char))
    plain = unicodedata.normalize("NFKD", char)
    if len(plain) == 1 and plain.isascii() and plain.isprintable():
        return plain
    if category in {"Lu", "Ll"} and plain[0].isascii() and all(unicodedata.combining(c) for c in plain[1:]):
        return plain[0]
    return None


def _table() -> dict[int, str]:
    table: dict[int, str] = {}
    for code in range(_FIRST_NON_ASCII, sys.maxunicode + 1):
        # CJK ideographs, Hangul, surrogates and private use never fold; skipping them keeps start-up short.
        if any(code in block for block in _NEVER_FOLDED):
            continue
        stand_in = _folded(code)
        if stand_in is not None:
            table[code] = stand_in
    table.update({ord(c): "-" for c in _DASHES})
    table.update({ord(c): "'" for c in _QUOTES})
    table.update({ord(c): "." for c in _DOTS})
    table[0xAD] = ""
    return table


def _character_class(codes: list[int]) -> str:
    """A regular expression class of the sorted code points, written as ranges."""
    parts: list[str] = []
    start = previous = codes[0]
    for code in [*codes[1:], -1]:
        if code != previous + 1:
            parts.append(f"{re.escape(chr(start))}-{re.escape(chr(previous))}")
            start = code
        previous = code
    return "[" + "".join(parts) + "]"


_TABLE = _table()
_FOLDABLE = re.compile(_character_class(sorted(_TABLE)))
_INVISIBLE = re.compile(_character_class(sorted(code for code, stand_in in _TABLE.items() if not stand_in)))


def _stand_in(match: re.Match[str]) -> str:
    return _TABLE[ord(match[0])]


_COUNTING = array("l", range(8192))  # slices of it are copied at once, a range number by number


class Folded(NamedTuple):
    """`text` folded; `data` the same with every remaining non-ASCII character as "?", one byte per code point;
    `offsets[i]` the original position of `text[i]`, or None where they are equal."""

    text: str
    data: bytes
    offsets: array[int] | None

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The original range of `text[start:end]` (end > start)."""
        if self.offsets is None:
            return start, end
        return self.offsets[start], self.offsets[end - 1] + 1

    def without(self, ranges: Iterable[tuple[int, int]]) -> Folded:
        """The same with each range (in order, not overlapping) as one `BLANK`, which no recogniser takes for text."""
        texts: list[str] = []
        offsets: array[int] = array("l")
        position = 0
        for start, end in ranges:
            texts += (self.text[position:start], BLANK)
            offsets.extend(self._positions(position, start + 1))
            position = end
        texts.append(self.text[position:])
        offsets.extend(self._positions(position, len(self.text)))
        text = "".join(texts)
        return Folded(text, text.encode("ascii", "replace"), offsets)

    def _positions(self, start: int, end: int) -> Iterable[int]:
        if self.offsets is not None:
            return self.offsets[start:end]
        return _COUNTING[start:end] if end <= len(_COUNTING) else range(start, end)


def fold(text: str) -> Folded:
    """Fold any text; never raises, lone surrogates included."""
    if text.isascii():
        return Folded(text, text.encode("ascii"), None)
    offsets: array[int] | None = None
    if _FOLDABLE.search(text) is not None:
        if _INVISIBLE.search(text) is not None:
            hidden = {match.start() for match in _INVISIBLE.finditer(text)}
            offsets = array("l", (i for i in range(len(text)) if i not in hidden))
        # str.translate pays an exception for every character that has no entry: slow on Chinese text.
        text = _FOLDABLE.sub(_stand_in, text)
    return Folded(text, text.encode("ascii", "replace"), offsets)
