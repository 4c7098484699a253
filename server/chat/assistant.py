"""The port behind which answers are made: the OpenAI-backed agent and the offline assistant are its two adapters.

An assistant turns one customer message into a stream of events. It reads through `Tools` only and can change
nothing: what has side effects leaves it as a proposal that a person confirms elsewhere. The run that calls it owns
sequence numbers, storage, scrubbing and the terminal event.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from server.chat.decision import Grounds, Suspected
from server.chat.hand_off import HandOffReason
from server.errors import AppError, Code, Reason
from server.knowledge.passages import Passage, SearchResult
from server.order.proposal import Proposal


class Intent(StrEnum):
    """What the customer wants; the closed list of CONTRACT.md §8."""

    GREETING = "GREETING"
    ORDER = "ORDER"
    ORDER_STATUS = "ORDER_STATUS"
    PRODUCT_QUESTION = "PRODUCT_QUESTION"
    POLICY_QUESTION = "POLICY_QUESTION"
    COMPLAINT = "COMPLAINT"
    HAND_OFF = "HAND_OFF"
    OTHER = "OTHER"


class AnswerKind(StrEnum):
    """How the run ended, from the customer's point of view."""

    ANSWERED = "ANSWERED"
    ABSTAINED = "ABSTAINED"
    PROPOSED = "PROPOSED"
    HANDED_OFF = "HANDED_OFF"
    REFUSED = "REFUSED"


class Language(StrEnum):
    """Languages that the desk answers in (BCP 47)."""

    EN = "en"
    ZH = "zh"
    MS = "ms"


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose message it is, as the verified token says; what may be shared between people depends on it. `arm` is the
    variant of the prompt that the conversation was given. Nothing of this is told to a model."""

    tenant: str = ""
    outlet: str = ""
    role: str = ""
    conversation: str = ""
    arm: str = "a"


@dataclass(frozen=True, slots=True)
class Turn:
    """One customer message in its context. `history` is oldest first, (role, text) with role "user" or "assistant";
    `locale` is the caller's BCP 47 hint or empty. Texts are as they were written: an assistant whose model is outside
    hides what is personal (server/chat/discreet.py). `wary` takes a model's tools away and half of what it may cost."""

    text: str
    history: tuple[tuple[str, str], ...] = ()
    locale: str = ""
    outlet_name: str = ""
    wary: bool = False
    asker: Asker = Asker()


@dataclass(frozen=True, slots=True)
class Product:
    """A catalogue row as an assistant may quote it: prices come from here and never from a model."""

    sku: str
    name: str
    names: dict[str, str]
    unit: str
    pack_size: int
    price: Decimal
    currency: str
    min_quantity: int
    in_stock: bool
    category: str
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class OrderSummary:
    """An order of the caller's outlet, as its status is told."""

    name: str
    number: str
    state: str
    total: Decimal
    currency: str
    placed_on: str


@dataclass(frozen=True, slots=True)
class OrderTaken:
    """What came of an order message. Sentences are for the customer, in the language that was asked for.

    `proposal` is what a person may confirm, `unchanged` when the message added nothing to it; `questions` stand alone
    when nothing could be proposed; `refusal` says why it cannot be ordered; `emptied` that nothing is left of it;
    `amends` that it seems to change an order that was placed before; `no_such` is an order number of nobody's here.
    """

    proposal: Proposal | None = None
    unchanged: bool = False
    questions: tuple[str, ...] = ()
    refusal: str = ""
    emptied: bool = False
    amends: bool = False
    no_such: str = ""


class Tools(Protocol):
    """What an assistant may look up, always with the caller's rights (tenant and outlet are bound inside).

    The last three are not for a model: they read the message that is being answered and propose what it orders.
    `hear_order` says what the message wants, seen with the catalogue, and comes first; the others answer None where
    nothing can be ordered or called off.
    """

    async def search_knowledge(self, query: str, *, limit: int = 4) -> SearchResult: ...
    async def search_products(self, query: str, *, limit: int = 5) -> Sequence[Product]: ...
    async def recent_orders(self, *, limit: int = 3) -> Sequence[OrderSummary]: ...
    async def hear_order(self, intent: Intent) -> Intent: ...
    async def take_order(self, language: Language, *, changes: bool) -> OrderTaken | None: ...
    async def cancel_order(self, language: Language) -> OrderTaken | None: ...


@dataclass(frozen=True, slots=True)
class Step:
    """Progress that a person may see; `label` is one of retrieving, reading_catalogue, checking_orders, thinking."""

    label: str


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer's text, in order."""

    text: str


@dataclass(frozen=True, slots=True)
class Cited:
    """The answer leans on this passage, which a tool returned in this very turn; `index` is the [n] in the text."""

    index: int
    passage: Passage
    quote: str


@dataclass(frozen=True, slots=True)
class ToolUsed:
    """A read-only tool call; `state` is STARTED, SUCCEEDED or FAILED."""

    call_id: str
    tool: str
    state: str
    label: str


@dataclass(frozen=True, slots=True)
class Proposed:
    """Something that a person may confirm or reject."""

    proposal: Proposal


@dataclass(frozen=True, slots=True)
class Waiting:
    """The answer waits for the model's limits; `position` counts from 1, `eta` is seconds as far as known."""

    position: int
    eta: float


@dataclass(frozen=True, slots=True)
class FromCache:
    """What follows was answered before; comes first."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and money of one turn. `cost_micros` is millionths of `currency`, and so is `saved_micros`, what an answer
    from the cache would have cost; `estimated` says that the provider never reported and the count is ours."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_micros: int = 0
    currency: str = "USD"
    estimated: bool = False
    model: str = "offline"
    saved_micros: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """The last event of a turn that ended well. `cached` says that it was answered before; `arm` and `prompt` are the
    variant of the prompt and its version, where one was used."""

    kind: AnswerKind
    intent: Intent
    confidence: float
    language: Language
    usage: Usage = field(default_factory=Usage)
    why: HandOffReason | None = None  # a person is needed, where the assistant knows it
    cached: bool = False
    arm: str = ""
    prompt: str = ""


# An assistant yields any number of these and exactly one Answered, last, unless it raises.
Event = Step | Delta | Cited | ToolUsed | Proposed | Grounds | Suspected | Waiting | FromCache | Answered


class ModelFailed(AppError):
    """The model could not finish; `usage` is what the attempt cost all the same, so that the money is accounted for."""

    def __init__(
        self, code: Code, reason: Reason, message: str, usage: Usage, *, retry_after: float | None = None
    ) -> None:
        super().__init__(code, reason, message, retry_after=retry_after)
        self.usage = usage


class Reply(Protocol):
    """The events of one answer. `usage` may be read at any time: it settles an answer that is stopped in the middle,
    which ends by `aclose` and can raise nothing that would carry the cost."""

    @property
    def usage(self) -> Usage: ...
    def __aiter__(self) -> AsyncIterator[Event]: ...
    async def aclose(self) -> None: ...


class Assistant(Protocol):
    """Makes one answer. Raises `ModelFailed` when it cannot; part of the answer may have been yielded by then."""

    name: str

    def reply(self, turn: Turn, tools: Tools) -> Reply: ...
