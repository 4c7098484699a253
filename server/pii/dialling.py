"""Telephone numbering plans, from libphonenumber's metadata but without its slow parser."""

from __future__ import annotations

import functools
import re

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

_LONGEST_COUNTRY_CODE = 3
_SHORTEST_NATIONAL = 6
_EIGHT = 8
# Grouped or not: Malaysia, Britain, Australia, Indonesia, Taiwan, France ... all have 9 to 12 digits behind a trunk 0.
_TRUNK_DIGITS = range(9, 13)
_SINGAPORE_STARTS = "3689"
_TRUNK_SHAPES = re.compile(r"\(?0\d{1,4}\)?[\s.\-]{0,2}(?:\d{2,4}(?:[\s.\-]{1,2}\d{2,4}){1,4}|\d{6,9})")

_YEAR = r"(?:19|20)\d\d"
_DATE = re.compile(
    rf"(?:(?P<day>\d\d?)(?P<between>[\s\-]?)(?P<month>\d\d?)(?P=between){_YEAR}|"
    rf"{_YEAR}(?P<between_behind>[\s\-]?)(?P<month_behind>\d\d?)(?P=between_behind)(?P<day_behind>\d\d?))"
    r"(?:[\s\-]{1,3}(?:[01]\d|2[0-3])[\s]?[0-5]\d){0,2}"  # 0900, 0900-1100
)

_DATE_IN = re.compile(
    r"\.?\s(?:(?:0?[1-9]|[12]\d|3[01])[ \-/](?:0?[1-9]|1[0-2])[ \-/]20\d\d|20\d\d[\-/](?:0?[1-9]|1[0-2])[\-/]\d\d)\b"
)
_DATE_LENGTH = 10


@functools.cache
def _national_pattern(country_code: int) -> re.Pattern[str] | None:
    """The shapes of national numbers behind a country code; None for a code that does not exist. Cached by code, of
    which there are about 200; never by number, which would keep personal data in memory."""
    regions = COUNTRY_CODE_TO_REGION_CODE.get(country_code)
    if regions is None:
        return None
    alternatives: list[str] = []
    for region in regions:
        metadata = (
            PhoneMetadata.metadata_for_nongeo_region(country_code, None)
            if region == "001"
            else PhoneMetadata.metadata_for_region(region, None)
        )
        shapes = metadata.general_desc if metadata is not None else None
        if shapes is not None and shapes.national_number_pattern:
            alternatives.append(f"(?:{shapes.national_number_pattern})")
    return re.compile("|".join(alternatives)) if alternatives else None


def _is_national(country_code: int, national: str) -> bool:
    pattern = _national_pattern(country_code)
    if pattern is None or len(national) < _SHORTEST_NATIONAL:
        return False
    # People write the trunk 0 behind the country code: +44 (0)20 ...
    return pattern.fullmatch(national) is not None or (
        national.startswith("0") and pattern.fullmatch(national[1:]) is not None
    )


def _is_international(digits: str) -> bool:
    return any(
        _is_national(int(digits[:width]), digits[width:])
        for width in range(1, _LONGEST_COUNTRY_CODE + 1)
        if digits[0] != "0"
    )


def international_length(written: str) -> int:
    """How much of `written` ("+65 9123 4567 20", at most about 60 characters) is one international number: the
    longest prefix that ends where a group of digits ends; 0 when none does."""
    ends = [m.end() for m in re.finditer(r"\d+", written)]
    digits = "".join(c for c in written if c.isdigit())
    if not written.lstrip().startswith("+"):
        digits = digits.removeprefix("00")
    for end in reversed(ends):
        behind = sum(c.isdigit() for c in written[end:])
        number = digits[: len(digits) - behind]
        if len(number) > _SHORTEST_NATIONAL and _is_international(number):
            return end
    return 0


def is_trunk_number(written: str) -> bool:
    """True for a national number with a leading 0 whose length and grouping are those of a telephone number."""
    digits = sum(c.isdigit() for c in written)
    if digits not in _TRUNK_DIGITS or written.lstrip("(").startswith("00"):
        return False
    return _TRUNK_SHAPES.fullmatch(written) is not None


def reads_as_date(written: str) -> bool:
    """True for digits that read as a date, with or without a time behind: 31122024, 28-11-2026 0900, 2026 11 28."""
    match = _DATE.fullmatch(written)
    if match is None:
        return False
    day, month = match["day"] or match["day_behind"], match["month"] or match["month_behind"]
    return 1 <= int(day) <= 31 and 1 <= int(month) <= 12


def date_behind(text: str, start: int, end: int) -> int | None:
    """Where a date begins that follows a number and reads as a part of it: "012-345678-9 28-11-2026"."""
    date = _DATE_IN.search(text[start : end + _DATE_LENGTH])
    return start + date.start() if date is not None and start + date.start() < end else None


def is_spelt_number(digits: str, *, called: bool) -> bool:
    """True when digits that were spelt in words make a telephone number of Singapore, Malaysia or China; after a word
    such as "call" any length from 7 to 12 will do."""
    if not digits.isdigit():
        return False
    if called and 7 <= len(digits) <= 12:
        return True
    national = digits.removeprefix("65") if len(digits) == _EIGHT + 2 else digits
    if len(national) == _EIGHT:
        return national[0] in _SINGAPORE_STARTS
    return re.fullmatch(r"01\d{8,9}|601\d{8,9}|1[3-9]\d{9}", digits) is not None
