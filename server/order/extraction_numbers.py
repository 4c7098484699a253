"""Numbers as customers write them: digits, and words in English, Malay and Chinese, with dozens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise

from server.order.extraction_text import Kind, Token


class Doubt(StrEnum):
    """Why a number is no quantity that can be ordered without asking."""

    VAGUE = "vague"
    FRACTION = "fraction"
    RANGE = "range"


@dataclass(frozen=True, slots=True)
class Number:
    """A number in tokens[first:end]; `value` is None and `doubt` says why when it must be asked for."""

    value: Decimal | None
    first: int
    end: int
    doubt: Doubt | None = None
    spelled: bool = False


_ONES = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17,
    "eighteen": 18, "nineteen": 19,
    "satu": 1, "dua": 2, "tiga": 3, "empat": 4, "lima": 5, "enam": 6, "tujuh": 7, "lapan": 8, "delapan": 8,
    "sembilan": 9, "sepuluh": 10, "sebela": 11, "sebelas": 11,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fourty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
    "ninety": 90,
}  # fmt: skip
_ALONE = {"seratu": 100, "seratus": 100, "seribu": 1000, "hundred": 100, "thousand": 1000}
_TIMES = {
    "hundred": 100, "thousand": 1000, "puluh": 10, "bela": 0, "belas": 0, "ratu": 100, "ratus": 100, "ribu": 1000,
}  # fmt: skip
_HAN_DIGITS = dict(zip("零〇一二两三四五六七八九", (0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
_HAN_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10000}
# Nobody orders more of anything, and nobody writes a number in more words or characters.
_LARGEST = Decimal(9_999_999)
_LONGEST = 24
_HAN = frozenset((*_HAN_DIGITS, *_HAN_UNITS))
# What begins with a numeral and is no number.
_HAN_WORDS = frozenset(("一样", "一下", "一起", "一直", "一共", "一定", "十分", "千万", "万一", "第一", "一次", "一份"))
_HAN_ABOUT = frozenset(("大概", "大约", "差不", "至少", "最多", "约莫"))
_HAN_VAGUE = ("一些", "一点", "几", "若干", "一批")
_VAGUE = frozenset(("few", "several", "some", "couple", "beberapa", "sikit", "sedikit", "many"))
_A_VAGUE = frozenset(
    ("bit", "handful", "bunch", "lot", "little", "load", "tad")
)  # after "a" alone: a drill bit is none
_ABOUT = frozenset(("about", "around", "roughly", "approx", "approximately", "lebih", "kira-kira", "maybe", "mungkin",
    "least", "most", "dalam", "anggaran", "sekurang-kurangnya", "sekitar"))  # fmt: skip
_DOZEN = frozenset(("dozen", "doz", "dz", "lusin"))
_HALF = frozenset(("half", "setengah", "separuh", "suku", "quarter"))


def read_number(tokens: Sequence[Token], at: int) -> Number | None:
    """The number that begins at `at`, the longest reading; None when there is none."""
    found = _half(tokens, at) or _dozens(tokens, _single(tokens, at))
    if found is None:
        return None
    if found.value is not None and found.value > _LARGEST:
        return Number(None, found.first, found.end, Doubt.VAGUE)
    return _joined_range(tokens, found)


def _half(tokens: Sequence[Token], at: int) -> Number | None:
    """Half a dozen is six; half of anything else is no quantity."""
    token = tokens[at]
    if token.text == "半" and token.kind is Kind.HAN:
        if _text(tokens, at + 1) == "打":
            return Number(Decimal(6), at, at + 2, spelled=True)
        return Number(None, at, at + 1, Doubt.FRACTION)
    if token.text not in _HALF:
        return None
    end = at + 1 + (_text(tokens, at + 1) in {"a", "of"})
    if token.text in {"half", "setengah"} and _text(tokens, end) in _DOZEN:
        return Number(Decimal(6), at, end + 1, spelled=True)
    return Number(None, at, end, Doubt.FRACTION)


def _dozens(tokens: Sequence[Token], number: Number | None) -> Number | None:
    if number is None or number.value is None:
        return number
    following = _text(tokens, number.end)
    # 打 before another character is the verb of 打包 (take away), not twelve.
    half = [_text(tokens, number.end + step) for step in range(3)] == ["and", "a", "half"]
    if half and _text(tokens, number.end + 3) in _DOZEN:
        return Number(number.value * 12 + 6, number.first, number.end + 4, spelled=True)
    packed = following == "打" and _text(tokens, number.end + 1) in {"包", "印"}
    if following in _DOZEN or (following == "打" and not packed):
        number = Number(number.value * 12, number.first, number.end + 1, spelled=True)
    return _and_a_half(tokens, number)


def _and_a_half(tokens: Sequence[Token], number: Number) -> Number:
    """ "1 and a half", "1 karton setengah" and 一条半 are fractions; the word may stand behind the unit."""
    ahead = [_text(tokens, number.end + step) for step in range(4)]
    after_unit = ahead[1] == "setengah" or (ahead[1] == "半" and ahead[2] != "打")
    if (
        ahead[0] in {"半", "setengah"}
        or after_unit
        or ahead[:2] == ["and", "half"]
        or ahead[:3] == ["and", "a", "half"]
    ):
        return Number(None, number.first, number.end, Doubt.FRACTION)
    return number


def _single(tokens: Sequence[Token], at: int) -> Number | None:
    token = tokens[at]
    if token.kind is Kind.NUMBER:
        return _digits(token, tokens, at)
    if token.kind is Kind.HAN:
        return _han(tokens, at)
    if token.kind is not Kind.WORD:
        return None
    if token.text in _VAGUE:
        return Number(None, at, at + 1, Doubt.VAGUE)
    if token.text == "a":
        return _article(tokens, at)
    if token.text == "sedozen" or token.text in _DOZEN:
        return Number(Decimal(12), at, at + 1, spelled=True)
    if token.text in _ABOUT and _single_after(tokens, at):
        return Number(None, at, at + 2, Doubt.VAGUE)
    return _words(tokens, at)


def _single_after(tokens: Sequence[Token], at: int) -> bool:
    return at + 1 < len(tokens) and tokens[at + 1].kind is Kind.NUMBER


def _article(tokens: Sequence[Token], at: int) -> Number | None:
    """ "a dozen", "a few", "a hundred": the article belongs to the number. "a carton" is left to the units."""
    following = _text(tokens, at + 1)
    if following in _VAGUE or following in _A_VAGUE:
        return Number(None, at, at + 2, Doubt.VAGUE)
    if following in _DOZEN:
        return Number(Decimal(1), at, at + 1, spelled=True)
    if following in {"hundred", "thousand"}:
        return Number(Decimal(_ALONE[following]), at, at + 2, spelled=True)
    return None


def _digits(token: Token, tokens: Sequence[Token], at: int) -> Number:
    text = token.text.replace(",", "")
    if "/" in text or "\u2044" in text:
        return Number(None, at, at + 1, Doubt.FRACTION)
    thousands = text.endswith("k")
    value = Decimal(text.removesuffix("k")) * (1000 if thousands else 1)
    if value != value.to_integral_value() or ("." in text and not thousands):
        return Number(None, at, at + 1, Doubt.FRACTION)
    if token.kind is Kind.NUMBER and _text(tokens, at + 1) in _HAN_UNITS:
        return Number(value * _HAN_UNITS[_text(tokens, at + 1)], at, at + 2)
    if value <= 0 or len(text) > 7:
        return Number(None, at, at + 1, Doubt.VAGUE)
    return Number(value.to_integral_value(), at, at + 1)


def _words(tokens: Sequence[Token], at: int) -> Number | None:
    """English and Malay number words, "two hundred and fifty" and "dua puluh lima"."""
    total = group = 0
    end = at
    while end < min(len(tokens), at + _LONGEST):
        word = tokens[end].text
        if word in _ONES and (end == at or group % 10 == 0):
            group += _ONES[word]
        elif word in _TENS and group % 100 == 0:
            group += _TENS[word]
        elif word in _TIMES and end > at and group:
            times = _TIMES[word]
            group = group + 10 if times == 0 else _raised(group, times)
            if times == 1000:
                total, group = total + group, 0
        elif word in _ALONE and (end == at or word.startswith("se")):
            group += _ALONE[word]
        elif not (word in {"and", "-"} and end > at and _goes_on(tokens, end, word)):
            break
        end += 1
    return Number(Decimal(total + group), at, end, spelled=True) if total + group else None


def _raised(group: int, times: int) -> int:
    """The last part of the group times ten, a hundred or a thousand: "seratus dua puluh" is 120, not 1020."""
    kept = 0 if times >= 1000 else group - group % (times if times > 10 else 100)
    return kept + (group - kept) * times


def _goes_on(tokens: Sequence[Token], end: int, joint: str) -> bool:
    previous, following = tokens[end - 1].text, _text(tokens, end + 1)
    if joint == "-":
        return previous in _TENS and _ONES.get(following, 10) < 10
    return previous in {"hundred", "thousand"} and (following in _ONES or following in _TENS)


def _han(tokens: Sequence[Token], at: int, *, said_about: bool = False) -> Number | None:
    pair = tokens[at].text + _text(tokens, at + 1)
    for vague in _HAN_VAGUE:
        if pair.startswith(vague):
            return Number(None, at, at + len(vague), Doubt.VAGUE)
    if pair in _HAN_ABOUT:
        return _about_han(tokens, at + 2 + (pair == "差不")) if not said_about else None
    if tokens[at].text not in _HAN or pair in _HAN_WORDS:
        return None
    end = at
    while end < min(len(tokens), at + _LONGEST) and tokens[end].kind is Kind.HAN and tokens[end].text in _HAN:
        end += 1
    if _text(tokens, end) == "几":
        return Number(None, at, end + 1, Doubt.VAGUE)
    said = [token.text for token in tokens[at:end]]
    if any(_HAN_DIGITS.get(other, -1) - _HAN_DIGITS.get(one, 99) == 1 for one, other in pairwise(said)):
        return Number(None, at, end, Doubt.RANGE)  # 五六 is five or six
    value = _han_value(said)
    return Number(Decimal(value), at, end, spelled=True) if value else None


def _about_han(tokens: Sequence[Token], at: int) -> Number | None:
    """大概五, 至少5: no one quantity."""
    if at >= len(tokens):
        return None
    han = tokens[at].kind is Kind.HAN
    number = _han(tokens, at, said_about=True) if han else _single(tokens, at)
    return None if number is None else Number(None, number.first, number.end, Doubt.VAGUE)


def _han_value(characters: Sequence[str]) -> int:
    """十二 12, 两百五 250, 两千零五十 2050, 一万二千 12000, 二零 20."""
    if not any(character in _HAN_UNITS for character in characters):
        return int("".join(str(_HAN_DIGITS[character]) for character in characters[:7]))
    total = group = digit = last_unit = 0
    for character in characters:
        if character in _HAN_DIGITS:
            digit = _HAN_DIGITS[character]
            last_unit = 0 if digit == 0 else last_unit
        elif character == "万":
            total, group, digit, last_unit = (group + digit or 1) * 10000, 0, 0, 10000
        else:
            last_unit = _HAN_UNITS[character]
            group, digit = group + (digit or 1) * last_unit, 0
    # 两百五 leaves the last unit away: 250.
    return total + group + (digit * last_unit // 10 if last_unit > 10 else digit)


def _joined_range(tokens: Sequence[Token], number: Number) -> Number:
    """ "10-12", "10 to 12", "5 or 6", "20+" and "20左右" name no one quantity."""
    following = _text(tokens, number.end)
    if following in {"-", "~", "to", "or", "atau", "hingga", "ke", "到", "至", "或"} and number.end + 1 < len(tokens):
        close = following != "-" or tokens[number.end].start <= tokens[number.end - 1].end + 1
        other = _single(tokens, number.end + 1) if close else None
        if other is not None and other.value is not None and number.value is not None and number.value < other.value:
            return Number(None, number.first, other.end, Doubt.RANGE)
    if following == "ish" or (following == "or" and _text(tokens, number.end + 1) == "so"):
        return Number(None, number.first, number.end + 1, Doubt.VAGUE)
    if following == "+" and tokens[number.end].start == tokens[number.end - 1].end:
        return Number(None, number.first, number.end + 1, Doubt.VAGUE)
    if following + _text(tokens, number.end + 1) in {"左右", "多个"}:
        return Number(None, number.first, number.end + 2, Doubt.VAGUE)
    return number


def _text(tokens: Sequence[Token], at: int) -> str:
    return tokens[at].text if at < len(tokens) else ""
