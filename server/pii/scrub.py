"""Replacing personal data: by its kind for logs, by numbered placeholders that can be restored for the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from server.pii.kinds import Kind, Span
from server.pii.scan import scan

# Text that looks like a placeholder, exactly or as a model may mangle it (case, spaces, other brackets).
_KINDS = "|".join(kind.value.replace("_", r"[_ \-]?") for kind in Kind) + "|TEXT"
PLACEHOLDER = re.compile(rf"[⟦\[【〚]\s?({_KINDS})[_ \-]?(\d{{1,6}})\s?[⟧\]】〛]", re.IGNORECASE)
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
    TEXT), so no one can have another's value restored by writing its placeholder.
    """

    def __init__(self) -> None:
        self.mapping: dict[str, str] = {}
        self._placeholders: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}

    def __call__(self, text: str) -> tuple[str, Mapping[str, str]]:
        """The scrubbed text and the mapping so far."""
        return self.scrub(text), self.mapping

    def scrub(self, text: str) -> str:
        """The scrubbed text; `restore` with `mapping` gives back `text` exactly."""
        return self.substitute(text, scan(text))

    def substitute(self, text: str, spans: Sequence[Span]) -> str:
        """As `scrub`, with spans that were found already."""
        parts: list[str] = []
        position = 0
        for span in spans:
            parts.append(self._escape(text[position : span.start]))
            parts.append(self._placeholder(span.kind, text[span.start : span.end]))
            position = span.end
        parts.append(self._escape(text[position:]))
        return "".join(parts)

    def _escape(self, text: str) -> str:
        return PLACEHOLDER.sub(lambda match: self._placeholder("TEXT", match[0]), text)

    def _placeholder(self, kind: str, original: str) -> str:
        placeholder = self._placeholders.get((kind, original))
        if placeholder is None:
            number = self._counts.get(kind, 0) + 1
            self._counts[kind] = number
            placeholder = f"⟦{kind}_{number}⟧"
            self._placeholders[kind, original] = placeholder
            self.mapping[placeholder] = original
        return placeholder


def restore(text: str, mapping: Mapping[str, str]) -> str:
    """Put the originals back. Mangled placeholders are understood; one that the mapping does not hold is shown as the
    marker of its kind, never as a raw placeholder."""
    return PLACEHOLDER.sub(lambda match: _original(match, mapping), text)


def _original(match: re.Match[str], mapping: Mapping[str, str]) -> str:
    kind = re.sub(r"[ \-]", "_", match[1].upper())
    return mapping.get(f"⟦{_canonical(kind)}_{int(match[2])}⟧", f"[{_canonical(kind)}]")


def _canonical(kind: str) -> str:
    return next((k.value for k in Kind if k.value.replace("_", "") == kind.replace("_", "")), "TEXT")
