"""The assistant that the configuration names, with all it needs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from prometheus_client import CollectorRegistry, Counter

from server.breaker import BreakerState, CircuitBreaker
from server.chat.agent import AgentSettings, OpenAIAssistant
from server.chat.assistant import Assistant
from server.chat.decision import Suspected
from server.chat.glossing import Glossary
from server.chat.intent_head import load
from server.chat.model import GuardedModel
from server.chat.offline import OfflineAssistant
from server.chat.openai_stream import ModelSettings, open_stream
from server.chat.pricing import ModelPrice, PriceTable
from server.chat.retry import RetryPolicy
from server.chat.understanding import Understanding
from server.chat.wary import WaryAssistant
from server.config import AssistantChoice, ModelConfig
from server.knowledge.embedding import Embedder, OnnxEmbedder
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
async def assistant(
    config: ModelConfig, lexicon: Lexicon, embedder: Embedder | None = None, registry: CollectorRegistry | None = None
) -> AsyncIterator[Desk]:
    """The offline assistant, or the model's with the offline one behind it; in front of both, what is wary of texts.

    Intents are told by MiniLM: by `embedder` where it is that, else by one of our own.
    """
    async with (
        _understanding(embedder) as understanding,
        _desk(config, lexicon, understanding, counted(registry)) as desk,
    ):
        yield desk


@asynccontextmanager
async def _understanding(shared: Embedder | None) -> AsyncIterator[Understanding]:
    head, glossary = await asyncio.to_thread(lambda: (load(), Glossary()))
    if shared is not None and shared.model == OnnxEmbedder.model:
        yield Understanding(head, glossary, shared)
        return
    own = OnnxEmbedder()
    try:
        yield Understanding(head, glossary, own)
    finally:
        await own.close()


@asynccontextmanager
async def _desk(
    config: ModelConfig, lexicon: Lexicon, understanding: Understanding, count: Callable[[Suspected], None]
) -> AsyncIterator[Desk]:
    understand = understanding.understand
    offline = OfflineAssistant(lexicon, understand)
    if config.assistant is AssistantChoice.OFFLINE:
        yield Desk(WaryAssistant(offline, offline, count), None)
        return
    settings = ModelSettings(
        config.model,
        config.api_key.reveal(),
        max_tokens_field="max_tokens" if config.token_limit_name == "max_tokens" else "max_completion_tokens",
        temperature=None if config.temperature is None else float(config.temperature),
        idle_timeout=config.idle_timeout,
    )
    if config.base_url:
        settings = replace(settings, base_url=config.base_url)
    async with open_stream(settings) as stream:
        breaker = CircuitBreaker(config.model)
        model = GuardedModel(stream, breaker, RetryPolicy())
        agent = AgentSettings(
            max_output_tokens=config.max_output_tokens,
            deadline=config.timeout,
            max_cost_micros=int(config.answer_budget * 1_000_000),
        )
        answering = OpenAIAssistant(model, _price_table(config), understand, offline, agent)
        yield Desk(WaryAssistant(answering, offline, count), breaker)


def _price_table(config: ModelConfig) -> PriceTable:
    prices = {model: ModelPrice(*amounts) for model, amounts in config.prices.items()}
    stated = repr(sorted((model, *map(str, amounts)) for model, amounts in config.prices.items()))
    return PriceTable(hashlib.sha256(stated.encode()).hexdigest()[:12], models=prices)


def counted(registry: CollectorRegistry | None) -> Callable[[Suspected], None]:
    """What counts findings in `registry`; nothing without one."""
    if registry is None:
        return lambda _: None
    found = Counter(
        "tria_injection_suspects",
        "Texts that seemed to speak to a model, and answers that an output check touched.",
        ["source", "level"],
        registry=registry,
    )
    return lambda suspected: found.labels(suspected.source.value, suspected.suspicion.level.name).inc()
