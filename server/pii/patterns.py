"""Patterns that cannot backtrack: RE2 over the one-byte-per-character view of folded text.

Python's `re` is used elsewhere in this package only on slices of bounded length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import re2  # type: ignore[import-untyped]  # google-re2 ships no stubs; this file is the only importer

from server.pii.kinds import Kind
from server.pii.normalise import Folded

_MAX_MEMORY = 32 << 20  # bytes of DFA cache; past it RE2 falls back to a slower, still linear, automaton


class Candidate(NamedTuple):
    """A possible finding at `start:end` of the folded text; where two overlap the higher `rank` wins,
    then the longer."""

    start: int
    end: int
    kind: Kind
    rank: int


class Rule(NamedTuple):
    """One recogniser: `find` runs only when `trigger` (an RE2 pattern) occurs in the text, so every candidate that
    `find` can report must contain a match of `trigger`, context included."""

    name: str
    trigger: str
    find: Callable[[Folded], Iterator[Candidate]]


class Match(NamedTuple):
    """Where a pattern matched: the whole of it, and each group ((-1, -1) for a group that took no part)."""

    start: int
    end: int
    groups: Sequence[tuple[int, int]]


def _options(*, latin1: bool) -> re2.Options:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1 if latin1 else re2.Options.Encoding.UTF8
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    return options


_ANYWHERE = re2._Anchor.UNANCHORED  # noqa: SLF001 - the search beneath, as below
_NONE = (-1, -1)


def _finder(pattern: bytes, options: re2.Options) -> tuple[re2._Regexp, Callable[..., list[tuple[int, int]]]]:
    """The compiled pattern, and the search of RE2's own object beneath it: the range of the first match between two
    positions and of each group. The iterators and match objects above cost more than the search itself in texts of a
    few hundred characters."""
    compiled = re2.compile(pattern, options)
    return compiled, compiled._regexp.Match  # noqa: SLF001 - see above; every test of this package notices when it goes


class Pattern:
    """A compiled RE2 pattern for `Folded.data`. Matches are leftmost-first and do not overlap."""

    def __init__(self, pattern: str) -> None:
        self.source = pattern
        self._compiled, self._find = _finder(pattern.encode("ascii"), _options(latin1=True))

    def matches(self, data: bytes) -> Iterator[Match]:
        find, position, length = self._find, 0, len(data)
        while position <= length:
            whole, *groups = find(_ANYWHERE, data, position, length)
            if whole == _NONE:
                return
            start, end = whole
            yield Match(start, end, groups)
            position = end if end > start else start + 1

    def first(self, data: bytes, position: int) -> Match | None:
        """The first match at or behind `position`."""
        (start, end), *groups = self._find(_ANYWHERE, data, position, len(data))
        return None if start < 0 else Match(start, end, groups)

    def retrying(self, data: bytes, accept: Callable[[Match], Candidate | None]) -> Iterator[Candidate]:
        """Candidates that `accept` makes of matches. After a refused match the search goes on one character behind
        its start instead of behind its end, so a chance neighbour cannot swallow a real value."""
        position, length = 0, len(data)
        while position < length:
            match = self.first(data, position)
            if match is None:
                return
            candidate = accept(match)
            if candidate is None:
                position = match.start + 1
            else:
                yield candidate
                position = max(candidate.end, match.start + 1)


class WidePattern:
    """A compiled RE2 pattern for `Folded.text`, where letters beyond ASCII matter (Chinese context words)."""

    def __init__(self, pattern: str) -> None:
        self._compiled, self._find = _finder(pattern.encode(), _options(latin1=False))

    def matches(self, text: str) -> Iterator[Match]:
        # Lone surrogates have no UTF-8 form; "?" has the same length in code points.
        data = text.encode("utf-8", "replace")
        find, position, points, length = self._find, 0, 0, len(data)
        while position <= length:
            whole, *groups = find(_ANYWHERE, data, position, length)
            if whole == _NONE or whole[0] == whole[1]:
                return
            start = points + _code_points(data, position, whole[0])
            end = start + _code_points(data, *whole)
            inside = [
                (start + _code_points(data, whole[0], first), start + _code_points(data, whole[0], last))
                if first >= 0
                else _NONE
                for first, last in groups
            ]
            yield Match(start, end, inside)
            position, points = whole[1], end


def _code_points(data: bytes, start: int, end: int) -> int:
    return len(data[start:end].decode("utf-8"))


class Context:
    """Whether a pattern occurs in a few words beside a number. Ten times as fast as `re` for long lists of words that
    must reach the end of the slice, because RE2 tries them all at once."""

    def __init__(self, pattern: str) -> None:
        options = _options(latin1=False)
        options.case_sensitive = False
        self._compiled, self._find = _finder(pattern.encode(), options)

    def occurs(self, text: str) -> bool:
        data = text.encode("utf-8", "replace")
        return self._find(_ANYWHERE, data, 0, len(data))[0] != _NONE


class Several:
    """Which of some patterns occur, in a single pass: looking for each costs more than finding out that it is not
    there."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._patterns = patterns
        self._set = re2.Set.SearchSet(_options(latin1=True))
        for pattern in patterns:
            self._set.Add(pattern.source)
        self._set.Compile()

    def occurring(self, data: bytes) -> set[Pattern]:
        return {self._patterns[index] for index in self._set.Match(data) or ()}


class Triggers:
    """All triggers as one automaton: which rules a text could concern, in a single pass."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._set = re2.Set.SearchSet(_options(latin1=False))
        for rule in rules:
            self._set.Add(rule.trigger)
        self._set.Compile()

    def fired(self, folded: Folded) -> list[int]:
        """Indices of the rules whose trigger occurs, in ascending order."""
        data = folded.data if folded.text.isascii() else folded.text.encode("utf-8", "replace")
        return sorted(self._set.Match(data) or ())


def words(*alternatives: str) -> str:
    """A case-insensitive RE2 group of alternatives; the caller adds the boundaries it needs."""
    return "(?i:" + "|".join(alternatives) + ")"
