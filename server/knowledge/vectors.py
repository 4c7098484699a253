"""The vector index: a Chroma server, one collection per tenant and embedding model.

It holds nothing that PostgreSQL does not know, so it may be away, empty or behind at any time: a search then goes by
words. Every call is bounded in time; after a failure the server is left alone for a second, so that an outage costs one
slow search and not every search.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from server.knowledge.embedding import Vectors

if TYPE_CHECKING:
    from chromadb.api import AsyncClientAPI
    from chromadb.api.models.AsyncCollection import AsyncCollection

_CONNECT_TIMEOUT = 15.0  # seconds; the first time includes the import of chromadb
_WRITE_BATCH = 256  # vectors per request
_MAX_HITS = 300


class KnowledgeIndexUnavailable(Exception):
    """Chroma cannot be asked just now; the message says why, without any content."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A vector near the asked one: its id (a chunk's name) and the cosine."""

    id: str
    cosine: float


class VectorIndex:
    """Vectors of `dimensions` made by `model`, in the Chroma server at `url`. Use `close()` at the end."""

    def __init__(
        self,
        url: str,
        model: str,
        dimensions: int,
        *,
        query_timeout: float = 1.0,
        write_timeout: float = 30.0,
        pause: float = 1.0,
        read_batch: int = 1000,
    ) -> None:
        self._url = urlsplit(url)
        self._model = model
        self._dimensions = dimensions
        self._query_timeout = query_timeout
        self._write_timeout = write_timeout
        self._pause = pause
        self._read_batch = read_batch
        self._closed_until = 0.0
        self._client: AsyncClientAPI | None = None
        self._connecting = asyncio.Lock()
        self._collections: dict[str, AsyncCollection] = {}

    async def query(self, tenant: str, vector: Vectors, limit: int) -> list[Hit]:
        """The nearest vectors, nearest first; [] for an empty collection. Raises KnowledgeIndexUnavailable at once
        while the server is known to be away."""
        if asyncio.get_running_loop().time() < self._closed_until:
            raise KnowledgeIndexUnavailable("not asked again yet after a failure")
        timeout = self._query_timeout if self._client else _CONNECT_TIMEOUT
        async with self._guarded(tenant, timeout):
            collection = await self._collection(tenant)
            answer = await collection.query(
                query_embeddings=np.atleast_2d(vector).astype(np.float32),
                n_results=min(limit, _MAX_HITS),
                include=["distances"],
            )
            distances = (answer["distances"] or [[]])[0]
            return [Hit(id, 1.0 - float(far)) for id, far in zip(answer["ids"][0], distances, strict=True)]

    async def upsert(self, tenant: str, document: str, revision: str, ids: Sequence[str], vectors: Vectors) -> None:
        """Store the vectors of one document revision; the same again changes nothing."""
        for at in range(0, len(ids), _WRITE_BATCH):
            part = slice(at, at + _WRITE_BATCH)
            async with self._guarded(tenant, self._write_timeout):
                collection = await self._collection(tenant)
                await collection.upsert(
                    ids=list(ids[part]),
                    embeddings=vectors[part].astype(np.float32),
                    metadatas=[{"document": document, "revision": revision} for _ in ids[part]],
                )

    async def remove(self, tenant: str, document: str, *, keep: str = "") -> None:
        """Delete a document's vectors, except those of the revision `keep`."""
        where: dict[str, Any] = {"document": document}
        if keep:
            where = {"$and": [where, {"revision": {"$ne": keep}}]}
        async with self._guarded(tenant, self._write_timeout):
            collection = await self._collection(tenant)
            await collection.delete(where=where)

    async def ping(self) -> bool:
        """Whether the server answers."""
        try:
            async with self._guarded("", self._query_timeout if self._client else _CONNECT_TIMEOUT):
                client = await self._connected()
                await client.heartbeat()
        except KnowledgeIndexUnavailable:
            return False
        return True

    async def held(self, tenant: str) -> Counter[tuple[str, str]]:
        """How many vectors there are of each (document, revision). Not a snapshot: what is written or removed meanwhile
        may be missed, or make others be missed."""
        seen: dict[str, tuple[str, str]] = {}
        at, got = 0, self._read_batch
        while got == self._read_batch:
            async with self._guarded(tenant, self._write_timeout):
                collection = await self._collection(tenant)
                page = await collection.get(limit=self._read_batch, offset=at, include=["metadatas"])
            whose = page["metadatas"] or []
            seen |= {id: (str(of["document"]), str(of["revision"])) for id, of in zip(page["ids"], whose, strict=True)}
            got = len(page["ids"])
            at += got
        return Counter(seen.values())

    async def drop(self, tenant: str) -> None:
        """Delete the tenant's collection; it is made anew by the next call that needs it."""
        async with self._guarded(tenant, self._write_timeout):
            await self._collection(tenant)  # so that there is one to delete
            client = await self._connected()
            await client.delete_collection(self.collection_name(tenant))
            self._collections.pop(tenant, None)

    async def close(self) -> None:
        self._collections.clear()
        client, self._client = self._client, None
        if client is not None:
            # The client has no close(); its HTTP connections belong to the server object inside.
            await client._server.__aexit__(None, None, None)  # type: ignore[attr-defined]  # noqa: SLF001

    def collection_name(self, tenant: str) -> str:
        """Chroma allows 3 to 512 of [a-zA-Z0-9._-]; a digest keeps tenants apart whatever their ids are."""
        return f"tria-{hashlib.sha256(tenant.encode()).hexdigest()[:24]}-{self._model}"

    async def _connected(self) -> AsyncClientAPI:
        if self._client is None:
            async with self._connecting:
                if self._client is None:
                    self._client = await self._connect()
        return self._client

    async def _connect(self) -> AsyncClientAPI:
        chromadb = await asyncio.to_thread(importlib.import_module, "chromadb")  # 1.5 s: off the loop
        tls = self._url.scheme == "https"
        settings = chromadb.Settings(anonymized_telemetry=False, chroma_server_ssl_verify=tls)
        client: AsyncClientAPI = await chromadb.AsyncHttpClient(
            host=self._url.hostname, port=self._url.port or (443 if tls else 8000), ssl=tls, settings=settings
        )
        return client

    async def _collection(self, tenant: str) -> AsyncCollection:
        collection = self._collections.get(tenant)
        if collection is None:
            client = await self._connected()
            collection = await client.get_or_create_collection(
                self.collection_name(tenant),
                configuration={"hnsw": {"space": "cosine"}},
                metadata={"tenant": tenant, "model": self._model, "dimensions": self._dimensions},
                embedding_function=None,
            )
            self._collections[tenant] = collection
        return collection

    @asynccontextmanager
    async def _guarded(self, tenant: str, timeout: float) -> AsyncIterator[None]:
        """Bounds the time; whatever the client raises for an unwell server becomes KnowledgeIndexUnavailable."""
        try:
            async with asyncio.timeout(timeout):
                yield
        except (httpx.HTTPError, OSError, ValueError, KeyError) as failed:
            # ValueError: "could not connect"; KeyError: an answer that is not Chroma's.
            raise self._away(tenant, failed) from failed
        except Exception as failed:  # chromadb raises a bare Exception for a status that it does not know
            # Of another type, from elsewhere: the defect is ours.
            if type(failed) is not Exception and "chromadb" not in type(failed).__module__:
                raise
            raise self._away(tenant, failed) from failed

    def _away(self, tenant: str, failed: Exception) -> KnowledgeIndexUnavailable:
        # The collection may have been deleted with the server's data: look it up again next time.
        self._collections.pop(tenant, None)
        self._closed_until = asyncio.get_running_loop().time() + self._pause
        return KnowledgeIndexUnavailable(f"the vector index failed: {type(failed).__name__}")
