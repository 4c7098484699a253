"""The trained half of the intent classifier: a linear softmax over what a message means and over its words.

Features are the message in English words (server/chat/glossing.py) as a unit MiniLM vector, and its word uni- and
bigrams, hashed into buckets, weighted by the root of their inverse document frequency and scaled to length 1. Weights
are in intent_head.npz; `tria intents train` makes them from the labelled messages (server/chat/intent_training.py).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from server.chat.assistant import Intent
from server.chat.labelled import Labelled
from server.knowledge.embedding import OnnxEmbedder, Vectors

Floats = npt.NDArray[np.float32]

PATH = Path(__file__).with_name("intent_head.npz")
BUCKETS = 4096
# Somebody may be harmed: a class of its own, because a complaint about a late lorry has nothing in common with glass.
SAFETY = len(Intent)
CLASSES = SAFETY + 1
_INTENTS = tuple(Intent)


def class_of(item: Labelled) -> int:
    """The column of a labelled message's class."""
    return SAFETY if item.food_safety else _INTENTS.index(item.intent)


def buckets(english: str) -> list[int]:
    """The buckets of the word uni- and bigrams of a message in English words, each once."""
    words = ["0" if word[0].isdigit() else word for word in english.split()]
    pairs = zip(["^", *words], [*words, "$"], strict=True)
    grams = [*words, *(f"{left} {right}" for left, right in pairs)]
    return sorted({zlib.crc32(gram.encode()) % BUCKETS for gram in grams})


def fingerprint(texts: Iterable[str], labels: Iterable[int]) -> str:
    """What a head was made from: model, glossed texts and labels. Another value than the stored one means that it is
    stale."""
    digest = hashlib.sha256(f"{OnnxEmbedder.model} {BUCKETS}".encode())
    for text, label in zip(texts, labels, strict=True):
        digest.update(f"\n{label} {text}".encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Head:
    """`weights` has shape (dimensions + BUCKETS + 1, CLASSES), its last row is the bias; `rarity` shape (BUCKETS,)."""

    weights: Floats
    rarity: Floats
    fingerprint: str

    def logits(self, vector: Vectors, english: str) -> Floats:
        """One number per class for a message, shape (CLASSES,). `vector` is its unit embedding."""
        by_meaning = vector @ self.weights[: len(vector)]
        return np.asarray(self.weights[-1] + by_meaning + self._by_words(english, len(vector)), np.float32)

    def _by_words(self, english: str, offset: int) -> Floats:
        found = buckets(english)
        values = self.rarity[found]
        length = float(np.linalg.norm(values)) or 1.0
        rows = self.weights[[offset + bucket for bucket in found]]
        return np.asarray(values / length @ rows, np.float32)


def features(rarity: Floats, vectors: Vectors, texts: Sequence[str]) -> Floats:
    """The features of many messages, shape (texts, dimensions + BUCKETS + 1), for training."""
    words = np.zeros((len(texts), BUCKETS), np.float32)
    for row, text in enumerate(texts):
        found = buckets(text)
        words[row, found] = rarity[found]
    words /= np.maximum(np.linalg.norm(words, axis=1, keepdims=True), 1e-9)
    return np.hstack([vectors, words, np.ones((len(texts), 1), np.float32)])


def load(path: Path = PATH) -> Head:
    """The head that is part of the program. Blocks for some milliseconds."""
    with np.load(path, allow_pickle=False) as stored:
        return Head(
            stored["weights"].astype(np.float32), stored["rarity"].astype(np.float32), str(stored["fingerprint"])
        )


def save(head: Head, path: Path = PATH) -> None:
    """Half precision: the third digit of a weight decides nothing. The same head makes the same bytes."""
    np.savez_compressed(
        path,
        weights=head.weights.astype(np.float16),
        rarity=head.rarity.astype(np.float16),
        fingerprint=np.array(head.fingerprint),
    )
