"""The assistant that the configuration names, with all it needs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from prometheus_client import CollectorRegistry, Counter
from redis.asyncio import Redis

from server.breaker import BreakerState, CircuitBreaker
from server.chat import prompts
from server.chat.agent import AgentSettings, OpenAIAssistant
from server.chat.arms import AssigningAssistant, record_prompts
from server.chat.assistant import Assistant
from server.chat.cache.caching import CachingAssistant, Made, Sources
from server.chat.cache.figures import Figures
from server.chat.cache.wiring import answer_cache
from server.chat.decision import Suspected
from server.chat.glossing import Glossary
from server.chat.governing import Governor, GovernorLimits, model_metrics
from server.chat.intent_head import load
from server.chat.model import GuardedModel
from server.chat.offline import OfflineAssistant
from server.chat.openai_stream import ModelSettings, open_stream
from server.chat.pricing import ModelPrice, PriceTable
from server.chat.retry import RetryPolicy
from server.chat.second_choice import SecondChoice
from server.chat.spending import Budget, Spending
from server.chat.thrifty import ThriftyAssistant
from server.chat.understanding import Understand, Understanding
from server.chat.wary import WaryAssistant
from server.config import AssistantChoice, ModelConfig
from server.db.pool import Database
from server.knowledge.embedding import Embedder, OnnxEmbedder
from server.knowledge.lexical import Lexicon
from server.settings import Secret


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the assistant needs besides its model. `on` asks a feature flag for a tenant, and for somebody's share of
    it; `processes` share the model's limits."""

    redis: Redis
    database: Database
    secret: Secret
    sources: Sources
    registry: CollectorRegistry
    on: Callable[..., Awaitable[bool]]
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Desk:
    """What answers, and how its model is (None without one). `figures` are the cache's."""

    assistant: Assistant
    breaker: CircuitBreaker | None
    cache: CachingAssistant
    figures: Figures
    governor: Governor | None = None

    async def model_available(self) -> bool:
        """False while the model's circuit is open: the offline assistant answers meanwhile."""
        return self.breaker is None or self.breaker.state is not BreakerState.OPEN


@asynccontextmanager
async def assistant(
    config: ModelConfig, around: Surroundings, lexicon: Lexicon, embedder: Embedder | None = None
) -> AsyncIterator[Desk]:
    """The offline assistant, or the model's with the offline one behind it; neither answers twice what may be shared.
    In front of all is what is wary of texts: what is suspicious reaches neither the cache nor, if very, a model.

    Intents are told, and questions compared, by MiniLM: by `embedder` where it is that, else by one of our own.
    """
    async with AsyncExitStack() as stack:
        local = embedder if embedder is not None and embedder.model == OnnxEmbedder.model else OnnxEmbedder()
        if local is not embedder:
            stack.push_async_callback(local.close)
        head, glossary = await asyncio.to_thread(lambda: (load(), Glossary()))
        understand = Understanding(head, glossary, local).understand
        cache = answer_cache(around, lexicon, local)
        stack.push_async_callback(cache.figures.close)
        offline = OfflineAssistant(lexicon, understand)
        count = _counting(around.registry)
        model_metrics(around.registry)
        if config.assistant is AssistantChoice.OFFLINE:
            made = Made("", lambda _arm: lexicon.analysis)
            cached = CachingAssistant(offline, made, cache)
            yield Desk(WaryAssistant(cached, offline, count), None, cached, cache.figures)
            return
        models = await _models(stack, config, around, understand, offline)
        await record_prompts(around.database)
        made = Made(config.model, prompts.version)
        cached = CachingAssistant(models.thrifty, made, cache)

        async def in_b(tenant: str, conversation: str) -> bool:
            return await around.on(tenant, "prompt_b", conversation)

        wary = WaryAssistant(AssigningAssistant(cached, in_b), offline, count)
        yield Desk(wary, models.breaker, cached, cache.figures, models.governor)


@dataclass(frozen=True, slots=True)
class _Models:
    thrifty: Assistant
    breaker: CircuitBreaker
    governor: Governor


async def _models(
    stack: AsyncExitStack, config: ModelConfig, around: Surroundings, understand: Understand, offline: Assistant
) -> _Models:
    """The model's assistant within its limits and its budget, with the others that take its place."""
    first, breaker, governor = await _model(stack, config, around, config.model)
    prices = _price_table(config)
    settings = AgentSettings(
        max_output_tokens=config.max_output_tokens,
        deadline=config.timeout,
        max_cost_micros=int(config.answer_budget * 1_000_000),
    )
    budget = Budget(config.budget_soft, config.budget_hard)
    spending = Spending(around.redis, around.database, budget)
    if not config.fallback_model:
        usual: Assistant = OpenAIAssistant(first, prices, understand, offline, settings)
        return _Models(ThriftyAssistant(usual, offline, offline, spending), breaker, governor)
    second, _, _ = await _model(stack, config, around, config.fallback_model)
    cheaper = OpenAIAssistant(second, prices, understand, offline, settings)
    alone = replace(settings, fallback_on_failure=False)
    usual = SecondChoice(OpenAIAssistant(first, prices, understand, offline, alone), cheaper)
    return _Models(ThriftyAssistant(usual, cheaper, offline, spending), breaker, governor)


async def _model(
    stack: AsyncExitStack, config: ModelConfig, around: Surroundings, name: str
) -> tuple[GuardedModel, CircuitBreaker, Governor]:
    settings = ModelSettings(
        name,
        config.api_key.reveal(),
        max_tokens_field="max_tokens" if config.token_limit_name == "max_tokens" else "max_completion_tokens",
        temperature=None if config.temperature is None else float(config.temperature),
        idle_timeout=config.idle_timeout,
    )
    if config.base_url:
        settings = replace(settings, base_url=config.base_url)
    limits = GovernorLimits(config.requests_per_minute, config.tokens_per_minute, around.processes)
    governor = Governor(around.redis, f"{settings.base_url} {name}", limits, registry=around.registry)
    stream = await stack.enter_async_context(open_stream(settings, governor.saw))
    breaker = CircuitBreaker(name)
    return GuardedModel(stream, breaker, RetryPolicy(), governor), breaker, governor


def _price_table(config: ModelConfig) -> PriceTable:
    prices = {model: ModelPrice(*amounts) for model, amounts in config.prices.items()}
    stated = repr(sorted((model, *map(str, amounts)) for model, amounts in config.prices.items()))
    return PriceTable(hashlib.sha256(stated.encode()).hexdigest()[:12], models=prices)


def _counting(registry: CollectorRegistry) -> Callable[[Suspected], None]:
    found = Counter(
        "tria_injection_suspects",
        "Texts that seemed to speak to a model, and answers that an output check touched.",
        ["source", "level"],
        registry=registry,
    )
    return lambda suspected: found.labels(suspected.source.value, suspected.suspicion.level.name).inc()
