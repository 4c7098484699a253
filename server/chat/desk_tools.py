"""The look-ups of one run, bound to its tenant and outlet: an assistant cannot reach anybody else's data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from server.chat.assistant import Intent, Language, OrderSummary, OrderTaken, Product
from server.chat.order_talk import OrderTalk
from server.knowledge.passages import SearchResult
from server.knowledge.search import KnowledgeSearch
from server.order.catalogue import Catalogue
from server.order.order import Order
from server.order.product_ranking import Match
from server.order.reading import Reading


class DeskTools:
    """`server.chat.assistant.Tools` with the rights of one outlet. `degraded` is called when the vector index was
    away and documents were searched by words only; `talk` is None where nobody may order."""

    def __init__(
        self,
        knowledge: KnowledgeSearch,
        catalogue: Catalogue,
        orders: Reading | None,
        tenant: str,
        outlet: str,
        talk: OrderTalk | None,
        degraded: Callable[[], None],
    ) -> None:
        self._knowledge = knowledge
        self._catalogue = catalogue
        self._orders = orders
        self._tenant = tenant
        self._outlet = outlet
        self._talk = talk
        self._degraded = degraded

    async def search_knowledge(self, query: str, *, limit: int = 4) -> SearchResult:
        result = await self._knowledge.search(self._tenant, query, limit=limit)
        if result.degraded:
            self._degraded()
        return result

    async def search_products(self, query: str, *, limit: int = 5) -> Sequence[Product]:
        found = await self._catalogue.search(self._tenant, query, limit=limit)
        return [shown_product(match) for match in found]

    async def recent_orders(self, *, limit: int = 3) -> Sequence[OrderSummary]:
        if not self._outlet or self._orders is None:  # the order store reads no outlet as every outlet
            return ()
        found = await self._orders.recent(self._tenant, self._outlet, limit)
        return [_summary(order) for order in found]

    async def hear_order(self, intent: Intent) -> Intent:
        return await self._talk.hear(intent) if self._talk else intent

    async def take_order(self, language: Language, *, changes: bool) -> OrderTaken | None:
        return await self._talk.take(language, changes=changes) if self._talk else None

    async def cancel_order(self, language: Language) -> OrderTaken | None:
        return await self._talk.cancel(language) if self._talk else None


def _summary(order: Order) -> OrderSummary:
    return OrderSummary(
        name=order.name,
        number=order.number,
        state=order.state.value,
        total=order.priced.total,
        currency=order.currency,
        placed_on=order.create_time.date().isoformat(),
    )


def shown_product(match: Match) -> Product:
    """A row of the catalogue as assistants see it."""
    product = match.product
    names = {"en": product.name, "zh": product.name_zh, "ms": product.name_ms}
    return Product(
        sku=product.sku,
        name=product.name,
        names={language: name for language, name in names.items() if name},
        unit=product.unit,
        pack_size=product.pack_size,
        price=product.price.amount,
        currency=product.price.currency,
        min_quantity=math.ceil(product.min_quantity),
        in_stock=product.in_stock,
        category=product.category,
        score=match.score,
    )
