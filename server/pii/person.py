"""Names of people in Latin letters, by what stands beside them. A bare first name without context is not found."""

from __future__ import annotations

import re
from collections.abc import Iterator

from server.pii import names
from server.pii.kinds import Kind
from server.pii.normalise import Folded
from server.pii.patterns import Candidate, Pattern, Rule

_RANK = 40
# Behind a title stands a name; "tuan" and "pak" are Malay, "haji" is part of how a man is called.
_TITLES = (
    "(?i:mr|mrs|ms|miss|mdm|madam|mister|dr|prof|professor|encik|en|puan|pn|cik|(?:tuan )?haji|hajah|tuan|pak|kak|"
    "abang|tan sri|dato'?|datuk|datin|auntie|aunty|uncle|sir|chef)"
)
_WORD = r"[A-Za-z][A-Za-z'\-]{0,24}"
_JOINER = r"(?i:bin|binti|binte|bte|bt|s/o|d/o|a/l|a/p|van|von|de|da|al|el)"
# Up to five words on one line; `_trim` decides how many of them are a name.
_NAME = rf"({_WORD}\.?(?:[ \t]{{1,2}}(?:{_JOINER}\b|{_WORD}\.?)){{0,4}})"

# Where the words before are ordinary ones, a name is capitalised or is a known one.
_KNOWN_WORDS = names.GIVEN | names.SURNAMES
_NAME_WORDS = _KNOWN_WORDS | names.SYLLABLES
_SURNAMES_OR_SYLLABLES = names.SURNAMES | names.SYLLABLES
_KNOWN = "(?:" + "|".join(sorted(_KNOWN_WORDS)) + ")"
# Only where it begins, and without a group: RE2 finds that with its DFA, several times as fast as a group's range.
_LIKELY_NAME_BEGINS = rf"(?:[A-Z]|{_KNOWN}\b)"
_LIKELY_NAME = re.compile(
    rf"(?:[A-Z][A-Za-z'\-]{{0,24}}|[a-z]+)\.?(?:[ \t]{{1,2}}(?:{_JOINER}\b|{_WORD}\.?)){{0,4}}", re.ASCII
)
_INTRODUCED = Pattern(
    r"\b(?i:my (?:full |first )?name(?:'s| is|:)|i am called|i'm called|they call me|"
    r"nama (?:penuh )?saya(?: ialah| adalah)?|saya bernama|"
    rf"nama penuh|full name(?: is)?|name on (?:the )?card(?: is)?)[ \t]{{0,2}}[:\-]?[ \t]{{0,2}}{_NAME}"
)
_LABELLED = Pattern(
    r"\b(?i:([a-z]{2,20}[ \t]{1,2})?(name|contact(?: person| name)?|attn|attention|pic|person in charge|receiver|"
    r"recipient|consignee|ordered by|"
    r"signed by|received by|collected by|approved by|requested by|submitted by|prepared by|care of|c/o|nama|"
    r"nama penerima|penerima|"
    rf"card ?holder|beneficiary|payee|requester|buyer|sender|cc))[ \t]{{0,2}}[:=][ \t]{{0,2}}{_NAME}"
)
_TITLED = Pattern(rf"\b{_TITLES}\b\.?[ \t]{{1,2}}{_NAME}")
_ADDRESSED = Pattern(
    r"\b(?i:ask(?:ing)? for(?: is)?|asked for|look(?:ing)? for(?: is)?|name|speak (?:to|with)|spoke (?:to|with)|"
    r"speaking (?:to|with)|talk(?:ed|ing)? (?:to|with)|"
    r"this is|i am|i'm|it's|its|here is|attn|attention|contact|call|ring|text|whatsapp|message|email|reach|inform|"
    r"notify|tell|told|remind|"
    r"let|hand(?: it| them)? to|pass(?: it| them)? to|leave(?: it| them)? with|give(?: it| them)? to|deliver to|"
    r"send(?: it| them)? to|"
    r"regards|cheers|sincerely|hi|hello|hey|dear|thanks|thank you|from|by|with|for|hubungi|jumpa|cari|tanya|"
    r"cakap dengan|"
    rf"bagi kepada|serah(?:kan)? kepada|kepada|berjumpa|saya|colleague|boss|manager|husband|wife|son|daughter|"
    rf"(?:sign|collect|receiv|approv|prepar|check|report|request|order|submitt)ed by|"
    rf"driver|staff|employee|customer|under|find|cc|c/o|beneficiary|payee|consignee|receiver|recipient|card ?holder)"
    rf"[ \t]{{0,2}}[,:]?[ \t]{{1,2}}{_LIKELY_NAME_BEGINS}"
)
_FIRST_WORD = re.compile(r"[A-Za-z]+(?![A-Za-z'.\-])")
_STRONG = re.compile(
    r"^(?:ask|asked|asking|look|looking|speak|spoke|speaking|talk|talked|talking|this is|i am|i'm|attn|attention|"
    r"jumpa|cari|tanya|cakap|berjumpa|cc|c/o|beneficiary|payee|consignee|receiver|recipient|card ?holder|"
    r"[a-z]{4,8}ed by|hubungi|bagi|serah|hand|pass|leave|call|ring|tell|told|inform|remind|let)\b",
    re.IGNORECASE,
)
_NO_PERSON_BEHIND = re.compile(
    r"\s(?:outlet|branch|store|mall|shop|office|restaurant|kitchen|team|company|bank|hotel|street|road|ave|mrt|"
    r"plaza|cawangan|kedai)s?\b",
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
_BARE = Pattern(r"\b[A-Z][A-Za-z]{1,14}(?:[ \t\-]{1,2}[A-Z][A-Za-z]{1,14}){1,3}\b")
_LETTERS = re.compile(r"[A-Za-z]+")
_SEPARATOR = re.compile(r"[^A-Za-z]+")
_WRITTEN_SURNAME = "(?:" + "|".join(f"{name.title()}|{name.upper()}" for name in sorted(names.SURNAMES)) + ")"
# "Ravi Shankar here", "Zarina Malik will collect": a given name, another, and what only a person does.
_ACTING = Pattern(
    r"\b([A-Z][a-z]{1,14}(?:[ \t][A-Z][a-z]{1,14}){1,2})[ \t](?:here\b|speaking\b|from (?:the|our)\b|"
    r"(?:will|can|to) (?:be|call|collect|come|confirm|pay|pick|send|sign|take)\b|"
    r"(?:called|collects|confirmed|ordered|paid|promised|said|signed|signs|told|asked|wants)\b|"
    r"is (?:away|in charge|my|no longer|on leave|our|the)\b)"
)
_AH = Pattern(r"\b(Ah[ \t][A-Z][a-z]{1,6})\b")  # "Ah Seng": how neighbours are called
_SIGNED = Pattern(
    r"(?i:regards|rgds|thanks|thank you|cheers|sincerely|faithfully|truly|terima kasih|best|"
    r"salam)[,.!]{0,2}[ \t]{0,2}\n\s{0,3}[\-~]?[ \t]{0,2}"
    rf"{_NAME}[ \t]{{0,2}}(?:\n|$)"
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
_WORDS = re.compile(r"[^ \t]+")
_MOST_WORDS = 5
_GIVEN_WORDS = 2


def _is_capital(word: str) -> bool:
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
        given = count > 0 and bare in names.SYLLABLES and _is_capital(word)  # Jun is a month, but not in "Goh Jun Jie"
        if (bare in names.NOT_NAMES and not given) or not (lower or _is_capital(word)):
            break
        if lower and not _is_capital(word) and bare not in _NAME_WORDS and count >= _GIVEN_WORDS:
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


def _candidate(text: str, start: int, end: int, rank: int, *, lower: bool) -> Candidate | None:
    name = _trim(text, start, end, lower=lower)
    if name is None or text[name[0] : name[1]].lower() in names.NOT_PEOPLE:
        return None
    return Candidate(*name, Kind.PERSON, rank)


def _introduced(folded: Folded) -> Iterator[Candidate]:
    for match in _INTRODUCED.matches(folded.data):
        candidate = _candidate(folded.text, *match.groups[-1], _RANK + 5, lower=True)
        if candidate is not None:
            yield candidate


def _labelled(folded: Folded) -> Iterator[Candidate]:
    text = folded.text
    for match in _LABELLED.matches(folded.data):
        (owner_start, owner_end), _, (start, end) = match.groups
        if text[max(owner_start, 0) : max(owner_end, 0)].strip().lower() in _THINGS_WITH_NAMES:
            continue
        candidate = _candidate(text, start, end, _RANK + 3, lower=not _is_capital(text[start]))
        if candidate is not None:
            yield candidate


def _titled(folded: Folded) -> Iterator[Candidate]:
    text = folded.text
    for match in _TITLED.matches(folded.data):
        start, end = match.groups[0]
        lower = not _is_capital(text[start])
        first = re.split(r"[^A-Za-z]", text[start:end], maxsplit=1)[0].lower()
        if lower and first not in _KNOWN_WORDS:
            continue
        candidate = _candidate(text, start, end, _RANK + 2, lower=lower)
        if candidate is not None:
            yield candidate


def _addressed(folded: Folded) -> Iterator[Candidate]:
    text = folded.text
    position = 0
    while (match := _ADDRESSED.first(folded.data, position)) is not None:
        start = max(text.rfind(" ", match.start, match.end), text.rfind("\t", match.start, match.end)) + 1
        position = start
        word = _FIRST_WORD.match(text, start)
        if word is not None and word[0].lower() in names.NOT_NAMES:
            continue  # as `_trim` would find, only sooner: most words behind "for" and "with" are no names
        lower = not _is_capital(text[start])
        name = _LIKELY_NAME.match(text, start)
        if name is None:
            continue
        end = name.end()
        candidate = _candidate(text, start, end, _RANK, lower=lower)
        if candidate is None or (lower and not names.is_known(text[start:end])):
            continue
        if _NO_PERSON_BEHIND.match(text[candidate.end : candidate.end + 16]):
            continue
        strong = _STRONG.match(text[match.start : match.start + 12]) is not None
        if lower and not strong and text[start : candidate.end].split()[0].lower() in names.WORDS_TOO:
            continue  # "its mark"
        if (strong and not lower) or names.is_known(text[candidate.start : candidate.end]):
            yield candidate


def _lineage(folded: Folded) -> Iterator[Candidate]:
    for match in _LINEAGE.matches(folded.data):
        start = match.start
        while (title := _TITLE.match(folded.text[start : match.end])) is not None:
            start += title.end()
        yield Candidate(start, match.end, Kind.PERSON, _RANK + 6)


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
        if names.SURNAMES.isdisjoint(words):
            continue  # every shape has one
        found = _longest_bare(words)
        if found is None:
            continue
        spans = [word.span() for word in _LETTERS.finditer(written)]
        first, last = found
        yield Candidate(match.start + spans[first][0], match.start + spans[last - 1][1], Kind.PERSON, _RANK - 10)


def _longest_bare(words: list[str]) -> tuple[int, int] | None:
    for first in range(len(words) - 1):
        for last in range(min(len(words), first + 4), first + 1, -1):
            chosen = words[first:last]
            if " ".join(chosen) in names.NOT_PEOPLE or " ".join(chosen[:2]) in names.NOT_PEOPLE:
                return None
            if _is_bare_name(chosen):
                # "Tan Wei Ming Street" is a street; the address recogniser outranks this one.
                return first, last
            if len(chosen) > _GIVEN_WORDS and chosen[0] in names.GIVEN and _is_bare_name(chosen[1:]):
                return first, last
    return None


def _acting(folded: Folded) -> Iterator[Candidate]:
    text = folded.text
    for match in _ACTING.matches(folded.data):
        start, end = match.groups[0]
        words = text[start:end].lower().split()
        if words[0] in names.GIVEN and not any(word in names.NOT_NAMES for word in words):
            yield Candidate(start, end, Kind.PERSON, _RANK - 5)
    for match in _AH.matches(folded.data):
        start, end = match.groups[0]
        if text[start + 3 : end].lower() in names.SYLLABLES:
            yield Candidate(start, end, Kind.PERSON, _RANK - 5)


def _signed(folded: Folded) -> Iterator[Candidate]:
    for match in _SIGNED.matches(folded.data):
        candidate = _candidate(folded.text, *match.groups[0], _RANK + 1, lower=False)
        if candidate is not None:
            yield candidate


RULES = (
    Rule("introduced name", r"(?i:\bname|\bnama\b|called|call me|bernama)", _introduced),
    Rule("labelled name", r"[A-Za-z][ \t]{0,2}[:=][ \t]{0,2}[A-Za-z]", _labelled),
    Rule("titled name", rf"\b{_TITLES}\b\.?[ \t]{{1,2}}[A-Za-z]", _titled),
    Rule(
        "addressed name",
        r"\b(?i:ask|asked|asking|look|looking|speak|spoke|speaking|talk|talked|talking|this is|i am|i'm|it's|its|"
        r"here is|attn|attention|contact|call|ring|text|"
        r"whatsapp|message|email|reach|inform|notify|tell|told|remind|let|name|to|with|regards|cheers|sincerely|"
        r"hi|hello|hey|dear|thanks|thank you|from|by|for|"
        r"hubungi|jumpa|cari|tanya|dengan|kepada|berjumpa|saya|colleague|boss|manager|husband|wife|son|daughter|"
        rf"driver|staff|employee|customer|under|find|cc|c/o|beneficiary|payee|consignee|receiver|recipient|"
        rf"card ?holder)(?i: is)?[ \t,:]{{1,5}}(?:[A-Z]|{_KNOWN}\b)",
        _addressed,
    ),
    Rule("lineage", r"[ \t](?i:bin|binti|binte|bte|s/o|d/o|a/l|a/p)[ \t]", _lineage),
    Rule("bare name", rf"\b{_WRITTEN_SURNAME}[ \t\-]{{1,2}}[A-Z]|[A-Za-z][ \t\-]{{1,2}}{_WRITTEN_SURNAME}\b", _bare),
    Rule(
        "acting person",
        r"[A-Z][a-z]{1,14}[ \t][A-Z][a-z]{1,14}[ \t](?:here|speaking|from (?:the|our)|will|can|to|called|collects|"
        r"confirmed|ordered|paid|promised|said|signed|signs|told|asked|wants|is)\b|\bAh[ \t][A-Z]",
        _acting,
    ),
    Rule(
        "signature",
        r"(?i:regards|rgds|thanks|thank you|cheers|sincerely|faithfully|truly|kasih|best|"
        r"salam)[^\n]{0,5}\n",
        _signed,
    ),
)
