"""Quantities with their units, and what a quantity is in the unit that a product is sold by (CONTRACT.md §8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from server.order.extraction_numbers import Doubt, Number, read_number
from server.order.extraction_text import MEASURES, Kind, Token, stem
from server.order.product import CatalogueProduct


class Measure(StrEnum):
    """What a unit word counts."""

    PIECE = "piece"
    PACK = "pack"  # any container: pack_size pieces
    SINGLE = "single"  # a piece of what is sold by the pack, else loose
    LOOSE = "loose"  # says nothing: the unit of sale is meant


_PIECES = (
    "pc pcs piece pieces ea each block blocks keping biji helai batang buah butir 个 只 张 支 根 枚 把 顶 块 片 粒"
)
_CONTAINERS = {
    "pack": "pack packs pk pks packet packets pkt pkts pek paket bungkus 包",
    "carton": "carton cartons ctn ctns cartoon case cases karton peti 箱 件",
    "box": "box boxes bx kotak 盒",
    "sleeve": "sleeve sleeves slv sarung 条 提",
    "bundle": "bundle bundles bdl bale bales ikat 捆 扎",
    "bag": "bag bags sack sacks beg guni 袋",
}
_LOOSE = (
    "unit units nos set sets pair pairs tray trays pad pads drum drums pail pails pasang papan set "
    "套 双 对 副 本 桶 盘 支装"
)
# One thing that may stand in a pack of several: 24 rolls of what is sold by the carton of 12 are two.
_SINGLES = (
    "roll rolls rl tub tubs tin tins can cans bottle bottles btl btls jar jars tube tubes sheet sheets stick sticks "
    "ream reams rim gulung botol tiub balang 卷 瓶 罐 管 令"
)
_UNITS = {
    stem(word): measure
    for measure, words in (
        (Measure.LOOSE, _LOOSE),
        (Measure.SINGLE, _SINGLES),
        (Measure.PACK, " ".join(_CONTAINERS.values())),
        (Measure.PIECE, _PIECES),
    )
    for word in words.split()
}
_CONTAINER_OF = {stem(word): name for name, words in _CONTAINERS.items() for word in words.split()}
# One unit, said with the unit: "sekotak".
_ONE_OF = {
    f"se{unit}": unit for unit in ("kotak", "pek", "karton", "gulung", "bungkus", "botol", "keping", "buah", "biji")
}
_SLIPS = {"pakc": "pack", "pcak": "pack", "packt": "packet", "slevee": "sleeve", "sleve": "sleeve", "ctns": "ctn",
          "cartn": "carton", "crton": "carton", "boxs": "box", "rols": "roll", "peice": "piece"}  # fmt: skip
UNIT_WORDS = frozenset((*_UNITS, *_SLIPS, *_ONE_OF))
_BARE_ONE = frozenset("个包箱盒瓶罐卷袋把支")
_SKIPPED = frozenset(("more", "extra", "additional", "lagi", "full", "whole", "big", "standard", "大"))
# A measure word right behind these counts one: 要个计算器.
_WANTING = frozenset("要来拿加买订补")
_ARTICLES = frozenset(("a", "an", "another"))


@dataclass(frozen=True, slots=True)
class Quantity:
    """A quantity in tokens[first:end]. `value` None: `doubt` says why. `unit` is the unit word ("" when none was said),
    at token `unit_at`; `each` is the number of pieces in one when the message says so ("2 ctn of 100")."""

    value: Decimal | None
    first: int
    end: int
    number_end: int
    doubt: Doubt | None = None
    unit: str = ""
    unit_at: int = -1
    each: Decimal | None = None
    marked: bool = False

    @property
    def measure(self) -> Measure:
        return _UNITS.get(self.unit, Measure.LOOSE)


class Misfit(StrEnum):
    """Why a quantity cannot be ordered as it is."""

    NOT_WHOLE = "not_whole"
    NO_SUCH_PACK = "no_such_pack"  # cartons of something that is sold by the roll


def read_quantity(tokens: Sequence[Token], at: int) -> Quantity | None:
    """The quantity that begins at `at` ("x 20", "2 ctn of 100", "a pack", 两箱), or None."""
    start = at
    if tokens[at].kind is Kind.TIMES:
        at += 1
        if at == len(tokens):
            return None
    number = read_number(tokens, at) or _one(tokens, at)
    if number is None:
        return None
    marked = at > start
    end = number.end
    if end < len(tokens) and tokens[end].kind is Kind.TIMES:
        marked, end = True, end + 1
    if end < len(tokens) and tokens[end].text in _SKIPPED and _unit(tokens, end + 1):
        end += 1
    unit, unit_at = "", -1
    if number.first < number.end and tokens[number.first].text in _ONE_OF:
        unit, unit_at = _ONE_OF[tokens[number.first].text], number.first
    elif found := _unit(tokens, end):
        unit, unit_at, end = found, end, end + 1
    each, end = _each(tokens, end, unit)
    return Quantity(number.value, start, end, number.end, number.doubt, unit, unit_at, each, marked)


def _unit(tokens: Sequence[Token], at: int) -> str:
    if at >= len(tokens) or tokens[at].kind not in {Kind.WORD, Kind.HAN}:
        return ""
    text = _SLIPS.get(tokens[at].text, tokens[at].text)
    return text if text in _UNITS else ""


def _one(tokens: Sequence[Token], at: int) -> Number | None:
    """ "a carton", "another box", "sekotak"."""
    token = tokens[at]
    if token.kind is Kind.HAN and at and tokens[at - 1].text in _WANTING and token.text in _BARE_ONE:
        return Number(Decimal(1), at, at, spelled=True)
    if token.text in _ONE_OF or (token.text in _ARTICLES and _unit(tokens, at + 1)):
        return Number(Decimal(1), at, at + 1, spelled=True)
    return None


def _each(tokens: Sequence[Token], at: int, unit: str) -> tuple[Decimal | None, int]:
    """The pieces per pack of "2 ctn of 100 (pcs)", "2 ctn x 100 pcs", and the token behind."""
    if _UNITS.get(unit) is not Measure.PACK or at + 1 >= len(tokens):
        return None, at
    if tokens[at].text not in {"of", "x", "@", "isi", "("} or tokens[at + 1].kind is not Kind.NUMBER:
        return None, at
    number = read_number(tokens, at + 1)
    if number is None or number.value is None:
        return None, at
    end = number.end
    piece = end < len(tokens) and _UNITS.get(tokens[end].text) is Measure.PIECE
    if tokens[at].text in {"x", "("} and not piece:
        return None, at
    return number.value, end + 1 if piece else end


def in_units_of_sale(
    product: CatalogueProduct, quantity: Quantity, *, unit_is_name: bool
) -> tuple[Decimal, Misfit | None, bool]:
    """The quantity in the product's unit of sale, why it is none, and whether the unit word was the unit of sale.

    `unit_is_name` says that the unit word names the product itself: twenty boxes of a pizza box are twenty.
    """
    value = quantity.value or Decimal(0)
    measure = _measure(product, quantity, unit_is_name=unit_is_name)
    single = by_piece(product)
    exact = True
    if quantity.each is not None:
        value, exact = _from_pieces(product, value * quantity.each, single=single)
    elif measure is Measure.PIECE and not single:
        value, exact = _from_pieces(product, value, single=single)
    elif measure is Measure.PACK and single:
        value *= product.pack_size
    elif measure is Measure.PACK and (_sold_otherwise(product) or _of_other_size(product, quantity)):
        return value, Misfit.NO_SUCH_PACK, False
    same = measure is not Measure.PACK or single or same_unit(product, quantity)
    return value, None if exact else Misfit.NOT_WHOLE, same


def _measure(product: CatalogueProduct, quantity: Quantity, *, unit_is_name: bool) -> Measure:
    measure = quantity.measure
    if quantity.unit == "条" and not same_unit(product, quantity):
        return Measure.PIECE  # a sleeve of cups, and else one of what is long
    if measure is Measure.SINGLE:
        packed = product.pack_size > 1 and _UNITS.get(stem(product.unit.casefold())) is Measure.PACK
        return Measure.PIECE if packed else Measure.LOOSE
    return Measure.LOOSE if unit_is_name else measure


def _sold_otherwise(product: CatalogueProduct) -> bool:
    """True for goods whose unit of sale is no pack."""
    return _UNITS.get(stem(product.unit.casefold()), Measure.PACK) is not Measure.PACK


def _of_other_size(product: CatalogueProduct, quantity: Quantity) -> bool:
    """Whether a carton is said of what is sold by the pack, or a pack of what is sold by the carton of several. What a
    box is called differs from shop to shop."""
    unit = _CONTAINER_OF.get(stem(product.unit.casefold()), "")
    said = _CONTAINER_OF.get(quantity.unit, "")
    if product.pack_size == 1 or not unit:
        return False
    return (said == "carton") != (unit == "carton") and (said, unit) != ("box", "carton")


def same_unit(product: CatalogueProduct, quantity: Quantity) -> bool:
    """Whether the unit word is the unit of sale, in whatever language."""
    unit = stem(product.unit.casefold())
    return _CONTAINER_OF.get(unit, unit) == _CONTAINER_OF.get(quantity.unit, quantity.unit)


def by_piece(product: CatalogueProduct) -> bool:
    """Whether the product is sold singly."""
    unit = stem(product.unit.casefold())
    return _UNITS.get(unit) is Measure.PIECE or unit in {"unit", *MEASURES}


def _from_pieces(product: CatalogueProduct, pieces: Decimal, *, single: bool) -> tuple[Decimal, bool]:
    if single:
        return pieces, True
    packs, rest = divmod(pieces, product.pack_size)
    return packs, rest == 0
