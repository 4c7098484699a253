"""The OpenAI-backed assistant: the intent is told without it, one retrieval finds the material, one model call answers.

What needs no model (greetings, order status, orders, hand-off, complaints) never reaches one; the offline assistant
answers it. A model that fails before the customer saw a word is replaced by the offline assistant as well; after that
the run fails openly, because text that was read is never taken back.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from server.chat import prompts
from server.chat.answering import Answering, AnswerLimits
from server.chat.assistant import (
    Answered,
    AnswerKind,
    Assistant,
    Delta,
    Event,
    Intent,
    ModelFailed,
    Product,
    Step,
    Tools,
    Turn,
    Usage,
)
from server.chat.completions import ModelError
from server.chat.discreet import without_values
from server.chat.intents import IntentResult
from server.chat.metering import UsageMeter
from server.chat.model import Model
from server.chat.pricing import PriceTable
from server.chat.understanding import Understand
from server.knowledge.passages import SearchResult

log = logging.getLogger(__name__)

# The label of the Step by which a run learns that the offline assistant took over, to warn MODEL_FALLBACK.
MODEL_FALLBACK = "model_fallback"

_NO_MODEL = frozenset({Intent.GREETING, Intent.ORDER_STATUS, Intent.ORDER, Intent.HAND_OFF, Intent.COMPLAINT})
_ABOUT_PRODUCTS = frozenset({Intent.PRODUCT_QUESTION, Intent.OTHER})


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The configured side of `AnswerLimits`; `deadline` is seconds for the whole answer.

    A product whose score is below `product_floor` does not count as a find. `no_model` intents go to the fallback, and
    with `fallback_on_failure` so does an answer whose model failed before its first word. `canary` is a secret word
    in the prompt whose appearance in an answer proves a leak; it must not be empty.
    """

    max_turns: int = 3
    max_output_tokens: int = 700
    max_tokens: int = 20_000
    max_cost_micros: int = 250_000
    deadline: float = 45.0
    product_floor: float = 0.35
    no_model: frozenset[Intent] = _NO_MODEL
    fallback_on_failure: bool = True
    canary: str = field(default_factory=lambda: f"desk-{secrets.token_hex(6)}")


class MeteredReply(AsyncIterator[Event]):
    """The port's `Reply` over a generator and the meter that it writes to."""

    def __init__(self, events: AsyncGenerator[Event, None], meter: UsageMeter) -> None:
        self._events = events
        self._meter = meter

    @property
    def usage(self) -> Usage:
        return self._meter.settle()

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Ends the answer; an open upstream connection is closed before this returns."""
        await self._events.aclose()


class OpenAIAssistant:
    """The adapter of `Assistant` for any server that speaks Chat Completions.

    `fallback` is the offline assistant; `understand` tells what the customer wants and never fails.
    """

    name = "openai"

    def __init__(
        self,
        model: Model,
        prices: PriceTable,
        understand: Understand,
        fallback: Assistant,
        settings: AgentSettings,
    ) -> None:
        self._model = model
        self._prices = prices
        self._understand = understand
        self._fallback = fallback
        self._settings = settings

    def reply(self, turn: Turn, tools: Tools) -> MeteredReply:
        """One answer; see the port. Raises `ModelFailed` with what the attempt cost."""
        meter = UsageMeter(self._prices, self._model.name)
        return MeteredReply(self._reply(turn, tools, meter), meter)

    async def _reply(self, turn: Turn, tools: Tools, meter: UsageMeter) -> AsyncGenerator[Event, None]:
        intent = await self._understand(without_values(turn.text), turn.locale)
        if not intent.food_safety:
            intent = replace(intent, intent=await tools.hear_order(intent.intent))
        if intent.intent in self._settings.no_model or intent.courtesy or intent.food_safety:
            async with aclosing(self._fallback.reply(turn, tools)) as reply:
                async for event in reply:
                    yield event
            return
        visible = False
        try:
            async with aclosing(self._by_model(turn, intent, tools, meter)) as events:
                async for event in events:
                    visible = visible or isinstance(event, Delta)
                    yield event
        except ModelError as error:
            if visible or not self._settings.fallback_on_failure:
                usage = meter.settle()
                raise ModelFailed(
                    error.code, error.reason, error.message, usage, retry_after=error.retry_after
                ) from error
            log.warning("model failed before its first word, answering offline: %s", error.reason)
            yield Step(MODEL_FALLBACK)
            async with aclosing(self._fallback.reply(turn, tools)) as reply:
                async for event in reply:
                    yield replace(event, usage=meter.settle()) if isinstance(event, Answered) else event

    async def _by_model(
        self, turn: Turn, intent: IntentResult, tools: Tools, meter: UsageMeter
    ) -> AsyncGenerator[Event, None]:
        settings = self._settings
        deadline = asyncio.get_running_loop().time() + settings.deadline
        yield Step("retrieving")
        found = await self._find(turn, tools)
        products: list[Product] = []
        if intent.intent in _ABOUT_PRODUCTS:
            yield Step("reading_catalogue")
            products = await self._products(turn, tools)
        if not found.confident and not products:
            # Nothing to lean on: a model could only make something up.
            yield Delta(prompts.NO_ANSWER[intent.language])
            yield Answered(AnswerKind.ABSTAINED, intent.intent, intent.confidence, intent.language)
            return
        yield Step("thinking")
        limits = _limits(settings, deadline, wary=turn.wary)
        answering = Answering(self._model, tools, meter, limits, settings.canary, turn.asker)
        async with aclosing(answering.events(turn, intent, found, products)) as events:
            async for event in events:
                if isinstance(event, Answered):
                    arm = turn.asker.arm
                    yield replace(event, arm=arm, prompt=prompts.version(arm))
                else:
                    yield event

    async def _find(self, turn: Turn, tools: Tools) -> SearchResult:
        """Passages for the message; for one that only makes sense after the last ("and on Saturdays?"), for both.
        Names and numbers of people are no part of the question: with them nothing would seem to fit."""
        asked_now = without_values(turn.text)
        found = await tools.search_knowledge(asked_now)
        asked = [text for role, text in turn.history if role == "user"]
        if found.confident or not asked:
            return found
        return await tools.search_knowledge(f"{without_values(asked[-1])} {asked_now}")

    async def _products(self, turn: Turn, tools: Tools) -> list[Product]:
        products = await tools.search_products(turn.text)
        return [product for product in products if product.score >= self._settings.product_floor]


def _limits(settings: AgentSettings, deadline: float, *, wary: bool) -> AnswerLimits:
    part = 2 if wary else 1
    return AnswerLimits(
        1 if wary else settings.max_turns,
        settings.max_output_tokens // part,
        settings.max_tokens // part,
        deadline,
        settings.max_cost_micros // part,
        tools=not wary,
    )
