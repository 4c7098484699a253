"""How well a passage answers a question: what meaning and words say, brought into one calibrated probability.

Features of (question, passage), all in [0, 1], go through a logistic regression whose weights were fitted on the *tune*
half of the labelled questions in server/demo_data; `tria knowledge evaluate` shows their worth on the other half.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.knowledge.lexical import Question, Unit

_LINGUA_FRANCA = 0.6  # English passages for Chinese and Malay questions
_SATURATION = 1.0  # served importance at which half of the effect of `evidence` is reached: one rare word
_SMALL_CORPUS = 150  # a smaller corpus is weighed as if it had so many chunks: in ten, every word looks common


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a tenant's corpus says about terms: the number of chunks, and in how many of them a term occurs."""

    chunks: int
    frequency: Mapping[str, int]

    def weight(self, unit: Unit) -> float:
        """Importance of a unit, in [0, 1]: its own weight times the inverse document frequency (the form of BM25,
        Robertson and Zaragoza 2009) of its commonest term, as a share of the largest possible one."""
        found = max((self.frequency.get(term, 0) for term in (*unit.related, *unit.exact)), default=0)
        chunks = max(self.chunks, _SMALL_CORPUS)
        return unit.weight * math.log(1 + (chunks - found + 0.5) / (found + 0.5)) / math.log(2 + 2 * chunks)

    def unknown(self, unit: Unit) -> bool:
        return not any(self.frequency.get(term, 0) for term in (*unit.related, *unit.exact))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one candidate. `closeness` is the embedder's scaled cosine, None when vectors were not asked;
    `language` is 1 in the asker's language, 0.6 in English, which most can read, else 0 (`language_fit`)."""

    terms: frozenset[str]
    heading_terms: frozenset[str]
    closeness: float | None
    language: float


@dataclass(frozen=True, slots=True)
class Weights:
    """Coefficients of the logistic regression, and the probability from which an answer may be given."""

    bias: float
    closeness: float
    coverage: float
    heading: float
    evidence: float
    unknown: float
    language: float
    agreement: float
    threshold: float

    def vector(self) -> tuple[float, ...]:
        return (
            self.bias,
            self.closeness,
            self.coverage,
            self.heading,
            self.evidence,
            self.unknown,
            self.language,
            self.agreement,
        )


# Ridge regression towards plausible weights (bias -4, closeness 4, coverage 3, the rest 1 or less) on the tune half,
# then Platt scaling, so that a score is the share of such passages that are right. The thresholds are low because a
# question of the desk scores far above one that is none of its business, not because they accept bad passages.
HYBRID = Weights(
    bias=-8.71,
    closeness=5.60,
    coverage=4.25,
    heading=1.56,
    evidence=1.52,
    unknown=-1.23,
    language=1.04,
    agreement=0.14,
    threshold=0.08,
)
WORDS_ONLY = Weights(
    bias=-5.46,
    closeness=0.0,
    coverage=4.49,
    heading=1.86,
    evidence=1.31,
    unknown=-0.95,
    language=0.78,
    agreement=0.0,
    threshold=0.15,
)


def language_fit(asked: str, written: str) -> float:
    """How welcome a passage in language `written` is to someone who asks in `asked`."""
    if asked == written:
        return 1.0
    return _LINGUA_FRANCA if written == "en" else 0.0


def features(question: Question, statistics: Statistics, evidence: Evidence) -> tuple[float, ...]:
    """(1, closeness, coverage, heading, evidence, unknown, evidence.language, agreement), see `Weights`.

    Coverage is the share of the question's importance that the passage serves; heading is the same for its heading and
    title; evidence is the served importance itself, saturating; unknown is the share that no document of the tenant
    knows; agreement is closeness times coverage.
    """
    weights = [statistics.weight(unit) for unit in question.units]
    total = sum(weights)
    closeness = evidence.closeness or 0.0
    if not total:
        return (1.0, closeness, 0.0, 0.0, 0.0, 1.0, evidence.language, 0.0)
    served = _served(question.units, weights, evidence.terms)
    heading = _served(question.units, weights, evidence.heading_terms) / total
    unknown = sum(w for w, unit in zip(weights, question.units, strict=True) if statistics.unknown(unit)) / total
    coverage = served / total
    return (
        1.0,
        closeness,
        coverage,
        heading,
        served / (served + _SATURATION),
        unknown,
        evidence.language,
        closeness * coverage,
    )


def probability(values: Sequence[float], weights: Weights) -> float:
    """The logistic function of the weighted features."""
    exponent = sum(value * weight for value, weight in zip(values, weights.vector(), strict=True))
    return 1 / (1 + math.exp(-max(min(exponent, 60.0), -60.0)))


def _served(units: Sequence[Unit], weights: Sequence[float], terms: frozenset[str]) -> float:
    return sum(weight * unit.hit(terms) for weight, unit in zip(weights, units, strict=True))
