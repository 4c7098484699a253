"""Government identity numbers, dates of birth and passports.

Check digits: NRIC/FIN as in python-stdnum `sg.nric` (weights 2 7 6 5 4 3 2; offset 4 for T and G, 3 for M); Chinese
resident identity GB 11643-1999 (ISO 7064 MOD 11-2); MyKad has no check digit but a date and a place code (JPN list).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from server.pii import surroundings
from server.pii.kinds import Kind
from server.pii.normalise import Folded
from server.pii.patterns import Candidate, Match, Pattern, Rule, WidePattern

_RANK = 70
_CONTEXT_RANK = 72  # what is called a passport is one, even if it passes the check of an NRIC

_NRIC = Pattern(r"\b[STFGMstfgm](?:[\s.\-]?\d){7}[\s.\-]?[A-Za-z]\b")
_NRIC_GLUED = Pattern(r"\b(?i:ic|nric|fin)([STFGMstfgm]\d{7}[A-Za-z])\b")  # "icS1234567D"
_NRIC_WEIGHTS = (2, 7, 6, 5, 4, 3, 2)
_NRIC_OFFSET = {"T": 4, "G": 4, "M": 3}
_NRIC_LETTERS = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "F": "XWUTRQPNMLK", "G": "XWUTRQPNMLK", "M": "XWUTRQPNJLK"}

_MYKAD_GLUED = Pattern(r"\b(?i:ic|kp|mykad)(\d{12})\b")
_MYKAD = Pattern(r"\b\d{6}(?:[\s.\-]{1,2}\d{2}[\s.\-]{1,2}|\d{2})\d{4}\b")
_MYKAD_PLACES = frozenset(
    [*range(1, 17), *range(21, 60), *range(60, 69), 71, 72, *range(74, 80), *range(82, 94), 98, 99]
)
_CN_ID = Pattern(
    r"\b[1-9]\d{5}[\s\-]?(?:19|20)\d{2}[\s\-]?(?:0[1-9]|1[0-2])[\s\-]?(?:0[1-9]|[12]\d|"
    r"3[01])[\s\-]?\d{3}[\s\-]?[\dXx]\b"
)
_CN_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CN_CHECK = "10X98765432"

_SSN = Pattern(r"\b\d{3}([\s.\-])\d{2}([\s.\-])\d{4}\b")
_SSN_BARE = Pattern(
    r"\b(?i:ssn|social security(?: number| no)?)\b(?:\s?(?:#|:|is|no|number|\.|"
    r"-)){0,3}\s{0,2}(\d{9}|\d{3}[\s\-]?\d{2}[\s\-]?\d{4})\b"
)
_NINO = Pattern(
    r"\b[A-CEGHJ-PR-TW-Za-ceghj-pr-tw-z][A-CEGHJ-NPR-TW-Za-ceghj-npr-tw-z]"
    r"(?:[\s\-]?\d\d){3}[\s\-]?[A-Da-d]\b"
)
_NINO_NEVER = frozenset({"BG", "GB", "NK", "KN", "TN", "NT", "ZZ"})

_LINK = r"(?:\s{0,2}(?:no|nos|num|number|nombor|#|is|was|:|=|\.|-|\(|of|on|adalah|saya|ialah)){0,4}\s{0,2}"
_PASSPORT = Pattern(
    rf"\b(?i:passports?|pasport|ppt no)\b(?:\s(?i:holder|"
    rf"details))?(?i:{_LINK})([A-Za-z]{{1,2}}\s?\d{{6,8}}[A-Za-z]?|\d{{8,9}})\b"
)
_PASSPORT_BEHIND = Pattern(
    r"\b([A-Za-z]{1,2}\d{7,8}[A-Za-z]?)[\s,(:\-]{1,3}(?i:is\s|as\s)?(?i:my\s|the\s|his\s|her\s|our\s|their\s)?"
    r"(?i:passport|pasport)\b"
)
_PASSPORT_WIDE = WidePattern(r"护照(?:号码|号|编号)?(?:[\s:是为]){0,3}([A-Za-z]{1,2}\s?\d{6,8}[A-Za-z]?|\d{8,9})\b")

_MONTHS = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    "nov(?:ember)?|"
    "dec(?:ember)?|januari|februari|mac|mei|jun|julai|ogos|oktober|disember"
)
_DATE = (
    rf"(?:\d{{1,2}}\s?[/.\-]\s?\d{{1,2}}\s?[/.\-]\s?\d{{2,4}}|\d{{4}}\s?[/.\-]\s?\d{{1,2}}\s?[/.\-]\s?\d{{1,2}}|\d{{8}}"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?(?:\s|-|/)(?:of\s)?(?:{_MONTHS})\.?,?(?:\s|-|/)\d{{2,4}}|"
    rf"(?:{_MONTHS})\.?\s\d{{1,2}}(?:st|nd|rd|th)?,?\s\d{{4}})"
)
_DOB = Pattern(
    r"(?i:(?:\bd\.?o\.?b\b\.?|\bdate of birth|\bbirth ?date|\bbirthday|\bb'day|\bborn|\bbirth|\btarikh lahir|"
    r"\blahir(?: pada)?)"
    rf"(?:\s{{0,2}}(?:is|was|:|=|-|\(|on|in|the|my|her|his|adalah|ialah|pada)){{0,3}}\s{{0,2}}({_DATE}))\b"
)
_DOB_WIDE = WidePattern(
    r"(?:出生日期|出生年月日|出生|生日|生于|生辰|(?i:dob|date of birth|birthday))(?:[\s:是为在于]){0,3}"
    r"(\d{4}\s?年\s?\d{1,2}\s?月\s?\d{1,2}\s?[日号]|\d{4}[/.\-]\d{1,2}[/.\-]\d{1,2}|"
    r"\d{1,2}[/.\-]\d{1,2}[/.\-]\d{4}|\d{8})"
)
_DOB_WIDE_BEHIND = WidePattern(r"(\d{4}\s?年\s?\d{1,2}\s?月\s?\d{1,2}\s?[日号])\s?(?:出生|生的|生人)")

_CENTURY = 1900


def nric_is_valid(compact: str) -> bool:
    """Check an NRIC or FIN of nine characters, upper case, against its check letter."""
    prefix, digits, letter = compact[0], compact[1:8], compact[8]
    total = sum(w * int(d) for w, d in zip(_NRIC_WEIGHTS, digits, strict=True)) + _NRIC_OFFSET.get(prefix, 0)
    return _NRIC_LETTERS[prefix][total % 11] == letter


def cn_id_is_valid(compact: str) -> bool:
    """Check an 18-character Chinese identity number, upper case: its date and its check character."""
    if not _is_date(int(compact[6:10]), int(compact[10:12]), int(compact[12:14])):
        return False
    total = sum(w * int(d) for w, d in zip(_CN_WEIGHTS, compact[:17], strict=True))
    return _CN_CHECK[total % 11] == compact[17]


def mykad_is_plausible(digits: str) -> bool:
    """Check the birth date (either century) and the place code of twelve digits."""
    year, month, day = int(digits[:2]), int(digits[2:4]), int(digits[4:6])
    born = _is_date(_CENTURY + year, month, day) or _is_date(_CENTURY + 100 + year, month, day)
    return born and int(digits[6:8]) in _MYKAD_PLACES


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _compact(written: str) -> str:
    return re.sub(r"[\s.\-]", "", written).upper()


def _nric(folded: Folded) -> Iterator[Candidate]:
    def accept(match: Match) -> Candidate | None:
        if not nric_is_valid(_compact(folded.text[match.start : match.end])):
            return None
        return Candidate(match.start, match.end, Kind.SG_NRIC, _RANK)

    yield from _NRIC.retrying(folded.data, accept)
    for match in _NRIC_GLUED.matches(folded.data):
        start, end = match.groups[0]
        if nric_is_valid(folded.text[start:end].upper()):
            yield Candidate(start, end, Kind.SG_NRIC, _RANK)


def _mykad(folded: Folded) -> Iterator[Candidate]:
    text = folded.text

    def accept(match: Match) -> Candidate | None:
        start, end = match.start, match.end
        if not mykad_is_plausible(_compact(text[start:end])):
            return None
        if surroundings.is_joined(text, start, end) or surroundings.is_business_number(text, start, end):
            return None
        return Candidate(start, end, Kind.MY_NRIC, _RANK)

    yield from _MYKAD.retrying(folded.data, accept)
    for match in _MYKAD_GLUED.matches(folded.data):
        start, end = match.groups[0]
        if mykad_is_plausible(text[start:end]):
            yield Candidate(start, end, Kind.MY_NRIC, _RANK)


def _cn_id(folded: Folded) -> Iterator[Candidate]:
    def accept(match: Match) -> Candidate | None:
        if not cn_id_is_valid(_compact(folded.text[match.start : match.end])):
            return None
        return Candidate(match.start, match.end, Kind.CN_ID, _RANK + 10)

    yield from _CN_ID.retrying(folded.data, accept)


def _ssn(folded: Folded) -> Iterator[Candidate]:
    text = folded.text

    def accept(match: Match) -> Candidate | None:
        (first, _), (second, _) = match.groups
        digits = _compact(text[match.start : match.end])
        if text[first] != text[second] or not _ssn_is_issued(digits):
            return None
        if surroundings.is_joined(text, match.start, match.end):
            return None
        if surroundings.is_business_number(text, match.start, match.end):
            return None
        return Candidate(match.start, match.end, Kind.US_SSN, _RANK)

    yield from _SSN.retrying(folded.data, accept)
    for match in _SSN_BARE.matches(folded.data):
        start, end = match.groups[0]
        yield Candidate(start, end, Kind.US_SSN, _RANK + 1)


def _ssn_is_issued(digits: str) -> bool:
    """Area, group and serial numbers that the Social Security Administration never assigns are refused."""
    return digits[:3] not in {"000", "666"} and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"


def _nino(folded: Folded) -> Iterator[Candidate]:
    def accept(match: Match) -> Candidate | None:
        compact = _compact(folded.text[match.start : match.end])
        if compact[:2] in _NINO_NEVER or surroundings.is_joined(folded.text, match.start, match.end):
            return None
        return Candidate(match.start, match.end, Kind.UK_NINO, _RANK - 1)

    yield from _NINO.retrying(folded.data, accept)


def _passport(folded: Folded) -> Iterator[Candidate]:
    for match in _PASSPORT.matches(folded.data):
        yield Candidate(*match.groups[0], Kind.PASSPORT, _CONTEXT_RANK)
    for match in _PASSPORT_BEHIND.matches(folded.data):
        yield Candidate(*match.groups[0], Kind.PASSPORT, _CONTEXT_RANK - 3)  # below an NRIC that passes its check


def _passport_chinese(folded: Folded) -> Iterator[Candidate]:
    for match in _PASSPORT_WIDE.matches(folded.text):
        yield Candidate(*match.groups[0], Kind.PASSPORT, _CONTEXT_RANK)


def _dob(folded: Folded) -> Iterator[Candidate]:
    for match in _DOB.matches(folded.data):
        yield Candidate(*match.groups[0], Kind.DOB, _CONTEXT_RANK)


def _dob_chinese(folded: Folded) -> Iterator[Candidate]:
    for pattern in (_DOB_WIDE, _DOB_WIDE_BEHIND):
        for match in pattern.matches(folded.text):
            yield Candidate(*match.groups[0], Kind.DOB, _CONTEXT_RANK)


RULES = (
    Rule("nric", r"\b(?i:(?:ic|nric|fin)?[STFGM])(?:[\s.\-]?\d){7}[\s.\-]?[A-Za-z]\b", _nric),
    Rule("mykad", r"\b(?i:ic|kp|mykad)?\d{6}[\s.\-]{0,2}\d{2}[\s.\-]{0,2}\d{4}\b", _mykad),
    Rule("chinese identity", r"\b[1-9]\d{5}[\s\-]?(?:19|20)\d{2}[\s\-]?[01]\d", _cn_id),
    Rule("ssn", r"\b\d{3}[\s.\-]\d{2}[\s.\-]\d{4}\b|\b(?i:ssn|social security)\b", _ssn),
    Rule("nino", r"\b(?i:[a-z]{2})(?:[\s\-]?\d\d){3}[\s\-]?[A-Da-d]\b", _nino),
    Rule("passport", r"(?i:passport|pasport|ppt no)", _passport),
    Rule("passport in Chinese", "护照", _passport_chinese),
    Rule("birth date", r"(?i:\bd\.?o\.?b\b|birth|b'day|\bborn|\blahir)", _dob),
    Rule(
        "birth date in Chinese",
        r"(?i:dob|date of birth|birthday)[\s:是为在于]{0,3}\d|出生|生日|生于|生辰|生的|生人",
        _dob_chinese,
    ),
)
