"""Scrubbing and restoring text that arrives in pieces.

Both give, for every way of cutting a text into pieces, exactly what they give for the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from server.pii.kinds import Kind, Span
from server.pii.scan import LEFT, WINDOW, Window, window_end
from server.pii.scrub import LONGEST_PLACEHOLDER, Restorer, Scrubber, marker, replace


def _begun(words: Iterable[str], gap: str) -> str:
    """A pattern of every proper beginning, from one letter on, of one of the words, whose "_" may be written `gap`."""
    beginnings = []
    for word in words:
        pattern = ""
        for char in reversed(word):
            written = gap if char == "_" else char
            pattern = f"{written}(?:{pattern})?" if pattern else written
        beginnings.append(pattern)
    return "|".join(beginnings)


_WRITTEN = [f"{kind}_" for kind in (*Kind, "TEXT")]
_LOOSELY = _begun(_WRITTEN, r"[_ \-]?")
_EXACTLY = _begun(_WRITTEN, "_")
# Everything at the end of a text that may still become a placeholder or a longer one; see PLACEHOLDER in scrub.py.
_COULD_BE_PLACEHOLDER = re.compile(
    rf"(?:[⟦\[【〚]\s?(?:{_LOOSELY})?(?:\d{{1,6}}\s?)?"
    rf"|(?<![A-Za-z0-9_])(?-i:{_EXACTLY})(?:\d{{1,6}}\s?)?)\Z",
    re.IGNORECASE,
)


class StreamScrubber:
    """Scrubs a stream: `feed` returns what can be passed on, `finish` the rest.

    Held back is the end of the text that may still become a finding: a few words of prose, up to 300 code points behind
    a digit, never more than one window (4,096).
    """

    def __init__(self, substitute: Callable[[str, tuple[Span, ...]], str] | None = None) -> None:
        self._substitute = substitute or _mark
        self._buffer = ""  # LEFT code points of the window before, then this window
        self._left = 0
        self._emitted = 0

    @classmethod
    def numbered(cls, scrubber: Scrubber) -> StreamScrubber:
        """A stream scrubber that writes the placeholders of `scrubber`."""
        return cls(scrubber.substitute)

    @property
    def held(self) -> int:
        """Code points taken in and not passed on yet."""
        return len(self._buffer) - self._emitted

    def feed(self, text: str) -> str:
        """Take the next piece; returns the scrubbed text that became settled, often empty."""
        self._buffer += text
        passed: list[str] = []
        while len(self._buffer) - self._left > WINDOW:
            full = self._buffer[: self._left + WINDOW]
            window = Window(full, final=False)
            end = window_end(window, self._left)
            passed.append(self._emit(window, end))
            left = min(end, LEFT)
            self._buffer = self._buffer[end - left :]
            self._left = self._emitted = left
        window = Window(self._buffer, final=False)
        if window.settled > self._emitted:
            passed.append(self._emit(window, window.settled))
        return "".join(passed)

    def finish(self) -> str:
        """The end of the stream: everything that was held back, scrubbed."""
        rest = self._emit(Window(self._buffer, final=True), len(self._buffer))
        self._buffer, self._left, self._emitted = "", 0, 0
        return rest

    def _emit(self, window: Window, end: int) -> str:
        start = self._emitted
        self._emitted = max(start, end)
        spans = tuple(
            Span(s.start - start, s.end - start, s.kind) for s in window.spans if s.start >= start and s.end <= end
        )
        return self._substitute(self._buffer[start:end], spans)


def _mark(text: str, spans: tuple[Span, ...]) -> str:
    return replace(text, spans, lambda span: marker(span.kind))


class StreamRestorer:
    """Puts originals back into a stream; held back is at most one partial placeholder (32 code points)."""

    def __init__(self, mapping: Mapping[str, str]) -> None:
        self._restorer = Restorer(mapping)
        self._seen = ""  # the last character that was passed on: it tells whether a word begins behind it
        self._held = ""

    @property
    def mangled(self) -> int:
        """Placeholders that were not written as they were given."""
        return self._restorer.mangled

    @property
    def unresolved(self) -> int:
        """Placeholders that stand for nothing in this run."""
        return self._restorer.unresolved

    @property
    def held(self) -> int:
        """Code points taken in and not passed on yet."""
        return len(self._held)

    def feed(self, text: str) -> str:
        """Take the next piece; returns the restored text that is complete."""
        text = self._seen + self._held + text
        start, cut = len(self._seen), len(text)
        match = _COULD_BE_PLACEHOLDER.search(text, max(start, cut - LONGEST_PLACEHOLDER))
        if match is not None:
            cut = match.start()
        return self._passed(text, start, cut)

    def finish(self) -> str:
        """The end of the stream: what was held back turned out to be text."""
        text = self._seen + self._held
        return self._passed(text, len(self._seen), len(text))

    def _passed(self, text: str, start: int, cut: int) -> str:
        restored = self._restorer.restore(text[:cut], start)
        self._seen, self._held = text[max(0, cut - 1) : cut], text[cut:]
        return restored
