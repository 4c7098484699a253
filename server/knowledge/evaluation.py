"""How good retrieval is, measured on labelled questions over the demo documents.

Weights and threshold may be tuned on the `tune` half only; the `test` half says what they are worth.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.knowledge.search import KnowledgeSearch

DEMO = Path(__file__).parents[1] / "demo_data"
LANGUAGES = ("en", "zh", "ms")
BARS = {"en": 0.90, "zh": 0.80, "ms": 0.80}  # of top-3
REFUSAL_BAR = 0.90  # of the questions that are none of the desk's business


@dataclass(frozen=True, slots=True)
class Labelled:
    """A question with the passages that answer it, as (document, last heading); none for an off-topic one."""

    id: str
    language: str
    question: str
    accept: frozenset[tuple[str, str]]

    @property
    def off_topic(self) -> bool:
        return not self.accept

    @property
    def part(self) -> str:
        """`tune` or `test`, by the first bit of the SHA-256 of the id."""
        return "test" if hashlib.sha256(self.id.encode()).digest()[0] & 1 else "tune"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search gave: the place of the first acceptable passage (0 is the first; None below the third)."""

    labelled: Labelled
    rank: int | None
    confident: bool
    score: float
    found: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """Shares in [0, 1] over `count` questions: on-topic ones with `answered` = confident, off-topic ones `refused`."""

    part: str
    language: str
    count: int
    top1: float
    top3: float
    answered: float
    off_topic: int
    refused: float


def load_questions(path: Path = DEMO / "questions.jsonl") -> list[Labelled]:
    """The labelled set, in the order of the file."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [
        Labelled(
            id=row["id"],
            language=row["language"],
            question=row["question"],
            accept=frozenset((place["document"], place["heading"]) for place in row["accept"]),
        )
        for row in rows
    ]


def load_documents() -> list[tuple[str, bytes]]:
    """(file name, content) of the demo documents, by name."""
    return [(path.name, path.read_bytes()) for path in sorted((DEMO / "documents").iterdir())]


async def run(search: KnowledgeSearch, tenant: str, questions: Sequence[Labelled]) -> list[Outcome]:
    """One search per question, one after another."""
    outcomes = []
    for labelled in questions:
        result = await search.search(tenant, labelled.question, 3)
        found = [(passage.document, passage.heading.split(" > ")[-1]) for passage in result.passages]
        rank = next((place for place, passage in enumerate(found) if passage in labelled.accept), None)
        score = result.passages[0].score if result.passages else 0.0
        names = tuple(f"{document}#{heading}" for document, heading in found)
        outcomes.append(Outcome(labelled, rank, result.confident, score, names))
    return outcomes


def summarise(outcomes: Sequence[Outcome]) -> list[Scores]:
    """For each part (tune, test, all) one row per language and one for all of them ("*")."""
    return [
        _scores(part, language, [outcome for outcome in outcomes if _belongs(outcome, part, language)])
        for part in ("tune", "test", "all")
        for language in (*LANGUAGES, "*")
    ]


def _belongs(outcome: Outcome, part: str, language: str) -> bool:
    return part in (outcome.labelled.part, "all") and language in (outcome.labelled.language, "*")


def _scores(part: str, language: str, outcomes: Sequence[Outcome]) -> Scores:
    on = [outcome for outcome in outcomes if not outcome.labelled.off_topic]
    off = [outcome for outcome in outcomes if outcome.labelled.off_topic]
    return Scores(
        part=part,
        language=language,
        count=len(on),
        top1=_share([outcome.rank == 0 for outcome in on]),
        top3=_share([outcome.rank is not None for outcome in on]),
        answered=_share([outcome.confident for outcome in on]),
        off_topic=len(off),
        refused=_share([not outcome.confident for outcome in off]),
    )


def below_the_bars(rows: Sequence[Scores]) -> list[str]:
    """What is not good enough, over all questions and over the test half; empty when all is well."""
    problems = []
    for row in rows:
        if row.part == "tune":
            continue
        if row.language in BARS and row.top3 < BARS[row.language]:
            problems.append(f"{row.part} {row.language}: top-3 {row.top3:.1%} is below {BARS[row.language]:.0%}")
        if row.language == "*" and row.refused < REFUSAL_BAR:
            problems.append(f"{row.part}: {row.refused:.1%} off-topic refused is below {REFUSAL_BAR:.0%}")
    return problems


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0
