"""The assistant that the configuration names, with all it needs."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from server.chat.agent import AgentSettings, OpenAIAssistant
from server.chat.assistant import Assistant
from server.chat.breaker import BreakerState, CircuitBreaker
from server.chat.intents import classify
from server.chat.model import GuardedModel
from server.chat.offline import OfflineAssistant
from server.chat.openai_stream import ModelSettings, open_stream
from server.chat.pricing import ModelPrice, PriceTable
from server.chat.retry import RetryPolicy
from server.config import AssistantChoice, ModelConfig
from server.knowledge.lexical import Lexicon


@dataclass(frozen=True, slots=True)
class Desk:
    """What answers, and how its model is (None without one)."""

    assistant: Assistant
    breaker: CircuitBreaker | None

    async def model_available(self) -> bool:
        """False while the model's circuit is open: the offline assistant answers meanwhile."""
        return self.breaker is None or self.breaker.state is not BreakerState.OPEN


@asynccontextmanager
async def assistant(config: ModelConfig, lexicon: Lexicon) -> AsyncIterator[Desk]:
    """The offline assistant, or the model's with the offline one behind it."""
    offline = OfflineAssistant(lexicon)
    if config.assistant is AssistantChoice.OFFLINE:
        yield Desk(offline, None)
        return
    settings = ModelSettings(
        config.model,
        config.api_key.reveal(),
        **({"base_url": config.base_url} if config.base_url else {}),
        max_tokens_field="max_tokens" if config.token_limit_name == "max_tokens" else "max_completion_tokens",
        temperature=None if config.temperature is None else float(config.temperature),
        idle_timeout=config.idle_timeout,
    )
    async with open_stream(settings) as stream:
        breaker = CircuitBreaker(config.model)
        model = GuardedModel(stream, breaker, RetryPolicy())
        agent = AgentSettings(max_output_tokens=config.max_output_tokens, deadline=config.timeout)
        yield Desk(OpenAIAssistant(model, _price_table(config), classify, offline, agent), breaker)


def _price_table(config: ModelConfig) -> PriceTable:
    prices = {model: ModelPrice(*amounts) for model, amounts in config.prices.items()}
    stated = repr(sorted((model, *map(str, amounts)) for model, amounts in config.prices.items()))
    return PriceTable(hashlib.sha256(stated.encode()).hexdigest()[:12], models=prices)
