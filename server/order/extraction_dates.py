"""Delivery dates in messages ("tomorrow", "Tue", 12 June, 明天, 星期二, esok, 12hb), and numbers that count no goods:
prices, phones, order numbers, times, addresses. Both are found by their surroundings and never read as quantities."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

_WEEKDAYS = {
    name: day
    for day, names in enumerate((
        "monday mon isnin 周一 星期一 礼拜一", "tuesday tues tue selasa 周二 星期二 礼拜二",
        "wednesday wed rabu 周三 星期三 礼拜三", "thursday thurs thur thu khamis 周四 星期四 礼拜四",
        "friday fri jumaat 周五 星期五 礼拜五", "saturday sat sabtu 周六 星期六 礼拜六",
        "sunday sun ahad 周日 周天 星期日 星期天 礼拜日 礼拜天",
    ))
    for name in names.split()
}  # fmt: skip
_MONTHS = {
    name: month
    for month, names in enumerate((
        "january jan januari", "february feb februari", "march mar mac", "april apr", "may mei", "june jun",
        "july jul julai", "august aug ogos", "september sept sep", "october oct oktober", "november nov",
        "december dec disember dis",
    ), start=1)
    for name in names.split()
}  # fmt: skip
_SOON = {
    "today": 0, "tonight": 0, "hari ini": 0, "今天": 0, "今晚": 0,
    "tomorrow": 1, "tmr": 1, "tmrw": 1, "tml": 1, "tommorow": 1, "tomorow": 1, "tommorrow": 1,
    "esok": 1, "besok": 1, "明天": 1, "明日": 1,
    "day after tomorrow": 2, "lusa": 2, "后天": 2,
}  # fmt: skip


def _any(words: object) -> str:
    return "|".join(re.escape(word) for word in sorted(map(str, words), key=len, reverse=True))  # type: ignore[call-overload]


_LATIN_DAYS = [name for name in _WEEKDAYS if name.isascii()]
_DATE = re.compile(
    rf"""
    (?P<soon>(?<![a-z])(?:{_any(name for name in _SOON if name.isascii())})(?![a-z])
        |{_any(n for n in _SOON if not n.isascii())})
  | (?P<next>下(?:个)?(?=周|星期|礼拜))?(?P<day>(?<![a-z])(?:{_any(_LATIN_DAYS)})(?![a-z])
        |{_any(name for name in _WEEKDAYS if not name.isascii())})
  | (?<![\d/])(?P<d1>\d{{1,2}})[ ]?(?:st|nd|rd|th|hb)?[ ](?:of[ ])?(?P<m1>{_any(_MONTHS)})(?![a-z])
  | (?<![a-z])(?P<m2>{_any(_MONTHS)})[ ](?P<d2>\d{{1,2}})(?:st|nd|rd|th)?(?![\d\w])
  | (?P<m3>\d{{1,2}})月(?P<d3>\d{{1,2}})[日号]
  | (?<![\d/])(?P<d4>\d{{1,2}})/(?P<m4>\d{{1,2}})(?:/(?:20)?\d\d)?(?![\d/])(?!\s*(?:carton|ctn|pack|box|of|dozen))
  | (?<![\d\w])(?P<d5>\d{{1,2}})(?:st|nd|rd|th|hb)(?!\w)
  | (?<!\d)(?P<d6>\d{{1,2}})[日号](?=[到送前要]|$|\s|,|。)
    """,
    re.VERBOSE,
)
_NUMBERED = re.compile(
    r"""
    (?:s\$|us\$|sgd|rm|myr|usd|\$|¥|￥|€|£)\s*\d[\d,]{0,15}(?:\.\d+)?k?
  | (?<!\d)\d[\d,]{0,15}(?:\.\d+)?\s{0,3}(?:dollars?|bucks|cents?|ringgit|sen|sgd|myr|块钱?\d?|元|毛)(?![a-z])
  | (?<!\w)(?:at|@)\s*\d+\.\d{2}(?!\d)
  | \d+\.\d{2}\s*(?:each|per|/)
  | \d+(?:\.\d+)?\s*%
  | (?<!\d)0\d-\d{2,3}(?!\d)
  | \#\s?\d+(?:-\d+)*
  | (?<![a-z])(?:s\(\d{6}\)|singapore\s\d{6}|postal(?:\scode)?\s*\d{5,6})
  | \+\d[\d\s-]{6,16}\d
  | (?<![\d-])[689]\d{3}[ -]?\d{4}(?![\d-])
  | (?<!\d)01\d[- ]?\d{3,4}[- ]?\d{4}(?!\d)
  | (?<!\d)\d{6}(?=\s*singapore)
  | (?<![a-z0-9])(?:po|inv|invoice|invois|ref|reference|ticket|account|acct|uen|booking)
      (?:\s?(?:no\.?|number|nombor|num|\#|:|id))?[\s#-]{0,2}\d{3,}(?:-\d+)*
  | (?<![a-z0-9])(?:so|ord)-?\d{3,}
  | (?<![a-z0-9])(?:orders?|pesanan)\s(?:(?:no\.?|number|nombor)\s?)?\d{3,6}
      (?=\s*(?:$|[,.?!;:]|(?:to|status|please|pls|yet|is|has|was|tu|saya|and|dah|bila|not|i|we|for)(?![a-z])))
  | (?:订单|发票|单号|编号|电话|手机|邮编|邮区)(?:号码?|是|:)?\s*\d{3,}
  | (?<![a-z])(?:blk|block|blok|level|lvl|lot|no\.|nombor|tingkat|outlet|branch|cawangan|store|stall|gerai
        |table|meja|shop|kedai|room|bay|gate|dock)
      \s?(?:no\.?\s?)?\d+[a-z]?(?:-\d+)*(?![\d.])
  | (?:第|桌)\s?\d+\s?(?:座|楼|号|店|桌|分店)?|\d+\s?(?:座|楼|号店|号门|分店|号桌)
  | \d+[a-z]?[ ](?:[a-z]+[ ]){1,3}(?:road|rd|street|st|avenue|ave|lane|drive|dr
        |crescent|link|way|close|park)(?:[ ]\d+)?(?![a-z])
  | (?<![a-z])(?:jalan|jln|lorong|lrg|lor|street|st|ave|avenue)(?:[ ][a-z]+){0,2}[ ]\d+[a-z]?(?![\d.])
  | (?<![a-z])\d+[ ](?:jalan|jln|lorong|lrg)[ ][a-z]+
  | [街路巷道]\s?\d+\s?号?
  | \d{1,2}(?:[:.]\d{2})?\s?(?:am|pm|noon|a\.m|p\.m|o'?clock|pagi|petang|malam|tgh)(?![a-z])
  | (?<!\d)\d{1,2}:\d{2}(?!\d)
  | (?<![a-z])pukul\s?\d{1,2}(?:[.:]\d{2})?
  | (?:上午|下午|早上|晚上|中午)\s?[\d一二三四五六七八九十]{1,3}\s?[点时](?:半)?
      |[\d一二两三四五六七八九十]{1,3}点(?!心)(?:半|钟)?
  | (?<![\d.])\d+\s?(?:pax|people|persons?|guests?|orang|minutes?|mins?|hours?|hrs?|days?|weeks?|months?|years?
        |minit|jam|hari|minggu|bulan|tahun)(?![a-z])
  | \d+\s?(?:个?(?:人|小时|月)|位|分钟|天|周|年)
  | (?<!\d)20[2-3]\d(?=\s*(?:price|catalog|menu|年))
  | (?<![a-z])(?:for|in|within|after|next|last|past)[ ]
      (?:two|three|four|five|six|seven)[ ](?:days?|weeks?|months?|hours?)
    """,
    re.VERBOSE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What of a folded text is no goods: the places of dates and other numbers (`covered` is 1 there), and the delivery
    date if one was said."""

    covered: bytes
    delivery_date: date | None


def surroundings(text: str, today: date) -> Surroundings:
    """Look at a folded text. Of several dates the last is taken: people correct themselves."""
    found = None
    covered = bytearray(len(text))
    for match in _DATE.finditer(text):
        when = _date(match, today)
        if when is None:
            continue
        found = when
        _cover(covered, match)
    for match in _NUMBERED.finditer(text):
        _cover(covered, match)
    return Surroundings(bytes(covered), found)


def _cover(covered: bytearray, match: re.Match[str]) -> None:
    start, end = match.span()
    covered[start:end] = b"\1" * (end - start)


def _date(match: re.Match[str], today: date) -> date | None:
    if match["soon"]:
        return today + timedelta(days=_SOON[match["soon"]])
    if match["day"]:
        ahead = (_WEEKDAYS[match["day"]] - today.weekday() - 1) % 7 + 1
        if match["next"]:
            ahead = 7 - today.weekday() + _WEEKDAYS[match["day"]]
        return today + timedelta(days=ahead)
    for day, month in (("d1", "m1"), ("d2", "m2"), ("d3", "m3"), ("d4", "m4")):
        if match[day]:
            number = _MONTHS.get(match[month]) or int(match[month])
            return _next(today, int(match[day]), number)
    return _day_of_month(today, int(match["d5"] or match["d6"]))


def _next(today: date, day: int, month: int) -> date | None:
    """The next such day, today included; None when there is no such day (31/4)."""
    for year in (today.year, today.year + 1):
        try:
            found = date(year, month, day)
        except ValueError:
            continue
        if found >= today:
            return found
    return None


def _day_of_month(today: date, day: int) -> date | None:
    for step in range(3):
        month = today.month + step
        try:
            found = date(today.year + (month - 1) // 12, (month - 1) % 12 + 1, day)
        except ValueError:
            continue
        if found >= today:
            return found
    return None
