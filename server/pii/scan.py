"""Finding personal data in a text of any length.

A text is scanned window by window (4,096 code points), and a window ends where no finding can be open, so that
`stream.py`, which sees the text piece by piece, finds exactly the same spans. Inside a window one automaton says which
rules concern the text at all; only those look closer.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Iterable

from server.pii import (
    address,
    contact,
    finance,
    identity,
    network,
    person,
    person_addressed,
    person_beside,
    person_chinese,
)
from server.pii.kinds import Kind, Span
from server.pii.normalise import BLANK, Folded, fold
from server.pii.patterns import Candidate, Rule, Triggers

WINDOW = 4096
LEFT = 64  # code points kept before a window, for the words that explain what follows

RULES: tuple[Rule, ...] = (
    *contact.RULES,
    *identity.RULES,
    *finance.RULES,
    *network.RULES,
    *person.RULES,
    *person_addressed.RULES,
    *person_beside.RULES,
    *person_chinese.RULES,
    *address.RULES,
)
_TRIGGERS = Triggers(RULES)
_SECRET_RULES = frozenset(network.RULES)  # nothing else finds secrets

# How far a finding (with the text that decides about it) can reach from where it starts, by what stands there.
_KEY_OPEN = re.compile(r"-----BEGIN ")
_KEY_CLOSED = re.compile(r"PRIVATE KEY(?: BLOCK)?-----[\s\S]*?-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
_STARTERS: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"(?i)\b(?:blk|block|apt|unit|level|no|lot|jalan|jln|jl|lorong|lor|persiaran|lebuh\w*|lengk\w*|"
                r"changkat|tingkat|kampon?g|kampung|kg|taman|tmn|bukit)\b|#|(?i:singapore|spore|s'pore|postal|"
                r"post ?code|poskod|zip)|\bS\s?\(?\d|大牌|第"), 300),
    (re.compile(r"\d\s*(?:号|弄|室|栋|幢|座|楼)|(?:路|街|道|巷|弄|坊|台|径)\s?\d"), 120),
    (re.compile(r"(?i)[^\W\d_](?:.)?\bdot\b|[(\[{<]\s?(?:at|dot)\b|\s(?:at|@)\s"), 260),
    (re.compile(r"\d|[+(]|\b(?i:zero|oh|one|two|three|four|five|six|seven|eight|nine|double|triple|kosong|satu|"
                r"dua|tiga|empat|lima|enam|tujuh|lapan|sembilan)\b"), 300),
)  # fmt: skip
_REPLACED = re.compile(r"\[(?:" + "|".join(Kind) + r")\]|⟦(?:" + "|".join(Kind) + r"|TEXT)_\d{1,6}⟧")
# Resource names, request ids and events are full of these, and chance makes an IBAN or a telephone number of one in
# some thousands. As a password it still counts.
_UUID = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z])")
_ROUNDS = 8
_WORDS_HELD = 9
_WIDE = "\u2e80"  # from here on scripts have no spaces between words; no pattern for ASCII text reaches across
_WIDE_HELD = 72


def candidates(folded: Folded, rules: Iterable[Rule]) -> list[Candidate]:
    """Everything that the rules report, overlaps included."""
    return [candidate for rule in rules for candidate in rule.find(folded)]


def triggered(folded: Folded) -> list[Rule]:
    """The rules that concern the text."""
    return [RULES[index] for index in _TRIGGERS.fired(folded)]


def resolve(found: list[Candidate]) -> list[Candidate]:
    """The candidates that stand, in order and without overlap: higher rank first, then the longer, then the earlier."""
    if len(found) < 2:
        return found
    kept: list[tuple[int, int]] = []
    chosen: list[Candidate] = []
    for candidate in sorted(_joined_secrets(found), key=lambda c: (-c.rank, c.start - c.end, c.start, c.kind)):
        place = bisect_left(kept, (candidate.start, candidate.end))
        if place and kept[place - 1][1] > candidate.start:
            continue
        if place < len(kept) and kept[place][0] < candidate.end:
            continue
        insort(kept, (candidate.start, candidate.end))
        chosen.append(candidate)
    chosen.sort()
    return chosen


def open_from(folded: Folded) -> int:
    """The first position of the folded text from where a finding may still be open at its end: whatever follows, the
    findings before it, and the text between them, are settled."""
    text = folded.text
    size = len(text)
    opening = size
    for pattern, reach in _STARTERS:
        match = pattern.search(text, max(0, size - reach))
        if match is not None:
            opening = min(opening, match.start())
    tail = max(0, size - _WIDE_HELD)
    if not text.isascii():
        wide = next((i for i in range(tail, size) if text[i] >= _WIDE), size)
        opening = min(opening, wide)
    for match in _KEY_OPEN.finditer(text):
        if not _KEY_CLOSED.search(text, match.start()):
            opening = min(opening, match.start())
            break
    return min(_words_start(text, opening), opening)


def _words_start(text: str, position: int) -> int:
    """Where the last words before `position` begin: they may start a name, an address or an e-mail."""
    start = position
    for _ in range(_WORDS_HELD):
        while start and text[start - 1].isspace():
            start -= 1
        while start and not text[start - 1].isspace() and text[start - 1] < _WIDE:
            start -= 1
    return start


def _joined_secrets(found: list[Candidate]) -> list[Candidate]:
    """Secrets that overlap as one: of a half-covered password no character may stay."""
    secrets = [c for c in found if c.kind is Kind.SECRET]
    if len(secrets) < 2:
        return found
    secrets.sort()
    joined = [secrets[0]]
    for secret in secrets[1:]:
        last = joined[-1]
        if secret.start < last.end:
            joined[-1] = last._replace(end=max(last.end, secret.end), rank=max(last.rank, secret.rank))
        else:
            joined.append(secret)
    return [*(c for c in found if c.kind is not Kind.SECRET), *joined]


class Window:
    """One look at a stretch of text: `spans` found in it and `settled`, the position up to which they are final
    whatever text follows (all of it when `final`). Positions are code points of `text`."""

    __slots__ = ("settled", "spans")

    def __init__(self, text: str, *, final: bool) -> None:
        folded = fold(text)
        if "[" in folded.text or "⟦" in folded.text:
            # Markers and placeholders of an earlier scrubbing: their words are no context.
            folded = folded.without(match.span() for match in _REPLACED.finditer(folded.text))
        spans: list[Span] = []
        ranges: list[tuple[int, int]] = []  # of every candidate: asked for only where more text may follow
        rest = folded
        if identifiers := _identifiers(folded.text):
            named = [rule for rule in triggered(rest) if rule in _SECRET_RULES]
            secrets = resolve([c for c in candidates(rest, named) if c.kind is Kind.SECRET])
            spans.extend(Span(*rest.original(c.start, c.end), c.kind) for c in secrets)
            ranges.extend((span.start, span.end) for span in spans)
            hidden = [(c.start, c.end) for c in secrets]
            hidden += [each for each in identifiers if not any(c.start < each[1] and each[0] < c.end for c in secrets)]
            rest = rest.without(sorted(hidden))
        # What was found is blanked out and the rest looked at again: a finding may have hidden another (a card number
        # behind a telephone number), and scrubbing what was scrubbed must find nothing new.
        for _ in range(_ROUNDS):
            found = _outside_blanks(rest, candidates(rest, triggered(rest)))
            if not found:
                break
            if not final:
                ranges.extend(rest.original(c.start, c.end) for c in found)
            standing = resolve(found)
            spans.extend(Span(*rest.original(c.start, c.end), c.kind) for c in standing)
            rest = rest.without([(c.start, c.end) for c in standing])
        spans.sort()
        self.spans = tuple(spans)
        self.settled = len(text) if final else self._settle(folded, ranges, len(text))

    @staticmethod
    def _settle(folded: Folded, ranges: list[tuple[int, int]], size: int) -> int:
        opening = open_from(folded)
        position = size if opening >= len(folded.text) else folded.original(opening, opening + 1)[0]
        # A candidate across the line, even one that lost, could win or lose otherwise when more text arrives.
        for start, end in sorted(ranges, reverse=True):
            if start < position < end:
                position = start
        return position


def _outside_blanks(folded: Folded, found: list[Candidate]) -> list[Candidate]:
    if BLANK not in folded.text:
        return found
    return [c for c in found if BLANK not in folded.text[c.start : c.end]]


def _identifiers(text: str) -> list[tuple[int, int]]:
    """Where UUIDs stand."""
    return [match.span() for match in _UUID.finditer(text)] if text.count("-") >= 4 else []


def scan(text: str) -> tuple[Span, ...]:
    """All personal data in `text`: spans in order, not overlapping, in code points of `text`. Never raises."""
    if len(text) <= WINDOW:
        return Window(text, final=True).spans
    spans: list[Span] = []
    start = 0
    while start < len(text):
        left = min(start, LEFT)
        final = len(text) - start <= WINDOW
        window = Window(text[start - left : start + WINDOW], final=final)
        end = window_end(window, left)
        spans.extend(
            Span(start - left + s.start, start - left + s.end, s.kind)
            for s in window.spans
            if s.start >= left and s.end <= end
        )
        start += end - left
    return tuple(spans)


def window_end(window: Window, left: int) -> int:
    """Where a full window is closed: at its last settled position, or at its very end when nothing in it settled."""
    return window.settled if window.settled > left else left + WINDOW
