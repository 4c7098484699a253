"""Replacing personal data: by its kind for logs, by numbered placeholders that can be restored for the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from server.pii.kinds import Kind, Span
from server.pii.scan import scan

# Text that looks like a placeholder, exactly or as a model may mangle it: in other case, with spaces, with other
# brackets, or with one missing. A plain "[" needs its end, because prose has brackets too; without any bracket the
# spelling must be exact.
_EXACT = "|".join([*Kind, "TEXT"])
_LOOSE = _EXACT.replace("_", r"[_ \-]?")


def _placeholders(word_begins: str, word_ends: str, number_ends: str) -> re.Pattern[str]:
    return re.compile(
        rf"[⟦【〚]\s?({_LOOSE})[_ \-]?(\d{{1,6}})(?:\s?[⟧\]】〛]|{number_ends})"
        rf"|\[\s?({_LOOSE})[_ \-]?(\d{{1,6}})\s?[⟧\]】〛]"
        rf"|{word_begins}(?-i:({_EXACT})_(\d{{1,6}}))(?:\s?[⟧】〛]|{word_ends})",
        re.IGNORECASE,
    )


PLACEHOLDER = _placeholders(r"(?<![A-Za-z0-9_])", r"(?![A-Za-z0-9_])", r"(?!\d)")
# What a text may not have of itself: everything that could be one with other neighbours than it has now.
_LIKE_ONE = _placeholders("", "", "")
LONGEST_PLACEHOLDER = 32


def marker(kind: Kind) -> str:
    """What stands in logs where personal data stood, e.g. `[EMAIL]`."""
    return f"[{kind}]"


def replace(text: str, spans: Sequence[Span], substitute: Callable[[Span], str]) -> str:
    """`text` with every span replaced; spans must be in order and must not overlap."""
    if not spans:
        return text
    parts: list[str] = []
    position = 0
    for span in spans:
        parts.append(text[position : span.start])
        parts.append(substitute(span))
        position = span.end
    parts.append(text[position:])
    return "".join(parts)


def scrub(text: str) -> str:
    """`text` with personal data replaced by markers of its kind: for logs, audit details and error reports."""
    return replace(text, scan(text), lambda span: marker(span.kind))


class Scrubber:
    """Replaces personal data by placeholders such as `⟦EMAIL_1⟧`, the same value by the same placeholder.

    One scrubber serves one run: every text of its prompt goes through it, and `mapping` (placeholder to original) must
    neither outlive the run nor be logged. What the text itself has that looks like a placeholder is replaced too (kind
    TEXT), so no one can have another's value restored by writing its placeholder. A card number becomes the marker
    `[CREDIT_CARD]` and is in no mapping: nothing brings it back. `cards` counts them.
    """

    def __init__(self) -> None:
        self.mapping: dict[str, str] = {}
        self.cards = 0
        self._placeholders: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}

    def __call__(self, text: str) -> tuple[str, Mapping[str, str]]:
        """The scrubbed text and the mapping so far."""
        return self.scrub(text), self.mapping

    def scrub(self, text: str) -> str:
        """The scrubbed text; `restore` with `mapping` gives back `text` exactly, except for card numbers."""
        return self.substitute(text, scan(text))

    def substitute(self, text: str, spans: Sequence[Span]) -> str:
        """As `scrub`, with spans that were found already."""
        parts: list[str] = []
        position = 0
        for span in spans:
            parts.append(self._escape(text[position : span.start]))
            if span.kind is Kind.CREDIT_CARD:
                self.cards += 1
                parts.append(marker(span.kind))
            else:
                parts.append(self._placeholder(span.kind, text[span.start : span.end]))
            position = span.end
        parts.append(self._escape(text[position:]))
        return "".join(parts)

    def _escape(self, text: str) -> str:
        return _LIKE_ONE.sub(lambda match: self._placeholder("TEXT", match[0]), text)

    def _placeholder(self, kind: str, original: str) -> str:
        placeholder = self._placeholders.get((kind, original))
        if placeholder is None:
            number = self._counts.get(kind, 0) + 1
            self._counts[kind] = number
            placeholder = f"⟦{kind}_{number}⟧"
            self._placeholders[kind, original] = placeholder
            self.mapping[placeholder] = original
        return placeholder


class Restorer:
    """Puts originals back. Mangled placeholders are understood and counted; one that the mapping does not hold is
    counted and shown as the marker of its kind, never as a raw placeholder and never as somebody's value."""

    def __init__(self, mapping: Mapping[str, str]) -> None:
        self._mapping = mapping
        self.mangled = 0
        self.unresolved = 0

    def restore(self, text: str, start: int = 0) -> str:
        """`text` from `start` on; what stands before is looked at only."""
        parts: list[str] = []
        for match in PLACEHOLDER.finditer(text, start):
            parts += (text[start : match.start()], self._original(match))
            start = match.end()
        parts.append(text[start:])
        return "".join(parts)

    def _original(self, match: re.Match[str]) -> str:
        kind, number = next((match[i], match[i + 1]) for i in (1, 3, 5) if match[i])
        kind = _CANONICAL[re.sub(r"[_ \-]", "", kind.upper())]
        placeholder = f"⟦{kind}_{int(number)}⟧"
        self.mangled += match[0] != placeholder
        original = self._mapping.get(placeholder)
        if original is None:
            self.unresolved += 1
            return f"[{kind}]"
        return original


_CANONICAL = {kind.replace("_", ""): str(kind) for kind in (*Kind, "TEXT")}


def restore(text: str, mapping: Mapping[str, str]) -> str:
    """`Restorer` for one whole text."""
    return Restorer(mapping).restore(text)
