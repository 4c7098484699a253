"""What an answer may lean on: the passages and products that tools returned in this very turn."""

from __future__ import annotations

import re
from collections.abc import Iterable

import orjson

from server.chat.assistant import OrderSummary, Product
from server.chat.output_guard import Allowed
from server.knowledge.passages import Passage

_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")
# Words of Latin script, single characters of Chinese: what two texts are compared by.
_TERM = re.compile(r"[a-z\u00c0-\u024f]{3,}|\d+|[\u3400-\u9fff]", re.IGNORECASE)
_QUOTE_LENGTH = 300


class Evidence:
    """Passages numbered from 1 in the order of retrieval, and products by SKU. Only grows during a turn."""

    def __init__(self) -> None:
        self._passages: list[Passage] = []
        self._products: dict[str, Product] = {}
        self.allowed = Allowed()

    def __bool__(self) -> bool:
        return bool(self._passages or self._products)

    def add_passages(self, passages: Iterable[Passage]) -> list[dict[str, object]]:
        """Numbers the new ones; returns all of these as data for the model."""
        shown = []
        for passage in passages:
            known = [other.chunk for other in self._passages]
            if passage.chunk not in known:
                self._passages.append(passage)
                self.allowed.material(f"{passage.title}\n{passage.heading}\n{passage.text}")
                known.append(passage.chunk)
            number = known.index(passage.chunk) + 1
            shown.append(
                {"n": number, "title": passage.title, "heading": passage.heading, "text": passage.text},
            )
        return shown

    def add_products(self, products: Iterable[Product]) -> list[dict[str, object]]:
        """These products as data for the model. In place of the price stands a marker that code replaces, so that
        a price can be neither misread nor made up."""
        shown: list[dict[str, object]] = []
        for product in products:
            self._products[product.sku] = product
            self.allowed.material(
                f"{self.price(product.sku)} {product.name} {product.pack_size} {product.min_quantity}"
            )
            shown.append(
                {
                    "sku": product.sku,
                    "name": product.name,
                    "names": product.names,
                    "sold_by": product.unit,
                    "pieces_per_unit": product.pack_size,
                    "minimum_units": product.min_quantity,
                    "in_stock": product.in_stock,
                    "category": product.category,
                    "price": f"[price:{product.sku}]",
                }
            )
        return shown

    def add_orders(self, orders: Iterable[OrderSummary]) -> list[dict[str, object]]:
        """Order states for the model; totals are the order service's own figures."""
        shown: list[dict[str, object]] = []
        for order in orders:
            total = f"{order.currency} {order.total}"
            self.allowed.material(f"{order.number} {total}")
            shown.append({"number": order.number, "state": order.state, "total": total, "placed_on": order.placed_on})
        return shown

    def chunks(self) -> dict[str, str]:
        """The passages shown, name to SHA-256."""
        return {passage.chunk: passage.sha256 for passage in self._passages}

    def passage(self, number: int) -> Passage | None:
        return self._passages[number - 1] if 1 <= number <= len(self._passages) else None

    def price(self, sku: str) -> str | None:
        """The price as it is told, such as "SGD 0.65", or None for a product that was not looked up."""
        product = self._products.get(sku)
        if product is None:
            return None
        exponent = product.price.as_tuple().exponent
        # An exponent that is no number belongs to NaN and infinity, which are no prices.
        if not isinstance(exponent, int):
            return None
        return f"{product.currency} {product.price:.{max(2, -exponent)}f}"

    def best_product_score(self) -> float:
        return max((product.score for product in self._products.values()), default=0.0)


def quote(passage: Passage, claim: str) -> str:
    """The sentence of the passage that shares most words with `claim` (the answer up to the citation), at most 300
    characters; the first one when none shares any."""
    wanted = _terms(claim)
    sentences: list[str] = [found.strip() for found in _SENTENCE.findall(passage.text) if found.strip()]
    if not sentences:
        return passage.text[:_QUOTE_LENGTH]
    return max(sentences, key=lambda sentence: len(wanted & _terms(sentence)))[:_QUOTE_LENGTH]


def as_json(data: object) -> str:
    """Data as the model is shown it."""
    return orjson.dumps(data).decode()


def _terms(text: str) -> set[str]:
    return {term.lower() for term in _TERM.findall(text)}
