"""How the cache learns that documents or catalogue have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from server.chat.cache.caching import Revisions
from server.chat.cache.witness import fingerprint
from server.chat.desk_tools import shown_product
from server.knowledge.service import KnowledgeService
from server.order.catalogue import Catalogue


class DeskSources:
    """`Sources` over the desk's documents and catalogue."""

    def __init__(self, knowledge: KnowledgeService, catalogue: Catalogue) -> None:
        self._knowledge = knowledge
        self._catalogue = catalogue

    async def revisions(self, tenant: str) -> Revisions:
        knowledge, catalogue = await asyncio.gather(
            self._knowledge.knowledge_revision(tenant), self._catalogue.revision(tenant)
        )
        return Revisions(str(knowledge), str(catalogue))

    async def products(self, tenant: str, skus: Sequence[str]) -> Mapping[str, str]:
        """Fingerprints of those that are sold, by SKU."""
        found = await self._catalogue.on_sale(tenant, skus)
        return {match.product.sku: fingerprint(shown_product(match)) for match in found}
