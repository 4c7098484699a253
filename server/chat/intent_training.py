"""Makes the weights of the intent head from the labelled messages of the tune split; the same ones every time.

Multinomial logistic regression with an L2 penalty in its dual form (a thousand messages, four thousand features), by
accelerated gradient descent with a fixed number of steps from zero (Nesterov 1983; the step is 1/L, L from the largest
eigenvalue of the kernel). The penalty and the form of the features were chosen by ten-fold cross-validation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from server.chat.glossing import Glossary
from server.chat.intent_head import BUCKETS, CLASSES, Floats, Head, buckets, class_of, features, fingerprint
from server.chat.intents import reply_language
from server.chat.labelled import Labelled
from server.knowledge.embedding import Embedder, Vectors

_PENALTY = 0.02
_STEPS = 300
FOLDS = 10


@dataclass(frozen=True, slots=True)
class Material:
    """Labelled messages in English words, their vectors, shape (texts, dimensions), and their classes."""

    texts: Sequence[str]
    vectors: Vectors
    labels: Sequence[int]

    def of(self, rows: Sequence[int]) -> Material:
        """Only these rows."""
        return Material([self.texts[row] for row in rows], self.vectors[rows], [self.labels[row] for row in rows])


async def prepare(items: Sequence[Labelled], glossary: Glossary, embedder: Embedder) -> Material:
    """The messages made ready to train on. Raises EmbeddingFailed."""
    texts = glossed(items, glossary)
    return Material(texts, await embedder.embed(texts), [class_of(item) for item in items])


def glossed(items: Sequence[Labelled], glossary: Glossary) -> list[str]:
    """The messages in English words."""
    return [glossary.english(item.text, reply_language(item.text)) for item in items]


def train(material: Material) -> Head:
    """A head for `material`. Blocks for a second or two per thousand messages."""
    rarity = _rarity(material.texts)
    known = features(rarity, material.vectors, material.texts).astype(np.float64)
    wanted = np.eye(CLASSES)[list(material.labels)]
    kernel = known @ known.T
    step = 1 / (0.5 * float(np.linalg.eigvalsh(kernel)[-1]) + _PENALTY)
    dual = ahead = np.zeros_like(wanted)
    pace = 1.0
    for _ in range(_STEPS):
        scores = kernel @ ahead
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        moved = ahead - step * (shares - wanted + _PENALTY * ahead)
        next_pace = (1 + math.sqrt(1 + 4 * pace * pace)) / 2
        ahead = moved + (pace - 1) / next_pace * (moved - dual)
        dual, pace = moved, next_pace
    return Head((known.T @ dual).astype(np.float32), rarity, fingerprint(material.texts, material.labels))


def _rarity(texts: Sequence[str]) -> Floats:
    """The root of the inverse document frequency (BM25's form, never negative) of each bucket, shape (BUCKETS,)."""
    counts = np.zeros(BUCKETS)
    for text in texts:
        counts[buckets(text)] += 1
    return np.asarray(np.sqrt(np.log(1 + (len(texts) - counts + 0.5) / (counts + 0.5))), np.float32)
