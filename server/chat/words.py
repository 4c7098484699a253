"""Cutting a short customer message into words that rules can look at; English, Malay and Chinese in one string.

Pure and linear in the length of the text. Chinese characters are one word each, because the messages are short and a
dictionary would need upkeep; phrase tables simply hold several of them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

# Sizes come before numbers so that "12 inch" is one thing that is bought and never a quantity of twelve.
_TOKEN = re.compile(
    r"""
    (?P<order>\b(?:ord|so|inv|po)[-#]?\d{3,}\b|\#\d{3,}\b)
  | (?P<sku>\b[a-z]{1,6}-[a-z0-9]{0,24}\d[a-z0-9]{0,24}(?:-[a-z0-9]+)*\b|\b[a-z]{2,5}(?:-[a-z0-9]{1,6}){2,}\b)
  | (?P<size>\d+(?:\.\d+)?\s*-?(?:inches|inch\b|inci\b|in\b(?!\s+(?:a|the|my|stock|one))|cm\b|mm\b|oz\b|ounces?\b
        |ml\b|litres?\b|liters?\b|l\b|gsm\b|["]|''|寸|吋|英寸|盎司|毫升|厘米)
      |[一二两三四五六七八九十]{1,4}(?:寸|吋|英寸|盎司))
  | (?P<number>\d+(?:[.,]\d+)*)
  | (?P<word>[a-z]+)
  | (?P<han>[\u3400-\u4dbf\u4e00-\u9fff])
  | (?P<mark>[?!.,;:\n]|。|、)
    """,
    re.VERBOSE,
)
_MOST_CHARACTERS = 8_000  # as long as a message may be
_APOSTROPHES = re.compile("[\u2018\u2019\u02bc`](?=[a-z])|'(?=[a-z])")
_TRIPLED = re.compile(r"([a-z])\1{2,}")
# Characters whose traditional form a Singapore keyboard still produces, mapped to the form that the tables use.
_SIMPLIFIED = str.maketrans(
    "訂單貨時間經電話錢運費麼嗎幾點們發壞錯紙盤個無問題務轉請幫給還來這樣營業庫條價購買賣報損濕壓員質遲關開續貴號稅樓濃餅雞飯換兩總顧",
    "订单货时间经电话钱运费么吗几点们发坏错纸盘个无问题务转请帮给还来这样营业库条价购买卖报损湿压员质迟关开续贵号税楼浓饼鸡饭换两总顾",
)


@dataclass(frozen=True, slots=True)
class Word:
    """One word: its normalised text and its kind (order, sku, size, number, word, han or mark)."""

    text: str
    kind: str


def fold(text: str) -> str:
    """One spelling for what looks the same: compatibility forms, case, quotes, traditional characters."""
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_SIMPLIFIED)
    folded = folded.replace("\u201c", '"').replace("\u201d", '"').replace("\u2032\u2032", '"')
    return _TRIPLED.sub(r"\1", _APOSTROPHES.sub("", folded))


def words(text: str) -> list[Word]:
    """The words of `text` in order; what is none (emoji, symbols) is left out."""
    folded = fold(text[:_MOST_CHARACTERS])
    return [Word(match.group(), match.lastgroup or "word") for match in _TOKEN.finditer(folded)]
