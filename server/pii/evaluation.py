"""Measuring the recognisers against labelled messages.

A finding counts when its kind is right and it covers the labelled range except for at most two characters at either
edge (a sentence's full stop, a bracket): what matters is whether the value is hidden and the neighbours are not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from server.pii.kinds import Kind, Span
from server.pii.scan import scan

LABELLED = Path(__file__).with_name("labelled.jsonl")
UNSEEN = Path(__file__).with_name("labelled_unseen.jsonl")
"""Messages that nobody reads while rules are made: of their misses only figures and kinds are looked at, never words
(DECISIONS 77)."""

SOFT_KINDS = frozenset({Kind.PERSON, Kind.ADDRESS})
HARD_BAR = 0.97
SOFT_BAR = 0.90
_EDGE = 2


@dataclass(frozen=True, slots=True)
class Message:
    """One labelled message; `slice` is plain, obfuscated, negative (what only looks personal) or clean."""

    id: str
    language: str
    slice: str
    text: str
    spans: tuple[Span, ...]


@dataclass(slots=True)
class Score:
    """Counts for one kind."""

    kind: Kind
    found: int = 0
    spurious: int = 0
    missed: int = 0

    @property
    def precision(self) -> float:
        return self.found / (self.found + self.spurious) if self.found + self.spurious else 1.0

    @property
    def recall(self) -> float:
        return self.found / (self.found + self.missed) if self.found + self.missed else 1.0

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    @property
    def bar(self) -> float:
        return SOFT_BAR if self.kind in SOFT_KINDS else HARD_BAR

    @property
    def below(self) -> bool:
        """Whether precision or recall, each by itself, is below the bar."""
        return min(self.precision, self.recall) < self.bar


def load(path: Path = LABELLED) -> Iterator[Message]:
    """The labelled messages of a JSON Lines file."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            spans = tuple(Span(s["start"], s["end"], Kind(s["type"])) for s in row["spans"])
            yield Message(row["id"], row["language"], row["slice"], row["text"], spans)


def matches(found: Span, label: Span) -> bool:
    """True when the finding is the labelled one, edges aside."""
    return found.kind is label.kind and abs(found.start - label.start) <= _EDGE and abs(found.end - label.end) <= _EDGE


def evaluate(messages: Iterable[Message]) -> list[Score]:
    """One score per kind, in the order of `Kind`."""
    scores = {kind: Score(kind) for kind in Kind}
    for message in messages:
        left = list(message.spans)
        for span in scan(message.text):
            label = next((other for other in left if matches(span, other)), None)
            if label is None:
                scores[span.kind].spurious += 1
            else:
                left.remove(label)
                scores[span.kind].found += 1
        for missing in left:
            scores[missing.kind].missed += 1
    return list(scores.values())


def misjudged(messages: Iterable[Message]) -> Iterator[Message]:
    """The messages with a spurious or a missed finding."""
    for message in messages:
        if any(score.spurious or score.missed for score in evaluate([message])):
            yield message
