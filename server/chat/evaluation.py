"""How well intents are told on the labelled messages, per split and language; see server/chat/labelled.py.

The tune split is measured by cross-validation, the others with the head that is part of the program. The phrases were
tuned on a part of tune and on all of test, so only the unseen split is fresh to both halves.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from server.chat.assistant import Intent, Language
from server.chat.glossing import Glossary
from server.chat.intent_head import load
from server.chat.intent_training import FOLDS, prepare, train
from server.chat.intents import IntentResult
from server.chat.labelled import Labelled, Split, labelled
from server.chat.understanding import Understand, Understanding, by_phrases
from server.knowledge.embedding import Embedder

# What is demanded at least: some points below what was measured when it was set (`tria intents evaluate`).
BARS = {Split.TUNE: 0.86, Split.TEST: 0.90, Split.UNSEEN: 0.85}
LANGUAGE_BAR = 0.82  # of the unseen split, in every language
SAFETY_BAR = 0.90  # recall of food-safety incidents, in every split
FALSE_ALARM_BAR = 0.02  # share of the other messages that call for help needlessly, in every split


@dataclass(slots=True)
class Report:
    """Counts of some messages: `pairs[(wanted, got)]`, the wrong ones, and food-safety flags wanted and missed."""

    pairs: Counter[tuple[Intent, Intent]] = field(default_factory=Counter)
    wrong: list[tuple[Labelled, IntentResult]] = field(default_factory=list)
    safety_wanted: int = 0
    safety_missed: int = 0
    safety_false: int = 0

    @property
    def accuracy(self) -> float:
        total = self.pairs.total()
        return sum(count for (wanted, got), count in self.pairs.items() if wanted is got) / total if total else 0.0

    @property
    def safety_recall(self) -> float:
        return 1 - self.safety_missed / self.safety_wanted if self.safety_wanted else 1.0

    @property
    def false_alarms(self) -> float:
        return self.safety_false / max(self.pairs.total() - self.safety_wanted, 1)

    def add(self, item: Labelled, result: IntentResult) -> None:
        self.pairs[item.intent, result.intent] += 1
        if result.intent is not item.intent or result.food_safety is not item.food_safety:
            self.wrong.append((item, result))
        self.safety_wanted += item.food_safety
        self.safety_missed += item.food_safety and not result.food_safety
        self.safety_false += result.food_safety and not item.food_safety


# A report per language and, under None, one over all.
Reports = Mapping[Language | None, Report]


async def evaluate(embedder: Embedder) -> dict[Split, Reports]:
    """The classifier as it is at work. Raises EmbeddingFailed. Takes some ten seconds: one training per fold."""
    glossary = Glossary()
    head = await asyncio.to_thread(load)
    understand = Understanding(head, glossary, embedder).understand
    tune = await _cross_validated(labelled(Split.TUNE), glossary, embedder)
    return {
        Split.TUNE: tune,
        **{split: await reported(labelled(split), understand) for split in (Split.TEST, Split.UNSEEN)},
    }


async def evaluate_phrases() -> dict[Split, Reports]:
    """The phrases alone, which answer when the embedding model fails."""
    return {split: await reported(labelled(split), by_phrases) for split in Split}


async def reported(items: Iterable[Labelled], understand: Understand) -> Reports:
    """What `understand` makes of the messages."""
    return _counted([(item, await understand(item.text, "")) for item in items])


async def _cross_validated(items: Sequence[Labelled], glossary: Glossary, embedder: Embedder) -> Reports:
    material = await prepare(items, glossary, embedder)
    folds = [hashlib.sha256(item.text.encode()).digest()[0] % FOLDS for item in items]
    results: list[tuple[Labelled, IntentResult]] = []
    for fold in range(FOLDS):
        others = [row for row, own in enumerate(folds) if own != fold]
        head = await asyncio.to_thread(train, material.of(others))
        understand = Understanding(head, glossary, embedder).understand
        results += [(item, await understand(item.text)) for item, own in zip(items, folds, strict=True) if own == fold]
    return _counted(results)


def _counted(results: Iterable[tuple[Labelled, IntentResult]]) -> Reports:
    reports: dict[Language | None, Report] = {key: Report() for key in (*Language, None)}
    for item, result in results:
        reports[item.language].add(item, result)
        reports[None].add(item, result)
    return reports


def below_the_bars(splits: Mapping[Split, Reports]) -> list[str]:
    """What is not good enough, in words; empty when all is well."""
    problems = []
    for split, reports in splits.items():
        overall = reports[None]
        if overall.accuracy < BARS[split]:
            problems.append(f"{split}: accuracy {overall.accuracy:.1%} is below {BARS[split]:.0%}")
        if overall.safety_recall < SAFETY_BAR:
            problems.append(f"{split}: food-safety recall {overall.safety_recall:.1%} is below {SAFETY_BAR:.0%}")
        if overall.false_alarms > FALSE_ALARM_BAR:
            problems.append(f"{split}: {overall.false_alarms:.1%} false food-safety alarms, over {FALSE_ALARM_BAR:.0%}")
    for language in Language:
        accuracy = splits[Split.UNSEEN][language].accuracy
        if accuracy < LANGUAGE_BAR:
            problems.append(f"{Split.UNSEEN} {language}: accuracy {accuracy:.1%} is below {LANGUAGE_BAR:.0%}")
    return problems
