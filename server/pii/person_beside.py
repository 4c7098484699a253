"""Names of people in Latin letters by what surrounds them: what they do, their number, the end of a letter."""

from __future__ import annotations

import re
from collections.abc import Iterator

from server.pii import names
from server.pii.kinds import Kind
from server.pii.normalise import Folded
from server.pii.patterns import Candidate, Match, Pattern, Rule
from server.pii.person import NAME, NO_PERSON_BEHIND, RANK, candidate_in, is_organisation

_CAPITAL = r"[A-Z][a-z]+"
# "Ravi Shankar here", "Fatin said", "Zarina Malik will collect": what only a person does.
_DEEDS = (
    r"(?:here|speaking|who|from (?:the|our)|(?:will|can|to) (?:be|call|collect|come|confirm|pay|pick|send|sign|take)|"
    r"called|collects|confirmed|ordered|paid|promised|said|says|signed|signs|told|asked|wants|approved|kata|cakap|"
    r"is (?:away|in charge|no longer|on leave)|still)\b"
)
# One word before these is mostly "This" or "What", or a thing.
_DEED_OF_TWO = r"(?:is (?:my|our|the)|forgot|left|took|gave|sent|received|collected|counted|checked)\b"
# Behind a known given name alone ordinary verbs will do, so will "Melissa's desk number" and "Joanne, our cashier".
_KNOWN_GIVEN = "(?:" + "|".join(sorted(name.title() for name in names.GIVEN - names.WORDS_TOO)) + ")"
# What is a person's, and where one is: "Daniel's Bakery", "Wendy's needs 5" and "Jamie's Italian" are shops.
_POSSESSIONS = (
    r"(?:account|address|birthday|card|contact|day off|desk|email|handphone|hp|ic|leave|line|mobile|nric|no|number|"
    r"passport|phone|replacement|room|shift|signature|turn|whatsapp|away|off|on leave|on mc|sick)\b"
)
_SOMEBODY = (
    rf"\b{_KNOWN_GIVEN}(?:[ \t](?:is|was|has|had|will|would|can|cannot|did|does|needs|knows|took|gave|left|sent|came|"
    r"went|forgot|[a-z]{3,}ed|never|always|from|akan|ada|sudah|dah|sini)\b|"
    rf"'s[ \t]{_POSSESSIONS}|, (?:our|my|the|your)\b)|, {_KNOWN_GIVEN},"
)
_ACTING = Pattern(
    rf"\b(?:{_CAPITAL}(?:[ \t]{_CAPITAL}){{1,2}}[ \t](?:{_DEEDS}|{_DEED_OF_TWO})|[A-Z][a-z]{{2,}}[ \t]{_DEEDS}|"
    rf"{_SOMEBODY})"
)
# "9123 4567 (Puspa)", "Puspa - 9123 4567": whose number it is. One word without a sign between has to be a known name.
_NUMBER_ENDS = r"\d{3,4}[ \-]?\d{4}[ \t]?"
_NUMBER_BEGINS = r"[ \t]?[,:(\-]?[ \t]?(?:\+\d|\(?[3689]\d{3}[ \-]?\d{4}|0\d{1,2}[ \-]?\d{3})"
_OWNED = (
    rf"{_NUMBER_ENDS}(?:[(,\-/][ \t]?{_CAPITAL}|{_KNOWN_GIVEN})(?:[ \t]{_CAPITAL}){{0,2}}\b|"
    rf"\b(?:{_CAPITAL}(?:[ \t]{_CAPITAL}){{1,2}}|{_KNOWN_GIVEN}){_NUMBER_BEGINS}"
)
_OWNER = Pattern(_OWNED)
_CAPITALS = re.compile(rf"{_CAPITAL}(?:[ \t]{_CAPITAL}){{0,2}}")
# "Nathan, our usual brand", "Wendy, our new outlet": a name as well, but nobody's.
_OURS_BEHIND = re.compile(
    r", (?:our|my|the|your) (?:[a-z]+ ){0,2}(?:brand|label|make|supplier|vendor|shop|outlet|branch|cafe|restaurant|"
    r"store|product|design|flavou?r|model|range|sample)\b"
)
_AH = Pattern(r"\b(Ah[ \t][A-Z][a-z]{1,6})\b")  # "Ah Seng": how neighbours are called
_CLOSINGS = "regards|rgds|thanks|thank you|thks|thx|tks|cheers|sincerely|faithfully|truly|terima kasih|best|benar|salam"
_SIGNED = Pattern(rf"(?i:{_CLOSINGS})[,.!]{{0,2}}[ \t]{{0,2}}\n\s{{0,3}}[\-~]?[ \t]{{0,2}}{NAME}[ \t]{{0,2}}(?:\n|$)")
_DASH = r"(?:~|(?:^|\n)--?)[ \t]{0,2}\n?"
_DASHED = Pattern(rf"{_DASH}({_CAPITAL}(?:[ \t]{_CAPITAL}){{0,2}})[ \t]{{0,2}}(?:\n|$)")


