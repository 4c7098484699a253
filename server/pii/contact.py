"""E-mail addresses and telephone numbers, as written and as disguised."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from server.pii import dialling, finance, surroundings
from server.pii.kinds import Kind
from server.pii.normalise import Folded
from server.pii.patterns import Candidate, Match, Pattern, Rule, WidePattern, words

_EMAIL = Pattern(
    r"[A-Za-z0-9][A-Za-z0-9._%+\-']{0,63}(?:@|%40|&#64;)(?:[A-Za-z0-9\-]{1,63}\.){1,6}[A-Za-z][A-Za-z0-9\-]{1,23}"
)

_WORDED_AT = r"(?:_(?i:at)_|\s?[(\[{<]\s?(?:(?i:at)|@)\s?[)\]}>]\s?|\s{1,2}(?i:at)\s{1,2}|\s{0,2}@\s{0,2})"
_WORDED_DOT = r"(?:_(?i:dot)_|\s?[(\[{<]\s?(?:(?i:dot)|\.)\s?[)\]}>]\s?|\s{1,2}(?i:dot)\s{1,2}|\s{0,2}\.\s{0,2})"
_DISGUISED_EMAIL = Pattern(
    r"\b([A-Za-z0-9][A-Za-z0-9._%+\-]{0,47}(?:\s{1,2}(?i:dot|underscore|dash)\s{1,2}[A-Za-z0-9]{1,24}){0,3})"
    rf"({_WORDED_AT})([A-Za-z0-9\-]{{1,40}}(?:{_WORDED_DOT}[A-Za-z0-9\-]{{1,24}}){{0,2}})({_WORDED_DOT})"
    r"(?i:(com|net|org|edu|gov|info|biz|io|co|me|app|dev|asia|sg|my|cn|hk|tw|id|in|uk|us|au|jp|de|fr|nz|th|vn|ph|"
    r"example|test|invalid))\b(?:\s?(?:\.|[(\[]\s?dot\s?[)\]]|\bdot\b)\s?(?:sg|my|cn|hk|tw|id|in|uk|au|jp|nz|th|"
    r"vn|ph)\b)?"
)
_MAILBOX_HOSTS = (
    "gmail",
    "yahoo",
    "hotmail",
    "outlook",
    "icloud",
    "qq",
    "163",
    "126",
    "protonmail",
    "proton",
    "live",
    "msn",
)

_INTERNATIONAL = Pattern(r"(?:\+|\b00\s?)\s?\(?\d(?:[\s().\-/]{0,3}\d){6,16}")
# Eight digits as Singapore writes them (1-digit groups are a number spelt out with spaces).
_EIGHT = Pattern(
    r"\b(?:[3689]\d{7}|[3689]\d{3}[\s.\-]{1,2}\d{4}|[3689]\d(?:[\s.\-]\d\d){3}|[3689](?:[\s.,_\-]{1,2}\d){7}"
    r"|[3689]\d\d[\s\-]\d{3}[\s\-]\d\d|[3689]\d{2}[\s\-]\d{5}|[3689]\d{3}[\s\-]\d\d[\s\-]\d\d)\b"
    r"|\([3689]\d{3}\)\s?\d{4}\b"
)
_TRUNK = Pattern(r"\(?\b0\d{1,4}\)?(?:[\s.\-]{0,2}\d{2,9}){1,4}\b")  # a national number that starts with 0
_NORTH_AMERICA = Pattern(r"(?:\b1[\s.\-])?(?:\(\d{3}\)\s?|\b\d{3}[\s.\-])\d{3}[\s.\-]\d{4}\b")
_CHINA_MOBILE = Pattern(r"\b1[3-9]\d(?:[\s\-]?\d{4}){2}\b")
_BARE_COUNTRY = Pattern(
    r"(?:\(65\)\s?|\b65[\s.\-]?)[3689]\d{3}[\s.\-]?\d{4}\b|\b(?:60[\s\-]?1\d[\s\-]?\d{3,4}[\s\-]?\d{4}|"
    r"86[\s\-]?1[3-9]\d[\s\-]?\d{4}[\s\-]?\d{4})\b"
)
_AFTER_WORD = Pattern(r"\(?\b\d(?:[\s().\-]{0,2}\d){6,14}\b")
_GLUED = Pattern(
    r"\b(?i:hp|tel|ph|phone|mobile|mob|call|cell|contact|sms|text|whatsapp|wa|no|is)"
    r"([3689]\d{7}|01\d{8,9}|65[3689]\d{7}|601\d{8,9})\b"
)
# Two numbers as a list: "91234567/81234567".
_LISTED_BEFORE = re.compile(r"(?<!\d)[3689]\d{7}[/,;]\Z")
_LISTED_BEHIND = re.compile(r"[/,;][3689]\d{7}(?!\d)")
_FOUR_DIGITS_BEFORE = re.compile(r"\d{4}[ \-]\Z")
_DIGITS_BEHIND = re.compile(r"[ \-]\d{3,5}\b")
# "3000-4000 a month", "6000 8000 for each outlet": as a telephone number only if it is called one.
_ROUND_BEHIND = re.compile(r"\s\d{1,2}[05]0\Z")
_WHOLE = re.compile(r"0\d{8,11}\s")
_TWO_COUNTS = re.compile(r"(\d\d[05]0)[\s\-](\d\d[05]0)")
_PHONE_BEHIND = re.compile(
    r"(?:,?\s(?:that\s)?(?:is|was|adalah|ialah)\s(?:the\s|my\s|our\s|his\s|her\s)?(?:[a-z]{1,10}\s)?|\s?\()"
    r"(?:phone|mobile|tel|telephone|handphone|hp|cell|whatsapp|wa|contact|hotline|line|fax|number|no|nombor)\b",
    re.IGNORECASE,
)
_WORDS_BEFORE_NUMBER = (
    r"phone|mobile|tel|telephone|handphone|hp|h/p|cell|cellphone|whatsapp|wa|call|calling|contact|ring|sms|text|"
    r"dial|fax|reach|telefon|"
    r"hubungi|telepon|bimbit"
)

_DIGIT_WORDS = {
    "zero": "0", "oh": "0", "o": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9", "kosong": "0", "satu": "1", "dua": "2", "tiga": "3", "empat": "4",
    "lima": "5", "enam": "6", "tujuh": "7", "lapan": "8", "sembilan": "9",
}  # fmt: skip
_SPELT_WORD = "(?:" + "|".join(sorted(_DIGIT_WORDS, key=len, reverse=True)) + r"|\d{1,4})"
_SPELT = Pattern(
    rf"\b(?i:(?:(?:double|triple)\s)?{_SPELT_WORD}(?:[\s,.\-]{{1,3}}(?:(?:double|"
    rf"triple)\s)?{_SPELT_WORD}){{3,18}})\b"
)
_SPELT_BEFORE = re.compile(rf"\b{_SPELT_WORD}[\s,.\-]{{1,3}}(?:double |triple )?\Z", re.IGNORECASE)
_CHINESE_DIGITS = str.maketrans("零〇一二三四五六七八九幺", "001234567891")
_SPELT_CHINESE = WidePattern("[零〇一二三四五六七八九幺]{8,19}")

_EMAIL_RANK = 80
_PHONE_RANK = 50
_LONGEST_SUBSCRIBER = 12
_FOUR_BEHIND = 5  # a sign and four digits
_CALLED_BEHIND = 40  # code points behind a number that may call it one


def _emails(folded: Folded) -> Iterator[Candidate]:
    for match in _EMAIL.matches(folded.data):
        yield Candidate(match.start, match.end, Kind.EMAIL, _EMAIL_RANK)


def _disguised_emails(folded: Folded) -> Iterator[Candidate]:
    text = folded.text

    def accept(match: Match) -> Candidate | None:
        (local, at, host, dot, _) = (text[a:b] for a, b in match.groups)
        bare_at = at.strip().lower() == "at"
        spelt_dot = "dot" in dot.lower()
        # "look at example.com" is prose: a bare "at" needs a spelt dot, or a host where people have mailboxes.
        if bare_at and not spelt_dot and host.lower() not in _MAILBOX_HOSTS:
            return None
        # "@ home. In" is prose as well: a dot with a space behind it only needs a dot or an at that is spelt out.
        if not bare_at and not spelt_dot and dot[-1] == " " and dot[0] == "." and at.strip() == "@":
            return None
        if not local:
            return None
        return Candidate(match.start, match.end, Kind.EMAIL, _EMAIL_RANK - 1)

    yield from _DISGUISED_EMAIL.retrying(folded.data, accept)


def _phone(text: str, start: int, end: int, *, rank: int = _PHONE_RANK) -> Candidate | None:
    """A phone number at the range, unless the surroundings say that it is something else."""
    if text[start] in "( ":
        start += 1 if text[start] == " " else 0
    called = surroundings.after_phone_word(text, start)
    if called:  # "hp:9123 4567", "tel.9123 4567": what joins the number is its own label
        if surroundings.is_continued(text, end) and not _LISTED_BEHIND.match(text[end : end + 10]):
            return None
    elif surroundings.is_number_of_thing(text, start, end) or _is_part_of_code(text, start, end):
        return None
    return Candidate(start, end, Kind.PHONE, rank + (5 if called else 0))


def _is_part_of_code(text: str, start: int, end: int) -> bool:
    if _LISTED_BEFORE.search(text[max(0, start - 10) : start]):
        return surroundings.is_continued(text, end)
    if _LISTED_BEHIND.match(text[end : end + 10]):
        return surroundings.is_joined(text[:end], start, end)
    return surroundings.is_joined(text, start, end)


def _digits(written: str) -> str:
    return "".join(c for c in written if "0" <= c <= "9")


def _international(folded: Folded) -> Iterator[Candidate]:
    text = folded.text

    def accept(match: Match) -> Candidate | None:
        written = text[match.start : match.end]
        length = dialling.international_length(written)
        if length == 0:
            return None
        end = match.start + length
        if written[0] != "+" and surroundings.is_number_of_thing(text, match.start, end):
            return None
        if text[end : end + 1].isalnum() and text[end : end + 1].isascii():
            return None
        if written[0] != "+" and not surroundings.after_phone_word(text, match.start):
            return Candidate(match.start, end, Kind.PHONE, _PHONE_RANK + 1)  # accounts begin with 00 as well
        return Candidate(match.start, end, Kind.PHONE, _PHONE_RANK + 10)

    yield from _INTERNATIONAL.retrying(folded.data, accept)


def _eight(folded: Folded) -> Iterator[Candidate]:
    text = folded.text

    def accept(match: Match) -> Candidate | None:
        start, end = match.start, match.end
        if _is_out_of_longer(text, start, end):
            return None
        written = text[start:end]
        if (_are_two_counts(written) or dialling.reads_as_date(written)) and not (
            surroundings.after_phone_word(text, start) or _PHONE_BEHIND.match(text[end : end + _CALLED_BEHIND])
        ):
            return None
        return _phone(text, start, end)

    yield from _EIGHT.retrying(folded.data, accept)


def _is_out_of_longer(text: str, start: int, end: int) -> bool:
    """True for some groups out of a longer number; a quantity behind ("500 cups") does not make a number longer."""
    if _FOUR_DIGITS_BEFORE.search(text[max(0, start - 5) : start]):
        return True
    behind = _DIGITS_BEHIND.match(text[end : end + 7])
    if behind is None or _ROUND_BEHIND.match(behind[0]) or surroundings.is_counted(text, end + behind.end()):
        return False
    four = behind.end() == _FOUR_BEHIND
    if text[start:end].isdigit():
        return four and not surroundings.after_phone_word(text, start)
    return four or not surroundings.after_phone_word(text, start)


def _are_two_counts(written: str) -> bool:
    counts = _TWO_COUNTS.fullmatch(written)
    return counts is not None and counts[1] <= counts[2]


def _trunk(folded: Folded) -> Iterator[Candidate]:
    text = folded.text

    def accept(match: Match) -> Candidate | None:
        end = _without_count(text, match.start, match.end)
        written = text[match.start : end]
        if not dialling.is_trunk_number(written):
            return None
        if dialling.reads_as_date(written) and not surroundings.after_phone_word(text, match.start):
            return None
        return _phone(text, match.start, end)

    yield from _TRUNK.retrying(folded.data, accept)


def _without_count(text: str, start: int, end: int) -> int:
    """Where a number ends if its last group is one of its own: "0196934918 200 boxes", "0196934918 3000"."""
    dated = dialling.date_behind(text, start, end)
    if dated is not None:
        return dated
    last = surroundings.LAST_GROUP.search(text[start:end])
    if last is None:
        return end
    alone = surroundings.is_of_its_own(text, end) or _WHOLE.match(text[start:end])
    return start + last.start() if alone else end


def _shaped(pattern: Pattern) -> Callable[[Folded], Iterator[Candidate]]:
    """A finder for numbers whose shape alone is enough."""

    def find(folded: Folded) -> Iterator[Candidate]:
        yield from pattern.retrying(folded.data, lambda match: _phone(folded.text, match.start, match.end))

    return find


def _after_word(folded: Folded) -> Iterator[Candidate]:
    text = folded.text

    def accept(match: Match) -> Candidate | None:
        start = match.start
        if not surroundings.after_phone_word(text, start) or surroundings.is_continued(text, match.end):
            return None
        if len(_digits(text[start : match.end])) > _LONGEST_SUBSCRIBER:
            return None
        return Candidate(start, match.end, Kind.PHONE, _PHONE_RANK - 10)

    yield from _AFTER_WORD.retrying(folded.data, accept)


def _glued(folded: Folded) -> Iterator[Candidate]:
    for match in _GLUED.matches(folded.data):
        start, end = match.groups[0]
        if not surroundings.is_continued(folded.text, end):
            yield Candidate(start, end, Kind.PHONE, _PHONE_RANK + 5)


def _spelt_digits(written: str) -> str:
    digits, repeat = [], 1
    for word in written.lower().replace(",", " ").replace(".", " ").replace("-", " ").split():
        if word in {"double", "triple"}:
            repeat = 2 if word == "double" else 3
            continue
        digits.append((_DIGIT_WORDS.get(word) or word) * repeat)
        repeat = 1
    return "".join(digits)


def _spelt(folded: Folded) -> Iterator[Candidate]:
    text = folded.text

    def accept(match: Match) -> Candidate | None:
        written = text[match.start : match.end]
        letters = sum(c.isalpha() for c in written)
        called = surroundings.after_phone_word(text, match.start)
        digits = _spelt_digits(written)
        if letters and digits.isdigit() and finance.is_card(digits):
            return Candidate(match.start, match.end, Kind.CREDIT_CARD, _PHONE_RANK)
        if not called and _is_spelt_code(text, match.start, match.end):
            return None
        if letters and dialling.is_spelt_number(digits, called=called):
            return Candidate(match.start, match.end, Kind.PHONE, _PHONE_RANK - 5)
        return None

    yield from _SPELT.retrying(folded.data, accept)


def _is_spelt_code(text: str, start: int, end: int) -> bool:
    """True for the rest of a longer run that was refused, and for the number of an order or the like."""
    rest = _SPELT_BEFORE.search(text[max(0, start - 12) : start]) is not None
    return rest or surroundings.is_number_of_thing(text, start, end)


def _spelt_chinese(folded: Folded) -> Iterator[Candidate]:
    for match in _SPELT_CHINESE.matches(folded.text):
        digits = folded.text[match.start : match.end].translate(_CHINESE_DIGITS)
        if finance.is_card(digits):
            yield Candidate(match.start, match.end, Kind.CREDIT_CARD, _PHONE_RANK)
        elif dialling.is_spelt_number(digits, called=False):
            yield Candidate(match.start, match.end, Kind.PHONE, _PHONE_RANK)


RULES = (
    Rule("email", "@|%40|&#64;", _emails),
    Rule(
        "disguised email",
        r"\s@\s?[A-Za-z0-9]|@\s|@[A-Za-z0-9\-]{1,40}(?:\s|[(\[]|\.\s)|[(\[{<]\s?(?:(?i:at|dot)|[@.])\s?[)\]}>]|\b(?i:dot)\b|_(?i:dot)_"
        r"|\b(?i:at)\s{1,2}" + words(*_MAILBOX_HOSTS) + r"\b",
        _disguised_emails,
    ),
    Rule("international phone", r"(?:\+|\b00)\s?\(?\d", _international),
    Rule("eight digits", r"\b[3689](?:[\s.,_\-)]{0,2}\d){7}\b", _eight),
    Rule("phone glued to its word", r"\b(?i:[a-z]{2,8})(?:[3689]|01|65[3689]|601)\d{7}", _glued),
    Rule("trunk phone", r"\b0\d{1,4}\)?(?:[\s.\-]{0,2}\d){6,10}\b", _trunk),
    Rule("North American phone", r"\d{3}\)?[\s.\-]?\d{3}[\s.\-]\d{4}\b", _shaped(_NORTH_AMERICA)),
    Rule("Chinese mobile", r"\b1[3-9]\d(?:[\s\-]?\d{4}){2}\b", _shaped(_CHINA_MOBILE)),
    Rule(
        "country code without +",
        r"\b(?:65\)?[\s.\-]?[3689]|60[\s\-]?1|86[\s\-]?1)(?:[\s.\-]?\d){7}",
        _shaped(_BARE_COUNTRY),
    ),
    Rule(
        "phone after a word",
        rf"\b(?i:{_WORDS_BEFORE_NUMBER})\b[^\n]{{0,28}}\d|(?:电话|手机|致电|联系|打|微信|"
        rf"传真)[^\n]{{0,28}}\d",
        _after_word,
    ),
    Rule(
        "spelt phone",
        rf"\b(?i:{_SPELT_WORD}[\s,.\-]{{1,3}}(?:(?:double|"
        rf"triple)\s)?{_SPELT_WORD}[\s,.\-]{{1,3}}(?:(?:double|"
        rf"triple)\s)?(?:{'|'.join(_DIGIT_WORDS)}))\b"
        rf"|\b(?i:(?:{'|'.join(_DIGIT_WORDS)})[\s,.\-]{{1,3}}(?:(?:double|triple)\s)?{_SPELT_WORD})\b",
        _spelt,
    ),
    Rule("spelt Chinese phone", "[零〇一二三四五六七八九幺]{8}", _spelt_chinese),
)
