"""The knowledge parts put together once, for the server, the worker and the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from server.config import Config
from server.db.pool import Database
from server.jobs import enqueue
from server.knowledge.embedding import Embedder, OnnxEmbedder, openai_embedder
from server.knowledge.lexical import Lexicon
from server.knowledge.search import KnowledgeSearch
from server.knowledge.service import KnowledgeService
from server.knowledge.vectors import VectorIndex
from server.settings import Secret


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What others use: `service` changes documents and runs the job, `search` answers questions."""

    service: KnowledgeService
    search: KnowledgeSearch
    index: VectorIndex
    embedder: Embedder
    lexicon: Lexicon


@dataclass(frozen=True, slots=True)
class KnowledgeSettings:
    """Where Chroma is, and the provider's embedding model with its key and base URL ("": MiniLM on this machine)."""

    chroma_url: str
    embedding_model: str = ""
    api_key: Secret = field(default_factory=lambda: Secret(""))
    base_url: str = ""


def knowledge(config: Config, database: Database) -> AbstractAsyncContextManager[Knowledge]:
    """The parts as configured."""
    model = config.model
    return open_knowledge(
        KnowledgeSettings(config.store.chroma_url, model.embedding_model, model.api_key, model.base_url), database
    )


@asynccontextmanager
async def open_knowledge(settings: KnowledgeSettings, database: Database) -> AsyncIterator[Knowledge]:
    """The parts over the given stores; closes model and index at the end, not the database."""
    async with AsyncExitStack() as stack:
        embedder = await _embedder(settings)
        stack.push_async_callback(embedder.close)
        index = VectorIndex(settings.chroma_url, embedder.model, embedder.dimensions)
        stack.push_async_callback(index.close)
        lexicon = await asyncio.to_thread(Lexicon)
        yield Knowledge(
            service=KnowledgeService(database, index, embedder, lexicon, enqueue),
            search=KnowledgeSearch(database, index, embedder, lexicon),
            index=index,
            embedder=embedder,
            lexicon=lexicon,
        )


async def _embedder(settings: KnowledgeSettings) -> Embedder:
    if not settings.embedding_model:
        return OnnxEmbedder()
    return await asyncio.to_thread(
        openai_embedder, settings.api_key.reveal(), settings.base_url, settings.embedding_model
    )
