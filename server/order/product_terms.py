"""The words by which products are found: the same cutting for catalogue entries and for what customers write.

Sizes have one spelling (12 inch, 12", 12in, 12寸, 12 inci, 十二寸 are all "12in"), Latin words lose their plural,
Chinese is cut into overlapping pairs of characters, which needs no dictionary. Pure and linear.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

from server.order.product import CatalogueProduct

_UNITS = {
    "in": ("inches", "inch", "inci", "in", '"', "英寸", "寸", "吋"),
    "oz": ("ounces", "ounce", "oz", "盎司", "安士"),
    "ml": ("millilitres", "millilitre", "milliliters", "milliliter", "ml", "毫升"),
    "l": ("litres", "litre", "liters", "liter", "l", "升"),
    "cm": ("centimetres", "centimetre", "cm", "厘米", "公分"),
    "mm": ("millimetres", "millimetre", "mm", "毫米"),
    "gsm": ("gsm",),
}
_SPELLED = {spelling: unit for unit, spellings in _UNITS.items() for spelling in spellings}
_NUMBER_WORDS = {
    "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "fourteen": 14, "sixteen": 16,
    "enam": 6, "tujuh": 7, "lapan": 8, "sembilan": 9, "sepuluh": 10, "dua belas": 12, "empat belas": 14,
    "enam belas": 16, "六": 6, "七": 7, "八": 8, "九": 9, "十": 10, "十一": 11, "十二": 12, "十四": 14, "十六": 16,
}  # fmt: skip
_SPELLINGS = "|".join(re.escape(spelling) for spelling in sorted(_SPELLED, key=len, reverse=True))
_NAMES = "|".join(sorted(_NUMBER_WORDS, key=len, reverse=True))
# "in" and "l" are sizes only right after the digits ("12in", "1 L"), or every "20 in stock" would be one.
_SIZE = re.compile(
    rf"(?<![\w.])(?P<number>\d{{1,5}}(?:\.\d{{1,2}})?)\s*-?\s*(?P<unit>{_SPELLINGS})(?![a-z])(?!\s+(?:stock|a|the|my)\b)"
    rf"|(?<![a-z\d])(?P<name>{_NAMES})\s*-?\s*(?P<named>inches|inch|inci|英寸|寸|吋|oz|盎司)(?![a-z])"
)
_TOKEN = re.compile(r"[a-z]+[0-9]*[a-z]*|\d+(?:\.\d+)?|[\u3400-\u9fff]+")
_HAN = re.compile(r"[\u3400-\u9fff]+")
_SKU_LIKE = re.compile(r"(?<![a-z0-9])[a-z0-9]{1,12}(?:[-._][a-z0-9]{1,12}){1,5}(?![a-z0-9])")

# Words that ask rather than name; none of them tells one product from another.
STOP = frozenset(
    """a an and any are at available be buy can carry cost do does each for from get got have how i in is it its many me
much need now of on one or order our pc pcs per piece pieces please pls price prices pricing sell selling show size
sizes still stock than that the their there these they this to today tomorrow u ur us want we what whats which with
you your
ada apa atau berapa boleh dan dari dengan di harga ini itu jual ke keping mahu minta nak satu saiz saya stok tak tidak
tolong untuk ya yang ah lah""".split()  # noqa: SIM905 - a list of words reads better than a list of quotes
)
_STOP_HAN = re.compile(
    "多少钱|多少|价格|价钱|怎么卖|有没有|有货吗|有货|还有|你们|我们|我要|我想|请问|什么|哪种|哪款|哪些|几种|一个|一箱|一包|"
    "的|吗|呢|有|要|和|跟|卖|库存|尺寸|这个|那个|是|送|给|个|最少|订购|订"
)


def normal(text: str) -> str:
    """One spelling for what looks the same, with inch marks as a plain double quote."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    for mark in ("\u201c", "\u201d", "\u2033", "\u2032\u2032", "''"):
        folded = folded.replace(mark, '"')
    return folded


def sizes(text: str) -> list[str]:
    """The sizes in `text`, each as number and unit ("12in"); litres become millilitres."""
    return [_size(match) for match in _SIZE.finditer(normal(text))]


def terms(text: str) -> list[str]:
    """The search terms of a text in order, without repetition."""
    plain = normal(text)
    found = [_size(match) for match in _SIZE.finditer(plain)]
    rest = _SIZE.sub(" ", plain)
    found += _SKU_LIKE.findall(rest)
    for token in _TOKEN.findall(rest):
        found += _pairs(token) if token[0] >= "\u3400" else [_stem(token)]
    return list(dict.fromkeys(found))


def query_terms(text: str) -> list[str]:
    """The terms of what a customer writes, without the words that only ask."""
    plain = _STOP_HAN.sub(" ", normal(text))
    return [term for term in terms(plain) if term not in STOP]


def han(text: str) -> list[str]:
    """The Chinese characters of a text one by one, so that 筷子 still finds 竹筷."""
    return list(dict.fromkeys(char for run in _HAN.findall(text) for char in run))


def stored_terms(product: CatalogueProduct) -> list[str]:
    """Every term by which the store may find the product."""
    texts = (product.sku, product.name, product.name_zh, product.name_ms, product.category, *product.aliases)
    found = [term for text in texts for term in (*terms(text), *han(text))]
    return list(dict.fromkeys(found))


def _size(match: re.Match[str]) -> str:
    if match["name"]:
        return f"{_NUMBER_WORDS[match['name']]}{_SPELLED[match['named']]}"
    number, unit = Decimal(match["number"]), _SPELLED[match["unit"]]
    if unit == "l":
        number, unit = number * 1000, "ml"
    return f"{number.normalize():f}{unit}"


def _pairs(run: str) -> list[str]:
    return [run] if len(run) == 1 else [run[start : start + 2] for start in range(len(run) - 1)]


def _stem(word: str) -> str:
    """Singular of an English plural: boxes → box, trays → tray, dishes → dish; other words stay."""
    if len(word) > 4 and word.endswith(("xes", "ches", "shes", "sses")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
