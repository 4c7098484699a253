"""What is asked back, as data and as a sentence in the customer's language."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from server.order.product import CatalogueProduct


class Ask(StrEnum):
    """What is not clear."""

    WHICH_PRODUCT = "which_product"  # several fit equally
    UNKNOWN_PRODUCT = "unknown_product"  # nothing of the catalogue fits
    HOW_MANY = "how_many"
    NOT_WHOLE = "not_whole"
    NO_SUCH_PACK = "no_such_pack"
    ABOVE_STOCK = "above_stock"
    BELOW_MINIMUM = "below_minimum"
    USUAL = "usual"  # "the usual" of an outlet without history


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask, about message[start:end] (`said`). `products` are the candidates, at most five; `quantity` is
    what was understood so far, in the unit of sale for ABOVE_STOCK and BELOW_MINIMUM."""

    ask: Ask
    start: int
    end: int
    said: str
    products: tuple[CatalogueProduct, ...] = ()
    quantity: Decimal | None = None

    def sentence(self, language: str = "en") -> str:
        """The question in "en", "zh" or "ms"; English for any other."""
        texts = _TEXTS.get(language, _TEXTS["en"])
        product = self.products[0] if self.products else None
        names = [_name(candidate, language) for candidate in self.products[:5]]
        return texts[self.ask].format(
            said=self.said,
            names=_OR[language if language in _OR else "en"].join(names),
            name=names[0] if names else self.said,
            unit=product.unit if product else "",
            pack=product.pack_size if product else "",
            least=f"{product.min_quantity.normalize():f}" if product else "",
            stock=f"{product.stock.normalize():f}" if product and product.stock is not None else "",
            quantity=f"{self.quantity.normalize():f}" if self.quantity is not None else "",
        )


def _name(product: CatalogueProduct, language: str) -> str:
    local = {"zh": product.name_zh, "ms": product.name_ms}.get(language, "")
    return f"{local or product.name} ({product.sku})"


_OR = {"en": ", or ", "zh": "，还是 ", "ms": ", atau "}
_TEXTS: dict[str, dict[Ask, str]] = {
    "en": {
        Ask.WHICH_PRODUCT: 'Which one do you mean by "{said}": {names}?',
        Ask.UNKNOWN_PRODUCT: 'Which product do you mean by "{said}"? I could not find it in the price list.',
        Ask.HOW_MANY: "How many of {name} would you like? It is sold by the {unit}.",
        Ask.NOT_WHOLE: '{name} is sold by the {unit} of {pack}, and "{said}" is no whole number of them. How many?',
        Ask.NO_SUCH_PACK: '{name} is sold by the {unit}. How many of these is "{said}"?',
        Ask.ABOVE_STOCK: "You asked for {quantity} of {name}, and {stock} are in stock. How many would you like?",
        Ask.BELOW_MINIMUM: "You asked for {quantity} of {name}, and the minimum is {least}. How many would you like?",
        Ask.USUAL: "I have no earlier order to repeat. Which products and how many would you like?",
    },
    "zh": {
        Ask.WHICH_PRODUCT: "“{said}”是指哪一款：{names}？",
        Ask.UNKNOWN_PRODUCT: "“{said}”是指哪个产品？价目表里找不到。",
        Ask.HOW_MANY: "{name} 要多少？按 {unit} 出售。",
        Ask.NOT_WHOLE: "{name} 每 {unit} {pack} 个，“{said}”不是整数，要多少？",
        Ask.NO_SUCH_PACK: "{name} 按 {unit} 出售，“{said}”是多少？",
        Ask.ABOVE_STOCK: "您要 {quantity}，{name} 库存只有 {stock}，要多少？",
        Ask.BELOW_MINIMUM: "您要 {quantity}，{name} 最少订 {least}，要多少？",
        Ask.USUAL: "没有找到以前的订单。请告诉我要哪些产品和数量。",
    },
    "ms": {
        Ask.WHICH_PRODUCT: 'Yang mana satu untuk "{said}": {names}?',
        Ask.UNKNOWN_PRODUCT: 'Produk mana yang dimaksudkan dengan "{said}"? Tiada dalam senarai harga.',
        Ask.HOW_MANY: "Berapa banyak {name}? Dijual setiap {unit}.",
        Ask.NOT_WHOLE: '{name} dijual setiap {unit} ({pack} keping); "{said}" bukan bilangan penuh. Berapa banyak?',
        Ask.NO_SUCH_PACK: '{name} dijual setiap {unit}. Berapa banyak untuk "{said}"?',
        Ask.ABOVE_STOCK: "Anda minta {quantity} {name}, stok hanya {stock}. Berapa banyak?",
        Ask.BELOW_MINIMUM: "Anda minta {quantity} {name}, minimum ialah {least}. Berapa banyak?",
        Ask.USUAL: "Tiada pesanan lama untuk diulang. Produk mana dan berapa banyak?",
    },
}
