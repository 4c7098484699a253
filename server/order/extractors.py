"""Order extractors ready for use: one a tenant, and one of their own for outlets that have taught us what they call
things."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from server.order.catalogue import Catalogue
from server.order.extraction import OrderExtractor
from server.order.product import CatalogueProduct

_MOST_HELD = 64
_SHORTEST_ALIAS = 3  # letters; shorter words, and sizes alone, mean too much
_SMALL = 500  # products whose index is built in a few milliseconds: not worth a thread


@dataclass(frozen=True, slots=True)
class _Built:
    revision: int
    aliases: Mapping[str, str]
    extractor: OrderExtractor


class Extractors:
    """Built on first use and again when the catalogue or what an outlet calls things has changed."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._built: OrderedDict[tuple[str, str], _Built] = OrderedDict()

    async def get(self, tenant: str, outlet: str, aliases: Mapping[str, str]) -> OrderExtractor:
        """The extractor for an outlet; `aliases` maps what it calls products to their SKUs."""
        told = {alias: sku for alias, sku in aliases.items() if sum(map(str.isalpha, alias)) >= _SHORTEST_ALIAS}
        key = (tenant, outlet if told else "")
        revision = await self._catalogue.revision(tenant)
        built = self._built.get(key)
        if built is None or built.revision != revision or built.aliases != told:
            products = _named(await self._catalogue.everything(tenant), told)
            extractor = await self._build(products)
            built = self._built[key] = _Built(revision, told, extractor)
            while len(self._built) > _MOST_HELD:
                self._built.popitem(last=False)
        self._built.move_to_end(key)
        return built.extractor

    async def _build(self, products: Sequence[CatalogueProduct]) -> OrderExtractor:
        if len(products) <= _SMALL:
            return OrderExtractor(products)
        return await asyncio.to_thread(OrderExtractor, products)


def _named(products: Sequence[CatalogueProduct], aliases: Mapping[str, str]) -> list[CatalogueProduct]:
    """The products with the outlet's names for them."""
    by_sku: dict[str, list[str]] = {}
    for alias, sku in aliases.items():
        by_sku.setdefault(sku, []).append(alias)
    return [
        replace(product, aliases=(*product.aliases, *by_sku[product.sku])) if product.sku in by_sku else product
        for product in products
    ]
