"""Watches what an answer looks at, to say afterwards whether it may be shared."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from server.chat.assistant import Intent, Language, OrderSummary, OrderTaken, Product, Tools
from server.knowledge.passages import SearchResult


class Witness:
    """`Tools` that remember. `private` when anything of the outlet's own was read or proposed; `degraded` when the
    documents could be searched by words only; `products` are fingerprints of the goods that were seen, by SKU."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._heard: dict[Intent, Intent] = {}
        self.private = False
        self.degraded = False
        self.products: dict[str, str] = {}

    async def search_knowledge(self, query: str, *, limit: int = 4) -> SearchResult:
        found = await self._tools.search_knowledge(query, limit=limit)
        self.degraded = self.degraded or found.degraded
        return found

    async def search_products(self, query: str, *, limit: int = 5) -> Sequence[Product]:
        found = await self._tools.search_products(query, limit=limit)
        self.products |= {product.sku: fingerprint(product) for product in found}
        return found

    async def recent_orders(self, *, limit: int = 3) -> Sequence[OrderSummary]:
        self.private = True
        return await self._tools.recent_orders(limit=limit)

    async def hear_order(self, intent: Intent) -> Intent:
        """Heard once: the cache asks before the assistant does."""
        if intent not in self._heard:
            self._heard[intent] = await self._tools.hear_order(intent)
        return self._heard[intent]

    async def take_order(self, language: Language, *, changes: bool) -> OrderTaken | None:
        self.private = True
        return await self._tools.take_order(language, changes=changes)

    async def cancel_order(self, language: Language) -> OrderTaken | None:
        self.private = True
        return await self._tools.cancel_order(language)


def fingerprint(product: Product) -> str:
    """What an answer may say of a product; changes when any of it does."""
    said = (
        product.sku,
        product.name,
        sorted(product.names.items()),
        product.unit,
        product.pack_size,
        str(product.price),
        product.currency,
        product.min_quantity,
        product.in_stock,
        product.category,
    )
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]
