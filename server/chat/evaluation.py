"""How well the intent rules do on the labelled messages beside them (intents.jsonl), per language and split.

A message belongs to the test half when the SHA-256 of its id begins with a byte below 128. The first 447 labels were
written before the rules, by the same hand. Ids with "late" and "blind" came afterwards in fresh wording, to see what
that hides: at first sight the rules had 53 % of the late and 67 % of the blind ones right; their misses were then
generalised and both are part of the set. So read the figures as a guard against regressions, not as field accuracy.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources

from rich.console import Console
from rich.table import Table

from server.chat.assistant import Intent, Language
from server.chat.intents import classify


class Split(StrEnum):
    """Which half of the labelled messages."""

    TUNE = "tune"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Labelled:
    """One labelled message."""

    id: str
    language: Language
    intent: Intent
    food_safety: bool
    text: str

    @property
    def split(self) -> Split:
        return Split.TEST if hashlib.sha256(self.id.encode()).digest()[0] < 128 else Split.TUNE


@dataclass(slots=True)
class Report:
    """Counts of one language: `pairs[(wanted, got)]`, wrong messages, and food-safety flags wanted and missed."""

    pairs: Counter[tuple[Intent, Intent]] = field(default_factory=Counter)
    wrong: list[tuple[Labelled, Intent]] = field(default_factory=list)
    safety_wanted: int = 0
    safety_missed: int = 0
    safety_false: int = 0

    @property
    def accuracy(self) -> float:
        total = self.pairs.total()
        return sum(count for (wanted, got), count in self.pairs.items() if wanted is got) / total if total else 0.0

    def add(self, item: Labelled) -> None:
        result = classify(item.text)
        self.pairs[item.intent, result.intent] += 1
        if result.intent is not item.intent:
            self.wrong.append((item, result.intent))
        self.safety_wanted += item.food_safety
        self.safety_missed += item.food_safety and not result.food_safety
        self.safety_false += result.food_safety and not item.food_safety


def labelled() -> list[Labelled]:
    """The labelled messages in the order of the file."""
    lines = resources.files("server.chat").joinpath("intents.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        Labelled(row["id"], Language(row["language"]), Intent(row["intent"]), row["food_safety"], row["text"])
        for row in map(json.loads, lines)
    ]


def evaluate(split: Split | None = None) -> dict[Language | None, Report]:
    """A report per language and, under None, one over all; of both halves when `split` is None."""
    reports: dict[Language | None, Report] = {key: Report() for key in (*Language, None)}
    for item in labelled():
        if split is None or item.split is split:
            reports[item.language].add(item)
            reports[None].add(item)
    return reports


def show(reports: dict[Language | None, Report], console: Console, *, errors: bool = False) -> None:
    """Print accuracy and the confusion table of each language; with `errors`, every message that went wrong."""
    for key, report in reports.items():
        title = f"{key or 'all'}: {report.accuracy:.1%} of {report.pairs.total()}"
        table = Table("wanted \\ got", *(intent.value for intent in Intent), title=title)
        for wanted in Intent:
            table.add_row(wanted.value, *(str(report.pairs[wanted, got] or "") for got in Intent))
        console.print(table)
        if errors and key is not None:
            for item, got in report.wrong:
                line = f"{item.id} {item.intent.value} -> {got.value}: {item.text}"
                console.print(line, markup=False, highlight=False)
    overall = reports[None]
    console.print(
        f"food safety: {overall.safety_wanted} wanted, {overall.safety_missed} missed, {overall.safety_false} false"
    )
