"""Names of people in Latin letters that are introduced, labelled or titled, and the shapes that need no context.

A bare first name without context is not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from server.pii import names
from server.pii.kinds import Kind
from server.pii.normalise import Folded
from server.pii.patterns import Candidate, Pattern, Rule

RANK = 40
# Behind a title stands a name; "tuan" and "pak" are Malay, "haji" is part of how a man is called.
_TITLES = (
    "(?i:mr|mrs|ms|miss|mdm|madam|mister|dr|prof|professor|encik|en|puan|pn|cik|(?:tuan )?haji|hajah|tuan|pak|kak|"
    "abang|tan sri|dato'?|datuk|datin|auntie|aunty|uncle|sir|chef|cikgu|ustaz|ustazah|mak ?cik|pak ?cik)"
)
WORD = r"[A-Za-z][A-Za-z'\-]{0,24}"
_JOINER = r"(?i:bin|binti|binte|bte|bt|s/o|d/o|a/l|a/p|van|von|de|da|al|el)"
# Up to five words on one line; `_trim` decides how many of them are a name.
NAME = rf"({WORD}\.?(?:[ \t]{{1,2}}(?:{_JOINER}\b|{WORD}\.?)){{0,4}})"

KNOWN_WORDS = names.GIVEN | names.SURNAMES
_NAME_WORDS = KNOWN_WORDS | names.SYLLABLES
_SURNAMES_OR_SYLLABLES = names.SURNAMES | names.SYLLABLES
# "Jun Kai" and "An Qi" are names, "Jun" and "an" are none.
WORDS_AND_SYLLABLES = frozenset(word.title() for word in names.SYLLABLES & names.NOT_NAMES)
SYLLABLES_FOLLOW = re.compile(
    f"(?:{'|'.join(sorted(WORDS_AND_SYLLABLES))})[ \\t](?:{'|'.join(sorted(w.title() for w in names.SYLLABLES))})\\b"
)
_INTRODUCED = Pattern(
    r"\b(?i:my (?:full |first )?name(?:'s| is|:)|i am called|i'm called|they call me|"
    r"nama (?:penuh )?saya(?: ialah| adalah)?|saya bernama|"
    rf"nama penuh|full name(?: is)?|name on (?:the )?card(?: is)?)[ \t]{{0,2}}[:\-]?[ \t]{{0,2}}{NAME}"
)
_LABELLED = Pattern(
    r"\b(?i:([a-z]{2,20}[ \t]{1,2})?(name|contact(?: person| name)?|attn|attention|pic|person in charge|receiver|"
    r"recipient|consignee|ordered by|"
    r"signed by|received by|collected by|approved by|requested by|submitted by|prepared by|care of|c/o|nama|"
    r"nama penerima|penerima|"
    rf"card ?holder|beneficiary|payee|requester|buyer|sender|cc|cp))[ \t]{{0,2}}[:=][ \t]{{0,2}}{NAME}"
)
_TITLED = Pattern(rf"\b{_TITLES}\b\.?[ \t]{{1,2}}{NAME}")
NO_PERSON_BEHIND = re.compile(
    r"\s(?:outlet|branch|store|mall|shop|office|restaurant|kitchen|team|company|bank|hotel|street|road|ave|mrt|"
    r"plaza|cawangan|kedai|cup|lid|bowl|box(?:e)?|bag|straw|tray|plate|napkin|paper|sauce|deliver(?:y|ie)|order|price|"
    r"tea|rice|green|black|white|red|beige|flour|syrup|leave|pearl|foil|powder|cake|sponge|kuih|apple|"
    r"stock|size|range|machine|sticker|carton|brand|website|app|portal|terminal|card)s?\b",
    re.IGNORECASE,
)
_TITLE = re.compile(
    r"(?:driver|employee|customer|staff|boss|manager|the|our|mr|mrs|ms|miss|mdm|madam|encik|puan|cik|tuan|en|pn|"
    r"dr|saya|nama|dan|kepada|from|for|to|"
    r"with|by|dear|hi|hello)\.?\s{1,2}",
    re.IGNORECASE,
)
_LINEAGE = Pattern(
    r"\b[A-Z][A-Za-z']{1,20}(?:[ \t]{1,2}[A-Z][A-Za-z']{1,20}){0,2}[ \t]{1,2}(?i:bin|binti|binte|bte|"
    r"s/o|d/o|a/l|a/p)[ \t]{1,2}[A-Z][A-Za-z']{1,20}"
    r"(?:[ \t]{1,2}[A-Z][A-Za-z']{1,20}){0,2}\b"
)
_LETTERS = re.compile(r"[A-Za-z]+")
_SEPARATOR = re.compile(r"[^A-Za-z]+")
_WRITTEN_SURNAME = "(?:" + "|".join(f"{name.title()}|{name.upper()}" for name in sorted(names.SURNAMES)) + ")"
_CAPITAL = r"[A-Z][A-Za-z]{1,14}"
_BARE = Pattern(
    rf"\b(?:(?:{_CAPITAL}[ \t\-]{{1,2}}){{1,3}}{_WRITTEN_SURNAME}\b(?:[ \t\-]{{1,2}}{_CAPITAL}){{0,3}}|"
    rf"{_WRITTEN_SURNAME}(?:[ \t\-]{{1,2}}{_CAPITAL}){{1,3}})\b"
)
_CONNECTORS = frozenset(
    {"bin", "binti", "binte", "bte", "bt", "s/o", "d/o", "a/l", "a/p", "van", "von", "de", "da", "al", "el"}
)
_THINGS_WITH_NAMES = frozenset(
    """
    product item company brand outlet shop file user store restaurant business domain host display column field
    event project table class service server bank template account variable branch street road trade legal
    entity
    """.split()  # noqa: SIM905 - a list of words reads better as words
)
_LONGEST_ACRONYM = 3
_CAPITAL_BEHIND = re.compile(r"(?:'s)?[ \t](?:& )?([A-Z][A-Za-z]+)")
_WORDS = re.compile(r"[^ \t]+")
_MOST_WORDS = 5
_GIVEN_WORDS = 2


def is_capital(word: str) -> bool:
    return word[:1].isupper()


def _trim(text: str, start: int, end: int, *, lower: bool) -> tuple[int, int] | None:
    """The leading words of the range that can be a name. With `lower`, words in lower case count too ("my name is
    john tan") until one that is ordinary English or Malay."""
    last = start
    count = 0
    for found in _WORDS.finditer(text[start:end]):
        word = found[0]
        bare = word.rstrip(".'").removesuffix("'s").lower()
        if count and bare in _CONNECTORS:
            count += 1
            continue
        # Jun is a month, but not in "Goh Jun Jie"
        given = bare in names.SYLLABLES and is_capital(word) and (count > 0 or SYLLABLES_FOLLOW.match(text, start))
        if (not given and (bare in names.NOT_NAMES if count else names.is_ordinary(bare))) or not (
            lower or is_capital(word)
        ):
            break
        if lower and not is_capital(word) and bare not in _NAME_WORDS and count >= _GIVEN_WORDS:
            break
        count += 1
        stop = start + found.start() + len(word)
        ended = word.endswith(".") and len(word) > 2
        if word.lower().endswith("'s"):
            stop -= 2
            ended = True
        last = stop - (1 if word.endswith((".", "'", "-")) and ended else 0)
        if ended or count == _MOST_WORDS:
            break
    return (start, last) if last > start + 1 else None


def candidate_in(text: str, start: int, end: int, rank: int, *, lower: bool) -> Candidate | None:
    """The name at the beginning of the range."""
    name = _trim(text, start, end, lower=lower)
    if name is None or is_organisation(text, *name):
        return None
    return Candidate(*name, Kind.PERSON, rank)


def is_organisation(text: str, start: int, end: int) -> bool:
    """True for places, companies ("Golden Wok Catering") and departments ("HQ")."""
    written = text[start:end].lower()
    words = written.split()
    if written in names.NOT_PEOPLE or not names.ORGANISATION.isdisjoint(words):
        return True
    if len(written) <= _LONGEST_ACRONYM and text[start:end].isupper() and words[0] not in _NAME_WORDS:
        return True
    behind = _CAPITAL_BEHIND.match(text, end)  # "Golden Wok Catering", "Daniel's Bakery"
    return behind is not None and behind[1].lower() in names.ORGANISATION


def _introduced(folded: Folded) -> Iterator[Candidate]:
    for match in _INTRODUCED.matches(folded.data):
        candidate = candidate_in(folded.text, *match.groups[-1], RANK + 5, lower=True)
        if candidate is not None:
            yield candidate


def _labelled(folded: Folded) -> Iterator[Candidate]:
    text = folded.text
    for match in _LABELLED.matches(folded.data):
        (owner_start, owner_end), _, (start, end) = match.groups
        if text[max(owner_start, 0) : max(owner_end, 0)].strip().lower() in _THINGS_WITH_NAMES:
            continue
        candidate = candidate_in(text, start, end, RANK + 3, lower=not is_capital(text[start]))
        if candidate is not None:
            yield candidate


def _titled(folded: Folded) -> Iterator[Candidate]:
    text = folded.text
    for match in _TITLED.matches(folded.data):
        start, end = match.groups[0]
        lower = not is_capital(text[start])
        first = re.split(r"[^A-Za-z]", text[start:end], maxsplit=1)[0].lower()
        if lower and first not in KNOWN_WORDS:
            continue
        candidate = candidate_in(text, start, end, RANK + 2, lower=lower)
        if candidate is not None:
            yield candidate


def _lineage(folded: Folded) -> Iterator[Candidate]:
    for match in _LINEAGE.matches(folded.data):
        start = match.start
        while (title := _TITLE.match(folded.text[start : match.end])) is not None:
            start += title.end()
        yield Candidate(start, match.end, Kind.PERSON, RANK + 6)


def _is_bare_name(words: list[str]) -> bool:
    """Without context, only the two shapes that are hardly ever anything else: a surname and Chinese syllables in
    either order ("Tan Wei Ming"), a given name and a surname ("Sarah Lim")."""
    first, *rest = words
    if first in names.SURNAMES and len(rest) in {1, 2}:
        given = rest[0] in names.GIVEN and len(rest) == 1
        return (len(rest) == _GIVEN_WORDS and all(w in _SURNAMES_OR_SYLLABLES for w in rest)) or given
    if first in names.GIVEN:
        return rest[0] in names.SURNAMES
    return (
        first in names.SYLLABLES
        and len(rest) == _GIVEN_WORDS
        and rest[0] in names.SYLLABLES
        and rest[1] in names.SURNAMES
    )


def _plain_word(written: str) -> str:
    """The word in lower case; as it is when its capitals are odd ("tAn"), so that it matches no list."""
    return written.lower() if written.istitle() or written.isupper() else written


def _bare(folded: Folded) -> Iterator[Candidate]:
    for match in _BARE.matches(folded.data):
        written = folded.text[match.start : match.end]
        words = [_plain_word(word) for word in _SEPARATOR.split(written)]
        found = _longest_bare(words)
        if found is None:
            continue
        spans = [word.span() for word in _LETTERS.finditer(written)]
        first, last = found
        yield Candidate(match.start + spans[first][0], match.start + spans[last - 1][1], Kind.PERSON, RANK - 10)


def _longest_bare(words: list[str]) -> tuple[int, int] | None:
    for first in range(len(words) - 1):
        for last in range(min(len(words), first + 4), first + 1, -1):
            chosen = words[first:last]
            if (
                " ".join(chosen) in names.NOT_PEOPLE
                or " ".join(chosen[:2]) in names.NOT_PEOPLE
                or names.is_dish(chosen)
            ):
                return None
            if _is_bare_name(chosen):
                # "Tan Wei Ming Street" is a street; the address recogniser outranks this one.
                return first, last
            if len(chosen) > _GIVEN_WORDS and chosen[0] in names.GIVEN and _is_bare_name(chosen[1:]):
                return first, last
    return None


RULES = (
    Rule("introduced name", r"(?i:\bname|\bnama\b|called|call me|bernama)", _introduced),
    Rule("labelled name", r"[A-Za-z][ \t]{0,2}[:=][ \t]{0,2}[A-Za-z]", _labelled),
    Rule("titled name", rf"\b{_TITLES}\b\.?[ \t]{{1,2}}[A-Za-z]", _titled),
    Rule("lineage", r"[ \t](?i:bin|binti|binte|bte|s/o|d/o|a/l|a/p)[ \t]", _lineage),
    Rule("bare name", rf"\b{_WRITTEN_SURNAME}[ \t\-]{{1,2}}[A-Z]|[A-Za-z][ \t\-]{{1,2}}{_WRITTEN_SURNAME}\b", _bare),
)
