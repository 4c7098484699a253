"""A kept answer: what it says, what it leans on, and what it would cost to make again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import orjson

from server.chat.agent import MODEL_FALLBACK
from server.chat.assistant import (
    Answered,
    AnswerKind,
    Cited,
    Delta,
    Event,
    FromCache,
    Intent,
    Language,
    Step,
    Turn,
    Usage,
    Waiting,
)
from server.chat.cache.asked import SHARED_INTENTS
from server.chat.cache.witness import Witness
from server.chat.decision import Grounds
from server.knowledge.passages import Passage
from server.pii.scan import scan

_SURE = 0.35  # confidence below which somebody should look at an answer rather than many read it
_PIECE = re.compile(r"[^\s\u3000-\u9fff\uff00-\uffef]+\s*|[\u3000-\u9fff\uff00-\uffef]{1,8}\s*|\s+")
_WORDS_AT_ONCE = 12


@dataclass(frozen=True, slots=True)
class KeptCitation:
    """A citation and the character of the text behind which it came."""

    at: int
    index: int
    quote: str
    passage: Passage


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer for everybody. `products` are fingerprints of the goods it saw; `cost_micros` is what a hit saves."""

    text: str
    citations: tuple[KeptCitation, ...]
    kind: AnswerKind
    intent: Intent
    confidence: float
    language: Language
    products: Mapping[str, str]
    cost_micros: int
    currency: str
    model: str
    arm: str
    prompt: str

    def encode(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> Entry:
        """Raises ValueError for what is no entry of this version."""
        try:
            values = orjson.loads(data)
            cited = [
                KeptCitation(each["at"], each["index"], each["quote"], Passage(**each["passage"]))
                for each in values["citations"]
            ]
            return cls(
                **{
                    **values,
                    "citations": tuple(cited),
                    "kind": AnswerKind(values["kind"]),
                    "intent": Intent(values["intent"]),
                    "language": Language(values["language"]),
                }
            )
        except (orjson.JSONDecodeError, KeyError, TypeError) as problem:
            raise ValueError("not a kept answer") from problem

    def events(self) -> Iterator[Event]:
        """The answer again, as the stream that it was."""
        yield FromCache()
        told = 0
        for citation in self.citations:
            yield from _pieces(self.text[told : citation.at])
            told = citation.at
            yield Cited(citation.index, citation.passage, citation.quote)
        yield from _pieces(self.text[told:])
        usage = Usage(currency=self.currency, model=self.model, saved_micros=self.cost_micros)
        yield Answered(
            self.kind, self.intent, self.confidence, self.language, usage, cached=True, arm=self.arm, prompt=self.prompt
        )


def kept(turn: Turn, events: Sequence[Event], witness: Witness) -> Entry | None:
    """The answer as it may be shared, or None when anything speaks against it."""
    if turn.wary or turn.history or witness.private or witness.degraded:
        return None
    text, citations = "", []
    answered: Answered | None = None
    for event in events:
        match event:
            case Delta(piece):
                text += piece
            case Cited(index, passage, quote):
                citations.append(KeptCitation(len(text), index, quote, passage))
            case Answered():
                answered = event
            case Waiting() | Grounds():
                pass
            case Step(label) if label != MODEL_FALLBACK:
                pass
            case _:  # a tool of the model, a proposal, a fallback, a finding in the answer, or what is not known here
                return None
    if answered is None or not text or not _worth_keeping(answered) or _personal(text, citations):
        return None
    return Entry(
        text,
        tuple(citations),
        answered.kind,
        answered.intent,
        answered.confidence,
        answered.language,
        dict(witness.products),
        answered.usage.cost_micros,
        answered.usage.currency,
        answered.usage.model,
        answered.arm,
        answered.prompt,
    )


def _worth_keeping(answered: Answered) -> bool:
    if answered.intent not in SHARED_INTENTS:
        return False
    return answered.kind is AnswerKind.ABSTAINED or (
        answered.kind is AnswerKind.ANSWERED and answered.confidence >= _SURE
    )


def _personal(text: str, citations: Sequence[KeptCitation]) -> bool:
    """Whether the answer says something personal that is not in the supplier's own passages (its hotline is)."""
    spans = scan(text)
    if not spans:
        return False
    published = "\n".join(citation.passage.text for citation in citations)
    return any(text[span.start : span.end] not in published for span in spans)


def _pieces(text: str) -> Iterator[Delta]:
    """A few words at a time: a hit is read like an answer, and costs a fraction of its messages."""
    words = _PIECE.findall(text)
    for place in range(0, len(words), _WORDS_AT_ONCE):
        yield Delta("".join(words[place : place + _WORDS_AT_ONCE]))
