"""When two questions are the same question in other words. A wrong answer is worse than a second one, so meaning alone
never decides: the things asked about, numbers, names, places, negations and the kind of question must agree exactly;
the vectors are a last check on top.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from server.chat.assistant import Language
from server.chat.cache.asked import Asked
from server.knowledge.embedding import Embedder, EmbeddingFailed, Vectors
from server.knowledge.lexical import Lexicon, normalise

# Cosine of MiniLM from which two questions with one signature are one. Labelled paraphrases that share a signature lie
# above 0.84 (server/chat/cache/alike.jsonl); nothing labelled as different shares one.
SAME = 0.8

# Concepts of the lexicon whose words are all one thing to an answer. Retrieval may call a fridge a freezer; an answer
# may not, so every other topic must be named by the same words.
_ONE_THING_NAMES = """
delivery price order payment invoice microwave sample photo credit_note delivery_note sentosa jurong_island day monday
tuesday wednesday thursday friday saturday sunday
"""
_ONE_THING = frozenset(f"@{name}" for name in _ONE_THING_NAMES.split())
# A concept that says no more than others together, which the same question may be asked with.
_WRITTEN_OUT = {"@delivery_charge": ("@delivery", "@price")}

_LATIN = re.compile(r"[a-z']+|\d+(?:[.,:]\d+)*")
_HAN_NUMBER = re.compile(r"[一二两三四五六七八九十百千万半]+")
# Words that the lexicon does not count as topics and that turn a question into another one.
_TURNING_WORDS = """
not no never without except unless only before after above below over under more less most least than between first
last next both all every each any from until till since per half double other another same cheap cheaper cheapest
expensive isnt arent dont doesnt cant cannot wont
tidak tak bukan tiada takde tanpa kecuali hanya sahaja sebelum selepas lebih kurang paling semua setiap sampai dari
hingga separuh
"""
_TURNING = frozenset(_TURNING_WORDS.split())
_TURNING_HAN = re.compile(r"不|没|无|非|别|只|仅|之前|之后|以上|以下|超过|至少|最多|最少|所有|每|除了|从|到|其他|一样")
# Where one thing stands against another the order of words tells which is which, and a signature has none.
_RELATING = re.compile(
    r"\b(?:instead|than|versus|vs|into|replace|replaced|compared|between|rather|swap|daripada|berbanding|ganti|menjadi)\b"
    r"|\bfrom\b.*\bto\b|\bdari\b.*\bke\b|从.*到|比|换|代替"
)
# The kind of question, first match wins.
_KINDS = (
    ("when", re.compile(r"\bwhen\b|\b(?:what|which) (?:time|days?|hours?)\b|\b(?:bila|pukul)\b|几点|什么时候|何时")),
    ("how long", re.compile(r"\bhow (?:long|soon|fast|quickly)\b|\bberapa lama\b|多久|多长")),
    ("how much", re.compile(r"\bhow (?:much|many)\b|\bberapa\b|\bprice\b|\bcost|\bcharge|\bfee|多少|几个")),
    ("how", re.compile(r"\bhow\b|\bbagaimana\b|\bmacam mana\b|怎么|如何|怎样")),
    ("why", re.compile(r"\bwhy\b|\bkenapa\b|\bmengapa\b|为什么|为何")),
    ("who", re.compile(r"\bwho\b|\bwhom\b|\bsiapa\b|谁")),
    ("where", re.compile(r"\bwhere\b|\bdi mana\b|\bke mana\b|哪里|哪儿|何处")),
    ("what", re.compile(r"\bwhat|\bwhich\b|\bapa\b|\bapakah\b|\bmana\b|什么|哪")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Likeness:
    """What one question is compared by."""

    signature: str
    vector: Vectors


class Likenesses:
    """Makes likenesses. `embedder` is the local model; its vectors of questions are remembered anyway."""

    def __init__(self, lexicon: Lexicon, embedder: Embedder) -> None:
        self._lexicon = lexicon
        self._embedder = embedder

    async def of(self, asked: Asked) -> Likeness | None:
        """None when it cannot be told, or when the question names nothing."""
        signed = self.signature(asked.original)
        if not signed:
            return None
        said = asked.text
        if not self._embedder.multilingual and asked.language is not Language.EN:
            said = self._lexicon.gloss(asked.original) or asked.text
        try:
            return Likeness(signed, await self._embedder.embed_query(said))
        except EmbeddingFailed:
            return None

    def signature(self, text: str) -> str:
        """Everything that must agree, in one order; "" when the words name no topic, or set things in relation."""
        plain = normalise(text)
        topics = sorted(self._topics(text))
        if not topics or _RELATING.search(plain):
            return ""
        words = _LATIN.findall(plain)
        numbers = sorted(word for word in words if word[0].isdigit()) + sorted(_HAN_NUMBER.findall(plain))
        turning = sorted(word for word in words if word in _TURNING) + sorted(_TURNING_HAN.findall(plain))
        kind = next((name for name, pattern in _KINDS if pattern.search(plain)), "whether")
        return "\n".join((kind, " ".join(topics), " ".join(numbers), " ".join(turning)))

    def _topics(self, text: str) -> set[str]:
        """What the text is about: concepts that are one thing, and for all the rest the very words. All of them: a
        question's units name a concept once, however many different words of the text belong to it."""
        concepts, said = self._one_thing(text)
        stems = {term for term in self._lexicon.document_terms(text) if not term.startswith("@")}
        rest = set()
        for stem in stems - said:  # "how much is the charge": the second word of one concept
            found, _ = self._one_thing(stem)
            concepts |= found
            rest |= set() if found else {stem}
        return concepts | rest

    def _one_thing(self, text: str) -> tuple[set[str], set[str]]:
        """The concepts that are one thing, and the stems that named them."""
        concepts: set[str] = set()
        said: set[str] = set()
        for unit in self._lexicon.question(text).units:
            for concept in unit.related if unit.weight == 1.0 else ():
                if concept in _ONE_THING or concept in _WRITTEN_OUT:
                    concepts.update(_WRITTEN_OUT.get(concept, (concept,)))
                    said.update(unit.exact)
        return concepts, said


def nearest(likeness: Likeness, others: Mapping[str, Vectors]) -> str | None:
    """The question that is the same in other words, or None."""
    scores = {name: float(likeness.vector @ other) for name, other in others.items()}
    best = max(scores, key=scores.__getitem__, default=None)
    return best if best is not None and scores[best] >= SAME else None