def _likely(text: str, start: int, end: int) -> Candidate | None:
    """The name in capitalised words, without ordinary ones before it ("Thanks Kelvin"); the rest has to be like one."""
    words = text[start:end].split()
    if words[-1].lower() in names.NOT_NAMES:
        return None  # as below, only sooner: most capitalised words beside a number are no names
    like = names.is_like(text[start:end])
    while not like and len(words) > 1 and words[0].lower() in names.NOT_NAMES:
        start += len(words.pop(0)) + 1
        like = names.is_like(text[start:end])
    if not like or any(word.lower() in names.NOT_NAMES for word in words[1:]) or is_organisation(text, start, end):
        return None
    if len(words) == 1 and words[0].lower() in names.WORDS_TOO:
        return None
    return Candidate(start, end, Kind.PERSON, RANK - 5)


def _acting(folded: Folded) -> Iterator[Candidate]:
    text = folded.text
    for match in _ACTING.matches(folded.data):
        candidate = _likely(text, *_named(text, match))
        if candidate is not None and not _OURS_BEHIND.match(text, candidate.end):
            yield candidate


def _neighbour(folded: Folded) -> Iterator[Candidate]:
    text = folded.text
    for match in _AH.matches(folded.data):
        start, end = match.groups[0]
        if text[start + 3 : end].lower() in names.SYLLABLES:
            yield Candidate(start, end, Kind.PERSON, RANK - 5)


def _owner(folded: Folded) -> Iterator[Candidate]:
    for match in _OWNER.matches(folded.data):
        candidate = _likely(folded.text, *_named(folded.text, match))
        if candidate is not None and not NO_PERSON_BEHIND.match(folded.text, candidate.end):
            yield candidate


def _named(text: str, match: Match) -> tuple[int, int]:
    """The capitalised words in a match; RE2 finds a match without groups several times as fast."""
    found = _CAPITALS.search(text, match.start, match.end)
    return (match.start, match.end) if found is None else found.span()


def _signed(folded: Folded) -> Iterator[Candidate]:
    for match in _SIGNED.matches(folded.data):
        start, end = match.groups[0]
        written = folded.text[start:end]
        lower = written[0].islower()  # "thanks,\njason", but "thanks,\nwill call"
        if lower and (written.split()[0] in names.WORDS_TOO or not names.is_known(written)):
            continue
        candidate = candidate_in(folded.text, start, end, RANK + 1, lower=lower)
        # A list may begin there too: "thanks\nBallpoint pen black".
        if candidate is not None and (candidate.end >= end or (names.is_like(written) and not lower)):
            yield candidate
    for match in _DASHED.matches(folded.data):
        candidate = _likely(folded.text, *match.groups[0])
        if candidate is not None:
            yield candidate


RULES = (
    Rule(
        "acting person",
        rf"(?:[A-Z][a-z]{{2}}|[A-Z][a-z]+[ \t][A-Z])[a-z]+[ \t]{_DEEDS}|{_CAPITAL}[ \t]{_CAPITAL}[ \t]{_DEED_OF_TWO}|"
        rf"{_SOMEBODY}",
        _acting,
    ),
    Rule("neighbour", r"\bAh[ \t][A-Z]", _neighbour),
    Rule("owner of a number", _OWNED, _owner),
    Rule("signature", rf"(?i:{_CLOSINGS})[^\n]{{0,5}}\n|{_DASH}[A-Z]", _signed),
)
