"""A model to talk to: llmock's real HTTP server (its own pytest fixture `llmock`), called by the real client code.

llmock counts every attempt and grades the client; `LLMock.assert_resilient` is part of what these tests assert.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from llmock.pytest_plugin import LLMock

from server.breaker import CircuitBreaker
from server.chat.agent import AgentSettings, MeteredReply, OpenAIAssistant
from server.chat.assistant import (
    Answered,
    AnswerKind,
    Delta,
    Event,
    Intent,
    Language,
    OrderSummary,
    Product,
    Tools,
    Turn,
)
from server.chat.governing import Governor
from server.chat.intents import IntentResult
from server.chat.metering import UsageMeter
from server.chat.model import GuardedModel
from server.chat.openai_stream import ModelSettings, open_stream
from server.chat.pricing import ModelPrice, PriceTable
from server.chat.rate_headers import RateHeaders
from server.chat.retry import RetryPolicy
from server.chat.understanding import Understand
from server.knowledge.passages import Passage, SearchResult
from tests.support.tools import NothingToOrder

MODEL = "desk-test-model"
CANARY = "desk-canary-7f3a"
PRICES = PriceTable(
    version="2026-01",
    models={MODEL: ModelPrice(input=Decimal("2.00"), cached_input=Decimal("0.50"), output=Decimal("8.00"))},
)
CUT_OFF = "Orders placed before 14:00 go out with the next delivery. Sunday orders count as Monday."
BOX = Product(
    sku="PB-12",
    name="Pizza box 12 inch",
    names={"zh": "12寸披萨盒", "ms": "Kotak piza 12 inci"},
    unit="piece",
    pack_size=100,
    price=Decimal("0.65"),
    currency="SGD",
    min_quantity=100,
    in_stock=True,
    category="boxes",
    score=0.9,
)
OFFLINE_TEXT = "This answer was made offline."


def model_variables(base_url: str, model: str = "desk-test") -> dict[str, str]:
    """Configuration of a server whose answers come from the model at that address."""
    return {
        "TRIA_ASSISTANT": "openai",
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": base_url,
        "OPENAI_MODEL": model,
    }


def passage(text: str = CUT_OFF, number: int = 1, score: float = 0.9) -> Passage:
    """A passage of an invented document."""
    document = f"documents/delivery-{number}"
    return Passage(
        chunk=f"{document}/chunks/0@0123456789abcdef",
        document=document,
        revision="0123456789abcdef",
        title="Delivery",
        heading="Cut-off",
        text=text,
        language="en",
        score=score,
        sha256="0" * 64,
    )


@dataclass
class DeskTools(NothingToOrder):
    """`Tools` over lists: the second implementation of the port, which a test fills."""

    passages: Sequence[Passage] = field(default_factory=lambda: [passage()])
    products: Sequence[Product] = ()
    orders: Sequence[OrderSummary] = ()
    queries: list[str] = field(default_factory=list)

    async def search_knowledge(self, query: str, *, limit: int = 4) -> SearchResult:
        self.queries.append(query)
        found = tuple(self.passages[:limit])
        return SearchResult(found, confident=bool(found), degraded=False)

    async def search_products(self, query: str, *, limit: int = 5) -> Sequence[Product]:
        self.queries.append(query)
        return self.products[:limit]

    async def recent_orders(self, *, limit: int = 3) -> Sequence[OrderSummary]:
        return self.orders[:limit]


class OneLineAssistant:
    """The smallest true `Assistant`: it needs no model and always says the same."""

    name = "one-line"

    def reply(self, turn: Turn, tools: Tools) -> MeteredReply:  # noqa: ARG002  # the port's signature
        return MeteredReply(_one_line(), UsageMeter(PRICES, "offline"))


async def _one_line() -> AsyncGenerator[Event, None]:
    yield Delta(OFFLINE_TEXT)
    yield Answered(AnswerKind.ANSWERED, Intent.OTHER, 1.0, Language.EN)


async def policy_question(_text: str, _locale: str) -> IntentResult:
    """A verdict for tests that are about the model and not about words."""
    return IntentResult(Intent.POLICY_QUESTION, 0.95, Language.EN)


@dataclass
class Desk:
    """An assistant wired to llmock, and the parts that a test looks at."""

    assistant: OpenAIAssistant
    breaker: CircuitBreaker
    rates: list[RateHeaders]


@asynccontextmanager
async def desk(
    base_url: str,
    *,
    understand: Understand = policy_question,
    agent: AgentSettings | None = None,
    policy: RetryPolicy | None = None,
    first_byte_timeout: float = 5.0,
    idle_timeout: float = 5.0,
    governor: Governor | None = None,
) -> AsyncIterator[Desk]:
    """The real client, breaker and agent against the server at `base_url`; quick retries unless told otherwise."""
    settings = ModelSettings(
        model=MODEL,
        api_key="test-key",
        base_url=base_url,
        first_byte_timeout=first_byte_timeout,
        idle_timeout=idle_timeout,
    )
    rates: list[RateHeaders] = []
    breaker = CircuitBreaker("model", threshold=3, cooldown=60.0)
    async with open_stream(settings, rates.append) as stream:
        model = GuardedModel(stream, breaker, policy or RetryPolicy(attempts=3, base=0.1, cap=1.0), governor)
        chosen = replace(agent or AgentSettings(), canary=CANARY)
        yield Desk(OpenAIAssistant(model, PRICES, understand, OneLineAssistant(), chosen), breaker, rates)


def fenced(content: str) -> dict[str, Any]:
    """The blocks of a prompt or of a tool's result, by what they say they are; every block has the one tag."""
    tags = set(re.findall(r"</?(data-[0-9a-f]{16})", content))
    assert len(tags) == 1
    [tag] = tags
    found = re.findall(rf'<{tag} of="([a-z ]+)">\n(.*)\n</{tag}>', content)
    assert content.count(tag) == 2 * len(found)
    return {kind: json.loads(data) for kind, data in found}


async def all_closed(llmock: LLMock, seconds: float = 5.0) -> bool:
    """Whether the server has no stream open any more, waited for with a deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        # Not `llmock.requests`: that waits too, and would hold up the very loop whose closing is looked for.
        if llmock._server.state.journal.in_flight == 0:
            return True
        await asyncio.sleep(0.01)
    return False
