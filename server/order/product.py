"""A product of the catalogue and what makes one valid, wherever it comes from (file or RPC)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from server.order.money import Money

SKU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_MOST_ALIASES = 50
_LARGEST_PACK = 1_000_000
_LARGEST_QUANTITY = Decimal(10) ** 10
# A cell that begins so is run as a formula when the catalogue is exported and opened in a spreadsheet (CWE-1236).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class CatalogueProduct:
    """A product as it is sold.

    `price` is for one `unit`, before tax; `pack_size` is pieces in one unit, or in one pack of a product sold by the
    piece. `min_quantity` and `stock` are in units; `stock` None means that it is not counted. `name_zh` and `name_ms`
    may be empty.
    """

    sku: str
    name: str
    unit: str
    pack_size: int
    price: Money
    tax_code: str
    name_zh: str = ""
    name_ms: str = ""
    aliases: tuple[str, ...] = ()
    min_quantity: Decimal = Decimal(1)
    stock: Decimal | None = None
    category: str = ""
    active: bool = True

    @property
    def in_stock(self) -> bool:
        """Whether the minimum can be delivered from stock."""
        return self.stock is None or self.stock >= max(self.min_quantity, Decimal(1))

    @property
    def etag(self) -> str:
        """Sixteen hex digits that change with any field."""
        price = (self.price.currency, str(self.price.amount.normalize()))
        numbers = (str(self.min_quantity.normalize()), str(self.stock.normalize()) if self.stock is not None else "")
        texts = (self.sku, self.name, self.name_zh, self.name_ms, self.unit, self.tax_code, self.category)
        whole = "\x1f".join((*texts, *self.aliases, *price, *numbers, str(self.pack_size), str(self.active)))
        return hashlib.sha256(whole.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that was not stored: its line in the source (0 when it has none), its SKU as far as known, and why."""

    line: int
    sku: str
    message: str


def faults(product: CatalogueProduct) -> Iterator[str]:
    """Everything that is wrong with the product, each a sentence for the person who keeps the list."""
    if not SKU.fullmatch(product.sku):
        yield "sku: letters, digits, '.', '_' and '-' only, at most 64, beginning with a letter or digit"
    texts = [("name", product.name, 300), ("name_zh", product.name_zh, 300), ("name_ms", product.name_ms, 300)]
    texts += [("unit", product.unit, 32), ("tax_code", product.tax_code, 32), ("category", product.category, 120)]
    texts += [("aliases", alias, 120) for alias in product.aliases]
    for field, text, longest in texts:
        yield from _text_faults(field, text, longest)
    for field, text in (("name", product.name), ("unit", product.unit), ("tax_code", product.tax_code)):
        if not text:
            yield f"{field}: missing"
    yield from _number_faults(product)


def _text_faults(field: str, text: str, longest: int) -> Iterator[str]:
    if len(text) > longest:
        yield f"{field}: longer than {longest} characters"
    if text.startswith(_FORMULA):
        yield f"{field}: begins like a spreadsheet formula ({text[0]!r})"
    if _CONTROL.search(text):
        yield f"{field}: has control characters"


def _number_faults(product: CatalogueProduct) -> Iterator[str]:
    if product.price.amount <= 0:
        yield "price: must be above zero"
    if not 1 <= product.pack_size <= _LARGEST_PACK:
        yield f"pack_size: a whole number from 1 to {_LARGEST_PACK}"
    if not 0 < product.min_quantity < _LARGEST_QUANTITY:
        yield "min_quantity: must be above zero"
    if product.stock is not None and not 0 <= product.stock < _LARGEST_QUANTITY:
        yield "stock: must not be negative"
    if len(product.aliases) > _MOST_ALIASES:
        yield f"aliases: more than {_MOST_ALIASES}"
