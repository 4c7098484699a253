"""Postal addresses of Singapore and Malaysia, street addresses in English, and Chinese ones.

An address is written in parts (block, street, unit, building, postal code); parts are found one by one and those that
stand together are one address. A part that means little alone (a unit, a bare street) counts only beside another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from server.pii import surroundings
from server.pii.kinds import Kind
from server.pii.normalise import Folded
from server.pii.patterns import Candidate, Context, Match, Pattern, Rule, Several, WidePattern

_RANK = 45
_TYPE = (
    r"(?i:road|rd|street|st|avenue|ave|drive|crescent|cres|close|cl|lane|ln|way|walk|terrace|ter|place|pl|link|"
    r"loop|rise|hill|view|"
    r"boulevard|blvd|central|grove|gardens?|gdns|quay|square|sq|highway|hwy|heights|vale|turn|court|ct|green|"
    r"field|parade|circus|heath|ring|park|parkway|plain|estate)"
)
# Ends of street names that are colours, shapes and adverbs as well: "50 Straw green", "25 Cake Ring", "500 Napkin way
# too thin". Written small they need a word that leads to a place; the first ones need it, or a neighbour, always.
_DOUBTFUL_TYPES = frozenset({"green", "plain", "square", "sq", "ring", "cl", "ct", "pl", "ter"})
_DOUBTFUL_SMALL = _DOUBTFUL_TYPES | {
    "view", "link", "loop", "central", "field", "garden", "gardens", "way", "walk", "close", "place", "rise", "hill",
    "court", "turn", "park", "estate", "drive", "lane", "ln", "st", "vale", "heights", "terrace", "parade",
}  # fmt: skip
_SMALL = r"(?:[A-Z][A-Za-z']{1,16}|of|the|[A-Z]\.)"
_HOUSE = r"(?i:no\.?\s?|lot\s)?\d{1,4}[A-Za-z]?"
_MALAY = (
    r"(?i:jalan|jln|jl|lorong|lor|persiaran|lebuh|lebuhraya|lengkok|lengkungan|changkat|tingkat|kampong|"
    r"kampung|kg|taman|tmn|bukit)"
)

_STREET = Pattern(
    rf"\b{_HOUSE},?\s{{1,2}}"
    rf"(?:{_SMALL}\s){{0,4}}[A-Z][A-Za-z']{{1,16}}\s{_TYPE}\b\.?(?:\s\d{{1,3}}[A-Z]?\b)?"
)
_STREET_LOWER = Pattern(
    r"\b\d{1,4}[a-z]?,?\s{1,2}(?:[a-z']{2,16}\s){1,3}(?:road|rd|street|avenue|ave|"
    r"crescent|lorong|boulevard|blvd)\b\.?(?:\s\d{1,3}\b)?"
)
_STREET_MALAY = Pattern(
    rf"\b(?:{_HOUSE},?\s{{1,2}})?{_MALAY}\.?\s(?:[A-Z0-9][A-Za-z0-9'/]{{0,16}}\b)(?:\s(?:[A-Z][A-Za-z']{{1,16}}|"
    rf"\d{{1,3}}(?:/\d{{1,3}}[A-Z]?)?[A-Z]?\b)){{0,3}}"
)
_STREET_MALAY_LOWER = Pattern(
    r"\b(?:no\.?\s?)?\d{1,4}[a-z]?,?\s{1,2}(?:jalan|jln|lorong|lor|taman|persiaran|"
    r"lebuh)\s[a-z]{2,16}(?:\s(?:\d{1,3}(?:/\d{1,3})?\b|[a-z]{4,12})){0,2}"
)
_BLOCK = Pattern(
    rf"\b(?i:blk|block|"
    rf"apt blk)\.?\s?\d{{1,4}}[A-Za-z]?\b,?"
    rf"(?:\s{{1,2}}(?i:[a-z'.]{{1,16}})){{0,4}}?\s{_TYPE}\b\.?(?:\s\d{{1,3}}[A-Za-z]?\b)?"
    rf"|\b(?i:blk|block|"
    rf"apt blk)\.?\s?\d{{1,4}}[A-Za-z]?\b,?\s{{1,2}}{_MALAY}\s(?i:[a-z]{{2,16}})(?:\s(?:[A-Z][a-z]{{1,16}}|"
    rf"\d{{1,3}})\b){{0,2}}"
    r"|\b(?i:blk|block|apt blk)\.?\s?\d{1,4}[A-Za-z]?\b(?:,?\s(?:[A-Z][a-z]{1,16}|\d{1,3})\b){0,4}"
)
_UNIT = Pattern(
    r"(?i:\bunit\s?(?:no\.?\s?)?|\blevel\s?\d{1,3},?\s)?#\s?[Bb]?\d{1,3}\s?-\s?\d{1,4}[A-Za-z]?\b|"
    r"\b(?i:unit)\s(?:[A-Z]-)?\d{1,3}-\d{1,4}[A-Za-z]?\b|\b(?i:unit|level)\s\d{1,3}[A-Za-z]?,"
)
_POSTAL_NAMED = Pattern(
    r"\b(?i:singapore|spore|s'pore|postal(?: code)?|post ?code|poskod|"
    r"zip(?: code)?)\s{0,2}(?:is\s|:\s?)?(?:\(\d{6}\)|\d{6}\b)|\bS\s?\(\d{6}\)|\bS\s?\d{6}\b"
)
# Postal codes and regions are far too common alone; they only ever extend an address.
_WEAK = Pattern(
    r"\b\d{5,6}(?: (?:[A-Z][a-z]{2,16})){0,3}\b|\b[A-Z]{1,2}\d[A-Z\d]?\s\d[A-Z]{2}\b|"
    r"\b[A-Z]{2}\s\d{5}\b|"
    r"\b(?:Singapore|Malaysia|Kuala Lumpur|Petaling Jaya|Johor Bahru|Johor|Selangor|Shah Alam|Subang Jaya|Penang|"
    r"Pulau Pinang|Ipoh|Melaka|Kuching|Batam|Jakarta|Bangkok|Manila|Hong Kong|Shanghai|Beijing|Tokyo|London|"
    r"Sydney|Melbourne|Perth|New York)\b"
)
_POSCODE_CITY_SHAPE = (
    r"\b\d{5}\s(?i:kuala lumpur|petaling jaya|johor bahru|shah alam|subang jaya|george town|georgetown|ipoh|"
    r"melaka|malacca|seremban|klang|"
    r"kota kinabalu|kuching|puchong|cyberjaya|putrajaya|ampang|cheras|kajang|penang|pulau pinang|skudai|muar|"
    r"batu pahat|iskandar puteri|johor|selangor)\b"
)
_POSCODE_CITY = Pattern(_POSCODE_CITY_SHAPE)
_CONTEXT = re.compile(
    r"(?:\b(?:address|addr|deliver(?:y|ed)?|send|ship|live|lives|living|stay|stays|staying|home|house|located|"
    r"alamat|tinggal|hantar|rumah|unit|outlet)\b)[^\n]{0,24}\Z",
    re.IGNORECASE,
)
_TO_A_PLACE = Context(
    r"(?:\b(?:address|addr|alamat|tinggal)|\b(?:deliver(?:y|ed|ing)?|send|sent|ship(?:ped)?|bring|drop|come|meet|lives?|"
    r"living|stays?|staying|located|moved|home|"
    r"address|addr|alamat|kedai|house|office|outlet|shop|store|stall|collect|pick ?up|hantar|rumah)\b"
    r"[^\n\d]{0,20}\b(?:to|at|is|in|from|ke|di|kat))\b[\s:,]{0,3}\z",
)
_BETWEEN = re.compile(r"[\s,.()\-:]{0,4}(?:(?:[A-Z][A-Za-z'&]{1,16}|@)[\s,.()\-]{1,3}){0,4}")
_NEVER_STREETS = re.compile(
    r"\b(?:Green\s[A-Za-z]|(?:Food|Pizza|Paper|Soup|Box(?:es)?|Cups?|Inch|Cartons?|Packs?|Kraft|Bento|Order|Invoice|"
    r"Lids?|Napkins?|Straws?|Trays?|Bowls?|Plates?|Bags?|Forks?|Spoons?|Cakes?|Foil|Tissues?|Tea|The)\b)"
)

_NOT_A_ROAD = re.compile(r"\s(?:food|show|side|trip|event|stalls?|works?)\b", re.IGNORECASE)
_COUNTED = re.compile(r"\d+,?\s+(?:[a-z']+\s){0,2}(?:for|to|at|by|from|near|along|on|our|my|your)\s")
_NUMBER_BEHIND = re.compile(r"(?<=[A-Za-z.])\s\d{1,3}\Z")
_SIX_OR_CITY = re.compile(r"\d{6}\Z|\D")

_WEIGHT = re.compile(r"\d+[A-Za-z]?,?\s{1,2}kg\b", re.IGNORECASE)  # kg is short for kampung, but not behind a number

_LONGEST_GAP = 48
_LONGEST = 200

_ZH_ADDRESS = WidePattern(
    "(?:[\u4e00-\u9fff]{2,7}(?:省|自治区|市))?(?:[\u4e00-\u9fff]{1,6}(?:市|区|县|"
    "镇)){0,2}[\u4e00-\u9fff]{1,8}(?:路|街|大道|道|巷|弄|胡同)"
    "(?:[东西南北中]?[一二三四五六七八九十\\d]{0,3}[段路街道])?\\s?\\d{1,5}(?:号|弄|"
    "巷)?(?:[\u4e00-\u9fff]{0,8}\\d{1,4}[A-Za-z]?(?:号楼|栋|幢|座|单元|室|楼|层|房|号)){0,4}"
)
_ZH_STREET = "[\u4e00-\u9fff]{2,8}\\s?\\d{0,3}\\s?(?:路|街|道|巷|弄|坊|通道|大道|台|径)\\s?\\d{0,3}"
# A block of flats in Singapore stands before its street or behind it, and the unit behind both.
_ZH_BLOCK = WidePattern(
    f"(?:(?:大牌|第)\\s?\\d{{1,4}}[A-Za-z]?\\s?座?[\\s,]?{_ZH_STREET}|{_ZH_STREET}[\\s,]{{0,2}}大牌\\s?\\d{{1,4}}[A-Za-z]?)"
    "(?:[\\s,]{0,3}#\\s?[Bb]?\\d{1,3}\\s?-\\s?\\d{1,4}[A-Za-z]?)?"
)
_ZH_LEAD = (
    "地址是",
    "地址",
    "住在",
    "送到",
    "寄到",
    "送货到",
    "住址",
    "位于",
    "我住",
    "请送",
    "送去",
    "送",
    "寄",
    "在",
    "到",
    "是",
    "住",
    "去",
)
_ZH_NUMBERED = re.compile(r"\d\s?(?:号|弄|室|栋|幢|座|楼)|大牌")


_STRONG = Several(
    (_STREET, _STREET_LOWER, _STREET_MALAY_LOWER, _STREET_MALAY, _BLOCK, _UNIT, _POSTAL_NAMED, _POSCODE_CITY)
)
_SUFFICIENT = frozenset({_STREET, _STREET_LOWER, _STREET_MALAY_LOWER, _POSTAL_NAMED, _POSCODE_CITY})


_NUMBERED = frozenset({_STREET, _STREET_LOWER, _STREET_MALAY, _STREET_MALAY_LOWER, _BLOCK})


class _Part(NamedTuple):
    start: int
    end: int
    sufficient: bool  # an address by itself
    doubtful: bool = False  # it may be a quantity of something


def _parts(folded: Folded) -> list[_Part]:
    text, data = folded.text, folded.data
    found: list[_Part] = []
    for pattern in _STRONG.occurring(data):
        for match in pattern.matches(data):
            end = _without_count(text, match.start, match.end) if pattern in _NUMBERED else match.end
            part = _Part(match.start, end, pattern in _SUFFICIENT)
            written = text[part.start : part.end]
            if pattern is _STREET_MALAY:
                if _WEIGHT.match(written):
                    continue
                part = part._replace(sufficient=written[0].isdigit() or written[:2].lower() == "no")
            elif pattern is _BLOCK:
                part = part._replace(sufficient=_is_full_block(written))
            elif pattern is _STREET:
                if _NEVER_STREETS.search(written):
                    continue
                part = _street(part, written)
            elif pattern is _STREET_LOWER and _is_no_street(text, part):
                continue
            found.append(part)
    return found


def _without_count(text: str, start: int, end: int) -> int:
    """Where a street ends if the number behind it is a quantity or a day: "139 Tanjong Pagar Road 200 boxes"."""
    if not text[end - 1].isdigit():
        return end
    number = _NUMBER_BEHIND.search(text[start:end])
    if number is None or not surroundings.is_of_its_own(text, end):
        return end
    return start + number.start()


def _street(part: _Part, written: str) -> _Part:
    ending = next(word for word in reversed(written.split()) if word[0].isalpha()).rstrip(".")
    if ending.lower() not in (_DOUBTFUL_TYPES if ending[0].isupper() else _DOUBTFUL_SMALL):
        return part
    return part._replace(sufficient=False, doubtful=True)


def _is_no_street(text: str, part: _Part) -> bool:
    """True for "50 boxes to orchard road" and "200 napkins for street food"."""
    return (
        _COUNTED.match(text[part.start : part.end]) is not None
        or _NOT_A_ROAD.match(text[part.end : part.end + 8]) is not None
    )


def _is_full_block(written: str) -> bool:
    return len(re.findall(r"[A-Za-z]{2,}", written)) > 1


def _addresses(folded: Folded) -> Iterator[Candidate]:
    text = folded.text
    parts = _parts(folded)
    if not parts:
        return
    weak = [_Part(match.start, match.end, sufficient=False) for match in _WEAK.matches(folded.data)]
    parts.sort()
    for group in _neighbours(text, sorted([*parts, *weak]), strong=frozenset(parts)):
        start, end = group[0].start, max(part.end for part in group)
        if _is_address(text, group, [part for part in group if part in parts]):
            while end > start and text[end - 1] in " ,.-\n\t":
                end -= 1
            yield Candidate(start, end, Kind.ADDRESS, _RANK)


def _is_address(text: str, group: list[_Part], strong: list[_Part]) -> bool:
    before = text[max(0, group[0].start - 40) : group[0].start]
    if any(part.sufficient for part in strong):
        return True
    if not all(part.doubtful for part in strong):
        return len(strong) > 1 or _CONTEXT.search(before) is not None
    beside = (text[part.start : part.end] for part in group if part not in strong)
    return _TO_A_PLACE.occurs(before) or any(_SIX_OR_CITY.match(written) for written in beside)


def _neighbours(text: str, parts: list[_Part], *, strong: frozenset[_Part]) -> Iterator[list[_Part]]:
    """Runs of parts that stand together; each begins with a strong part and is at most 200 code points long."""
    group: list[_Part] = []
    end = 0
    for part in parts:
        if group and part.end <= end:
            if part.sufficient:  # inside what is there already, and what makes an address of it
                group.append(part)
            continue
        gap = text[end : part.start] if part.start >= end else ""
        near = len(gap) <= _LONGEST_GAP and _BETWEEN.fullmatch(gap) is not None
        if group and near and part.end - group[0].start <= _LONGEST:
            group.append(part)
        else:
            if group:
                yield group
            group = [part] if part in strong else []
        end = max(end, part.end) if group else part.end
    if group:
        yield group


def _chinese(folded: Folded) -> Iterator[Candidate]:
    text = folded.text
    for pattern in (_ZH_ADDRESS, _ZH_BLOCK):
        for match in pattern.matches(text):
            start = _after_lead(text, match)
            if _ZH_NUMBERED.search(text[start : match.end + 1]):
                yield Candidate(start, match.end, Kind.ADDRESS, _RANK)


def _after_lead(text: str, match: Match) -> int:
    """The pattern cannot tell "送到" from the name of a province; step over such words."""
    written = text[match.start : match.end]
    position = max((written.rfind(lead) + len(lead) for lead in _ZH_LEAD if lead in written[:12]), default=0)
    return match.start + position


RULES = (
    Rule(
        "address",
        rf"\b(?i:blk|block)\.?\s?\d|\b(?i:singapore|spore|s'pore|postal(?: code)?|post ?code|poskod|"
        rf"zip(?: code)?)\s{{0,2}}(?:is\s|:\s?)?\(?\d|#\s?[Bb]?\d{{1,3}}\s?-|"
        rf"\bS\s?\(?\d{{6}}|\b{_MALAY}\.?\s[A-Z0-9]|\d[A-Za-z]?,?\s{{1,2}}(?:jalan|jln|lorong|lor|taman|persiaran|"
        rf"lebuh)\s|\b(?i:unit|level)\s(?:[A-Z]-)?\d"
        rf"|\d[A-Za-z]?,?\s{{1,2}}(?:{_SMALL}\s){{0,4}}[A-Z][A-Za-z']{{1,16}}\s{_TYPE}\b"
        r"|\d[a-z]?,?\s{1,2}(?:[a-z']{2,16}\s){1,3}(?:road|rd|street|avenue|ave|crescent|lorong|boulevard|blvd)\b"
        rf"|{_POSCODE_CITY_SHAPE}",
        _addresses,
    ),
    Rule("Chinese address", "路|街|道|巷|弄|胡同|坊|台|径|大牌", _chinese),
)
