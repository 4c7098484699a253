"""A customer's message cut into tokens that keep their place in it; English, Malay and Chinese in one string.

Folding changes lengths (NFKC, case), so every folded character remembers the code point that it came from: spans are
those of the message as it was sent. Pure and linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

# Nobody orders in more; what stands behind is left out, so the time for one message is bounded.
MOST_CHARACTERS = 4000

# Traditional characters that keyboards of the region still produce, as the simplified ones that catalogues use.
_SIMPLIFIED = str.maketrans(
    "訂單貨時間電話錢運費麼嗎幾點們發壞錯紙盤個無問題轉請幫給還來這樣營業庫條價購買賣報損濕壓員質遲關開續貴號稅樓"
    "濃餅雞飯換兩總顧鋁塊熱蓋對張雙層裝韓圓頂頭膠帶燈絲鐵釘麵龍團紅綠藍黃烏龍壺節寧變萬絞線銅鎖劑薩",
    "订单货时间电话钱运费么吗几点们发坏错纸盘个无问题转请帮给还来这样营业库条价购买卖报损湿压员质迟关开续贵号税楼"
    "浓饼鸡饭换两总顾铝块热盖对张双层装韩圆顶头胶带灯丝铁钉面龙团红绿蓝黄乌龙壶节宁变万绞线铜锁剂萨",
)
_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'", "`": "'", "\u201c": '"', "\u201d": '"'})
_MEASURES = {
    "in": ("inches", "inch", "inci", "in", '"', "''", "英寸", "寸", "吋"),
    "oz": ("ounces", "ounce", "oz", "盎司", "安士"),
    "ml": ("millilitres", "millilitre", "milliliters", "milliliter", "ml", "毫升"),
    "l": ("litres", "litre", "liters", "liter", "l", "公升", "升"),
    "cm": ("centimetres", "centimetre", "cm", "厘米", "公分"),
    "mm": ("millimetres", "millimetre", "mm", "毫米"),
    "m": ("metres", "metre", "meters", "meter", "m", "米"),
    "kg": ("kilograms", "kilogram", "kilos", "kilo", "kgs", "kg", "公斤", "千克"),
    "g": ("grams", "gram", "g", "克"),
    "w": ("watts", "watt", "w", "瓦"),
    "gsm": ("gsm",),
}
_MEASURE_OF = {spelling: measure for measure, spellings in _MEASURES.items() for spelling in spellings}
MEASURES = frozenset(_MEASURES)
_SPELLINGS = "|".join(re.escape(spelling) for spelling in sorted(_MEASURE_OF, key=len, reverse=True))
_SIZE_WORDS = {
    "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twelve": 12, "fourteen": 14, "sixteen": 16,
    "enam": 6, "tujuh": 7, "lapan": 8, "sembilan": 9, "sepuluh": 10, "dua belas": 12, "empat belas": 14,
    "enam belas": 16, "六": 6, "七": 7, "八": 8, "九": 9, "十": 10, "十二": 12, "十四": 14, "十六": 16,
}  # fmt: skip
_NAMES = "|".join(sorted(_SIZE_WORDS, key=len, reverse=True))
_TOKEN = re.compile(
    rf"""
    (?P<code>(?<![a-z0-9])[a-z0-9]+(?:[-._][a-z0-9]+){{1,31}}(?![a-z0-9]))
  | (?P<size>(?<![\d.])\d{{1,5}}(?:\.\d{{1,2}})?[ \t]{{0,3}}-?[ \t]{{0,3}}(?:{_SPELLINGS})(?![a-z])
      (?![ ](?:stock|a|the|my|one)\b))
  | (?P<named>(?<![a-z\u3400-\u9fff])(?:{_NAMES})[ ]{{0,3}}-?[ ]{{0,3}}
      (?:inches|inch|inci|英寸|寸|吋|oz|盎司|安士)(?![a-z]))
  | (?P<number>\d+[ ]?\u2044[ ]?\d+|\d+/\d+|\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+\.\d+k?|\d+k(?![a-z])|\d+)
  | (?P<times>[x\u00d7*](?=[ ]?\d)|(?<=\d)[ ]?[x\u00d7*](?![a-z]))
  | (?P<word>[^\W\d_\u3400-\u9fff]+(?:'[^\W\d_\u3400-\u9fff]+)*\d*)
  | (?P<han>[\u3400-\u9fff])
  | (?P<mark>\S|\n)
    """,
    re.VERBOSE,
)
# Longer than any quantity, SKU or word of a product's name.
_ENDLESS = re.compile(r"[^\W_\u3040-\u9fff]{65,}")
# Looks like a SKU even if it is none: letters, then digits, joined.
_CODE = re.compile(r"[a-z]{1,5}-\d{1,5}(?:-[a-z0-9]+)*")
_MEASURE_END = re.compile(rf"(?:{_SPELLINGS})$")


class Kind(StrEnum):
    """What a token is."""

    CODE = "code"
    SIZE = "size"
    NUMBER = "number"
    TIMES = "times"
    WORD = "word"
    HAN = "han"
    MARK = "mark"


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its normal form ("12in", "box"), its kind and where it stands in the message (code points), and
    where in the folded text."""

    text: str
    kind: Kind
    start: int
    end: int
    at: int


@dataclass(frozen=True, slots=True)
class Folded:
    """A text in one spelling; `origin[i]` is the code point of the message that character i came from, with one more
    entry for the end."""

    text: str
    origin: tuple[int, ...]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The place in the message of the folded characters from `start` to `end`, which are not none."""
        return self.origin[start], self.origin[end - 1] + 1


def fold(text: str) -> Folded:
    """Compatibility forms, case, quotes and traditional characters brought to one spelling; what is longer than any
    word becomes blanks, so that no pattern looks far ahead in vain."""
    text = text[:MOST_CHARACTERS]
    if text.isascii():
        return Folded(_readable(text.lower()), (*range(len(text)), len(text)))
    pieces: list[str] = []
    origin: list[int] = []
    for place, character in enumerate(text):
        if len(origin) >= MOST_CHARACTERS:  # some characters stand for a dozen
            break
        piece = unicodedata.normalize("NFKC", character).casefold().translate(_QUOTES).translate(_SIMPLIFIED)
        piece = "''" if character == "\u2033" else piece
        pieces.append(piece)
        origin.extend([place] * len(piece))
    return Folded(_readable("".join(pieces)), (*origin, len(text)))


def _readable(text: str) -> str:
    return _ENDLESS.sub(lambda run: " " * len(run.group()), text)


def tokens(folded: Folded, codes: Container[str] = ()) -> list[Token]:
    """The tokens of a text in order. `codes` are SKUs in lower case. A SKU of letters alone is a word like any
    other, and one of digits alone is told from a quantity by its five digits."""
    found: list[Token] = []
    at = 0
    while (match := _TOKEN.search(folded.text, at)) is not None:
        at = match.end()
        kind = match.lastgroup or "mark"
        if kind == "code":
            if match.group() in codes or _CODE.fullmatch(match.group()):
                found.append(_token(folded, match, match.group(), Kind.CODE))
                continue
            again = _plain(folded.text, match.start())
            at, match, kind = again.end(), again, again.lastgroup or "mark"
        text = match.group()
        if text in codes and kind in {"word", "number"} and not text.isalpha() and (kind == "word" or len(text) >= 5):
            found.append(_token(folded, match, text, Kind.CODE))
        else:
            found.append(_token(folded, match, *_normal(text, kind)))
    return found


# The same without codes: what is left of "12-inch" or "a/b" once it is known to be no SKU.
_PLAIN = re.compile(_TOKEN.pattern.replace("(?P<code>", "(?P<code>(?!)", 1), re.VERBOSE)


def _plain(text: str, at: int) -> re.Match[str]:
    match = _PLAIN.match(text, at)
    if match is None:
        raise AssertionError("any character is at least a mark")
    return match


def _token(folded: Folded, match: re.Match[str], text: str, kind: Kind) -> Token:
    start, end = folded.span(match.start(), match.end())
    return Token(text, kind, start, end, match.start())


def _normal(text: str, kind: str) -> tuple[str, Kind]:
    if kind == "size":
        return _size(text), Kind.SIZE
    if kind == "named":
        name = re.match(_NAMES, text)
        number = _SIZE_WORDS[name.group()] if name else 0
        unit = text[name.end() if name else 0 :].strip(" -")
        return f"{number}{_MEASURE_OF[unit]}", Kind.SIZE
    if kind == "times":
        return "x", Kind.TIMES
    if kind == "word":
        return stem(text.replace("'", "")), Kind.WORD
    return text, Kind(kind)


def _size(text: str) -> str:
    unit = _MEASURE_END.search(text)
    if unit is None:
        return text
    number, measure = Decimal(text[: unit.start()].strip(" \t-")), _MEASURE_OF[unit.group()]
    if measure == "l":
        number, measure = number * 1000, "ml"
    if measure == "kg":
        number, measure = number * 1000, "g"
    return f"{number.normalize():f}{measure}"


_IRREGULAR = {
    "knives": "knife", "loaves": "loaf", "leaves": "leaf", "shelves": "shelf", "tomatoes": "tomato",
    "potatoes": "potato", "mangoes": "mango",
}  # fmt: skip
_LETTER_SIZES = {"s": "small", "m": "medium", "l": "large"}


def stem(word: str) -> str:
    """Singular of an English plural (boxes, trays, dishes); a lone S, M or L is the size that it stands for."""
    if word == "ones":  # "the small ones" are not one
        return word
    if len(word) == 1:
        return _LETTER_SIZES.get(word, word)
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 4 and word.endswith(("ies", "ie")):
        return word[: word.rindex("ie")] + "y"
    if len(word) > 4 and word.endswith(("xes", "ches", "shes", "sses")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
