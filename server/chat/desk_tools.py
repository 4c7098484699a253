"""The look-ups of one run, bound to its tenant and outlet: an assistant cannot reach anybody else's data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from server.chat.assistant import OrderSummary, Product
from server.knowledge.passages import SearchResult
from server.knowledge.search import KnowledgeSearch
from server.order.catalogue import Catalogue


class DeskTools:
    """`server.chat.assistant.Tools` with the rights of one outlet. `degraded` is called when the vector index was
    away and documents were searched by words only."""

    def __init__(
        self, knowledge: KnowledgeSearch, catalogue: Catalogue, tenant: str, outlet: str, degraded: Callable[[], None]
    ) -> None:
        self._knowledge = knowledge
        self._catalogue = catalogue
        self._tenant = tenant
        self._outlet = outlet
        self._degraded = degraded

    async def search_knowledge(self, query: str, *, limit: int = 4) -> SearchResult:
        result = await self._knowledge.search(self._tenant, query, limit=limit)
        if result.degraded:
            self._degraded()
        return result

    async def search_products(self, query: str, *, limit: int = 5) -> Sequence[Product]:
        return await self._catalogue.search(self._tenant, query, limit=limit)

    async def recent_orders(self, *, limit: int = 3) -> Sequence[OrderSummary]:
        # No order is stored yet, so there is none to tell of.
        return ()
