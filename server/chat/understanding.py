"""What a customer wants, told from phrases and from meaning together; phrases alone when the model is away.

The phrase tables (server/chat/intents.py) are exact and know only what their author thought of; the trained head
(server/chat/intent_head.py) has seen little and generalises. Their evidence is added up per class, log-linear: a head's
logit plus the phrases' share times `_PHRASES`, over `_TEMPERATURE`, through a softmax. The constants were chosen by
cross-validation on the tune split, where a confidence of 0.8 is right four times in five.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import ParamSpec, TypeVar

import numpy as np

from server.chat.assistant import Intent, Language
from server.chat.glossing import Glossary
from server.chat.intent_head import CLASSES, SAFETY, Floats, Head
from server.chat.intents import Cues, IntentResult, classify, reply_language, weigh
from server.knowledge.embedding import Embedder, EmbeddingFailed

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

# How both assistants ask: (text, locale) to a verdict. It never fails.
Understand = Callable[[str, str], Awaitable[IntentResult]]

_PHRASES = 2.0
_TEMPERATURE = 0.9
# Phrase weights saturate: a lone cue of this weight has half of what many have.
_LONE = 1.5
# A person is called for a possible harm that is less likely than not; missing one costs more than a needless call.
_HARM = 0.35
# From this probability of harm on, or where a phrase hints at it, the clauses of a message are looked at one by one;
# cut out of their context they must be surer.
_HINT, _HARM_OF_CLAUSE = 0.05, 0.7
_CLAUSES = re.compile(r"[.!?;,\n。！？；，]|\b(?:and|but|also|dan|tapi|juga)\b|还有|另外|但是", re.IGNORECASE)
_CLAUSE, _MOST_CLAUSES = 5, 4  # characters, clauses
# Below this nothing is known for sure enough to act on: the desk looks the words up in the documents or asks back.
_UNSURE = 0.4
# A second intent is worth reporting from this probability on.
_SECOND = 0.25
# "500 trays, and when do you deliver?": the goods are what it is about, the question is answered on the way.
_QUESTION_IN_ORDER = (Intent.POLICY_QUESTION, Intent.ORDER)
_SHORT = 2_000  # characters that are looked at in a few milliseconds: not worth a thread
_MOST_TEXT = 1000  # characters that are understood; the phrases read on
_INTENTS = tuple(Intent)
_COMPLAINT = _INTENTS.index(Intent.COMPLAINT)


async def by_phrases(text: str, locale: str) -> IntentResult:
    """`classify` in the form of `Understand`, for where there is no model."""
    return await _beside(classify, text, locale)


class Understanding:
    """`Understand` by phrases and meaning. `embedder` must be the model that `head` was trained on."""

    def __init__(self, head: Head, glossary: Glossary, embedder: Embedder) -> None:
        self._head = head
        self._glossary = glossary
        self._embedder = embedder

    async def understand(self, text: str, locale: str = "") -> IntentResult:
        """The verdict on one message; that of the phrases alone when it has no words or the model fails."""
        language = reply_language(text, locale)
        cues = await _beside(weigh, text)
        if cues.declined or not any(map(str.isalpha, self._glossary.english(text[:_MOST_TEXT], language))):
            return await by_phrases(text, locale)
        try:
            shares = (await self._shares([text], language))[0]
            harm = await self._harm(text, language, cues, float(shares[SAFETY]))
        except EmbeddingFailed as failed:
            log.warning("understanding by phrases only: %s", failed)
            return await by_phrases(text, locale)
        return _verdict(shares, cues, language, harm)

    async def _harm(self, text: str, language: Language, cues: Cues, share: float) -> float:
        """The probability that somebody may be harmed, 0 where it is too low to act on; in a long message a clause may
        say so ("20 boxes, and I found glass")."""
        if share >= _HARM:
            return share
        clauses = [clause for clause in _CLAUSES.split(text[:_MOST_TEXT]) if len(clause.strip()) >= _CLAUSE]
        if len(clauses) < 2 or not (cues.food_safety or share >= _HINT):
            return 0.0
        worst = max(float(found[SAFETY]) for found in await self._shares(clauses[:_MOST_CLAUSES], language))
        return worst if worst >= _HARM_OF_CLAUSE else 0.0

    async def _shares(self, texts: Sequence[str], language: Language) -> list[Floats]:
        """The probability of each class, shape (CLASSES,), for each text. Raises EmbeddingFailed."""
        found = []
        for text in texts:
            english = self._glossary.english(text[:_MOST_TEXT], language)
            logits = self._head.logits(await self._embedder.embed_query(english), english)
            scores = (logits + _PHRASES * _evidence(weigh(text))) / _TEMPERATURE
            found.append(_softmax(scores.astype(np.float32)))
        return found


async def _beside(rule: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """A rule's answer; a long text is looked at in a thread, so that nobody else waits for it."""
    if max(len(str(text)) for text in given) <= _SHORT:
        return rule(*given, **named)
    return await asyncio.to_thread(rule, *given, **named)


def _verdict(shares: Floats, cues: Cues, language: Language, harm: float) -> IntentResult:
    intents = shares[:SAFETY].copy()
    intents[_COMPLAINT] += shares[SAFETY]
    if harm:
        sure = min(max(float(intents[_COMPLAINT]), harm), 0.99)
        return IntentResult(Intent.COMPLAINT, round(sure, 3), language, True, also=cues.also(Intent.COMPLAINT))
    first, second = (int(place) for place in np.argsort(-intents, kind="stable")[:2])
    best, confidence = _INTENTS[first], float(intents[first])
    if cues.quantity and intents[second] >= _SECOND and (best, _INTENTS[second]) == _QUESTION_IN_ORDER:
        first, second = second, first
        best, confidence = Intent.ORDER, confidence + float(intents[first])
    if confidence < _UNSURE:
        return IntentResult(Intent.OTHER, round(confidence, 3), language, also=cues.also(Intent.OTHER))
    also = dict.fromkeys(cues.also(best))
    if intents[second] >= _SECOND:
        also[_INTENTS[second]] = None
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
