"""What a customer wants, told from phrases and from meaning together; phrases alone when the model is away.

The phrase tables (server/chat/intents.py) are exact and know only what their author thought of; the trained head
(server/chat/intent_head.py) has seen little and generalises. Their evidence is added up per class, log-linear: a head's
logit plus the phrases' share times `_PHRASES`, over `_TEMPERATURE`, through a softmax. The constants were chosen by
cross-validation on the tune split, where a confidence of 0.8 is right four times in five.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import numpy as np

from server.chat.assistant import Intent
from server.chat.glossing import Glossary
from server.chat.intent_head import CLASSES, SAFETY, Floats, Head
from server.chat.intents import Cues, IntentResult, classify, reply_language, weigh
from server.knowledge.embedding import Embedder, EmbeddingFailed

log = logging.getLogger(__name__)

# How both assistants ask: (text, locale) to a verdict. It never fails.
Understand = Callable[[str, str], Awaitable[IntentResult]]

_PHRASES = 2.0
_TEMPERATURE = 0.9
# Phrase weights saturate: a lone cue of this weight has half of what many have.
_LONE = 1.5
# A person is called for a possible harm that is less likely than not; missing one costs more than a needless call.
_HARM = 0.35
# Below this nothing is known for sure enough to act on: the desk looks the words up in the documents or asks back.
_UNSURE = 0.4
# A second intent is worth reporting from this probability on.
_SECOND = 0.25
_MOST_TEXT = 1000  # characters that are understood; the phrases read on
_INTENTS = tuple(Intent)
_COMPLAINT = _INTENTS.index(Intent.COMPLAINT)


async def by_phrases(text: str, locale: str) -> IntentResult:
    """`classify` in the form of `Understand`, for where there is no model."""
    return classify(text, locale)


class Understanding:
    """`Understand` by phrases and meaning. `embedder` must be the model that `head` was trained on."""

    def __init__(self, head: Head, glossary: Glossary, embedder: Embedder) -> None:
        self._head = head
        self._glossary = glossary
        self._embedder = embedder

    async def understand(self, text: str, locale: str = "") -> IntentResult:
        """The verdict on one message; that of the phrases alone when it has no words or the model fails."""
        language = reply_language(text, locale)
        english = self._glossary.english(text[:_MOST_TEXT], language)
        cues = weigh(text)
        if cues.declined or not any(character.isalpha() for character in english):
            return classify(text, locale)
        try:
            vector = await self._embedder.embed_query(english)
        except EmbeddingFailed as failed:
            log.warning("understanding by phrases only: %s", failed)
            return classify(text, locale)
        shares = _softmax((self._head.logits(vector, english) + _PHRASES * _evidence(cues)) / _TEMPERATURE)
        intents = shares[:SAFETY].copy()
        intents[_COMPLAINT] += shares[SAFETY]
        order = np.argsort(-intents, kind="stable")
        best, confidence = _INTENTS[int(order[0])], float(intents[order[0]])
        if shares[SAFETY] >= _HARM:
            sure = max(float(intents[_COMPLAINT]), _HARM)
            return IntentResult(Intent.COMPLAINT, round(sure, 3), language, True, also=cues.also(Intent.COMPLAINT))
        if confidence < _UNSURE:
            return IntentResult(Intent.OTHER, round(confidence, 3), language, also=cues.also(Intent.OTHER))
        also = dict.fromkeys(cues.also(best))
        second = _INTENTS[int(order[1])]
        if intents[order[1]] >= _SECOND:
            also[second] = None
        courtesy = best is Intent.OTHER and cues.courtesy
        return IntentResult(best, round(min(confidence, 0.99), 3), language, False, courtesy, also=tuple(also))


def _evidence(cues: Cues) -> Floats:
    """The phrases' say per class, shape (CLASSES,): each intent's share of all weight, less where there is little."""
    evidence = np.zeros(CLASSES, np.float32)
    total = sum(cues.weights.values()) + _LONE
    for intent, weight in cues.weights.items():
        evidence[_INTENTS.index(intent)] = weight / total
    if cues.food_safety:
        evidence[SAFETY], evidence[_COMPLAINT] = evidence[_COMPLAINT], 0.0
    return evidence


def _softmax(scores: Floats) -> Floats:
    raised = np.exp(scores - scores.max())
    return np.asarray(raised / raised.sum(), np.float32)
