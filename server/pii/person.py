"""Names of people in Latin letters, by what stands beside them. A bare first name without context is not found."""

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
_WORD = r"[A-Za-z][A-Za-z'\-]{0,24}"
_JOINER = r"(?i:bin|binti|binte|bte|bt|s/o|d/o|a/l|a/p|van|von|de|da|al|el)"
# Up to five words on one line; `_trim` decides how many of them are a name.
NAME = rf"({_WORD}\.?(?:[ \t]{{1,2}}(?:{_JOINER}\b|{_WORD}\.?)){{0,4}})"

# Where the words before are ordinary ones, a name is capitalised or is a known one.
_KNOWN_WORDS = names.GIVEN | names.SURNAMES
_NAME_WORDS = _KNOWN_WORDS | names.SYLLABLES
_SURNAMES_OR_SYLLABLES = names.SURNAMES | names.SYLLABLES
_KNOWN = "(?:" + "|".join(sorted(_KNOWN_WORDS)) + ")"
# Only where it begins, and without a group: RE2 finds that with its DFA, several times as fast as a group's range.
_LIKELY_NAME_BEGINS = rf"(?:[A-Z]|{_KNOWN}\b)"
_LIKELY_NAME = re.compile(
    rf"(?:[A-Z][A-Za-z'\-]{{0,24}}|[a-z]+)\.?(?:[ \t]{{1,2}}(?:[SsDd]/[Oo]\b|[Aa]/[LlPp]\b|{_WORD}\.?)){{0,4}}",
    re.ASCII,
)
# What people are to each other and to a shop: behind it stands a name, capitalised or known.
_ROLES = (
    "husband|wife|son|daughter|brother|sister|mother|father|mum|mom|dad|cousin|nephew|niece|friend|partner|colleague|"
    "boss|manager|supervisor|director|assistant|secretary|accountant|clerk|cashier|chef|cook|driver|helper|"
    "store ?keeper|buyer|purchaser|sales(?:man|person|girl| rep)|intern|owner|landlord|neighbou?r|guard|technician|"
    "cleaner|rider|(?:suami|isteri|anak|abang|kakak|adik|ibu|bapa|ayah|kawan|rakan|bos|pengurus|pemandu|pekerja|"
    "kerani|penyelia|pemilik|penerima)(?: (?:saya|kami|dia))?"
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
    rf"card ?holder|beneficiary|payee|requester|buyer|sender|cc))[ \t]{{0,2}}[:=][ \t]{{0,2}}{NAME}"
)
_TITLED = Pattern(rf"\b{_TITLES}\b\.?[ \t]{{1,2}}{NAME}")
_ADDRESSED = Pattern(
    r"\b(?i:ask(?:ing)? for(?: is)?|asked for|look(?:ing)? for(?: is)?|name|speak (?:to|with)|spoke (?:to|with)|"
    r"speaking (?:to|with)|talk(?:ed|ing)? (?:to|with)|"
    r"this is|i am|i'm|it's|its|here is|attn|attention|contact|call|ring|text|whatsapp|message|email|reach|inform|"
    r"notify|tell|told|remind|"
    r"let|(?:hand|pass|give|return)(?:ed)?(?: [a-z]{1,10}){0,2} to|(?:gave|given)(?: [a-z]{1,10}){0,2} to|"
    r"(?:leave|left)(?: [a-z]{1,10}){0,2} with|deliver to|send(?: it| them)? to|"
    r"regards|cheers|sincerely|hi|hello|hey|dear|thanks|thank you|from|by|with|for|hubungi|jumpa|cari|tanya|"
    r"cakap dengan|"
    rf"(?:lady|guy|man|woman|girl|boy|person|someone) (?:called|named)|good (?:morning|afternoon|evening)|"
    rf"morning|minta|suruh|oleh|bagi (?:ke)?pada|serah(?:kan)? (?:ke)?pada|kepada|berjumpa|saya|"
    rf"(?:{_ROLES}|pic|in charge|contact person)(?: is| -)?|liaise with|copy|reply to|wait(?:ing)? for|it was|"
    rf"(?:sign|collect|receiv|approv|prepar|check|report|request|order|submitt)ed by|"
    rf"staff|employee|customer|under|find|cc|c/o|beneficiary|payee|consignee|receiver|recipient|card ?holder)"
    rf"[ \t]{{0,2}}[,:]?[ \t]{{1,2}}\(?{_LIKELY_NAME_BEGINS}"
)
# "Jun Kai" and "An Qi" are names, "Jun" and "an" are none.
_WORDS_AND_SYLLABLES = frozenset(word.title() for word in names.SYLLABLES & names.NOT_NAMES)
_SYLLABLES_FOLLOW = re.compile(
    f"(?:{'|'.join(sorted(_WORDS_AND_SYLLABLES))})[ \\t](?:{'|'.join(sorted(w.title() for w in names.SYLLABLES))})\\b"
)
_FIRST_WORD = re.compile(r"[A-Za-z]+(?![A-Za-z'.\-])")
# The first of the words before decides. Behind a strong one any capitalised word is a name; behind a role only if it is
# somebody's ("my wife", "suami saya"), because "driver Late" and "friend Request" are written as well.
_STRONG_WORDS = frozenset(
    """
    ask asked asking look looking speak spoke speaking talk talked talking this i i'm attn attention jumpa cari tanya
    cakap berjumpa cc c/o beneficiary payee consignee receiver recipient card cardholder pic in liaise hubungi bagi
    serah hand pass leave left lady guy man woman girl boy person someone call ring tell told inform remind let
    """.split()  # noqa: SIM905 - a list of words reads better as words
)
_GREETINGS = frozenset({"hi", "hello", "good", "morning", "hey", "dear", "thanks", "thank"})
_SOMEBODYS = re.compile(r"\b(?:my|our|your|his|her|their) \Z", re.IGNORECASE)
_OURS = re.compile(r" (?:saya|kami|dia)\b")
_ENDS = re.compile(r"[ \t]?(?:[,!.\n]|\Z)")
_FROM = re.compile(r"[ \t]dari(?:pada)?\b")
_AND = re.compile(r"[ \t](?:and|&|or|dan|atau)[ \t](?=[A-Z])")
NO_PERSON_BEHIND = re.compile(
    r"\s(?:outlet|branch|store|mall|shop|office|restaurant|kitchen|team|company|bank|hotel|street|road|ave|mrt|"
    r"plaza|cawangan|kedai|cup|lid|bowl|box(?:e)?|bag|straw|tray|plate|napkin|paper|sauce|deliver(?:y|ie)|order|price|"
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
_CAPITAL_BEHIND = re.compile(r"[ \t](?:& )?([A-Z][A-Za-z]+)")
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
        # Jun is a month, but not in "Goh Jun Jie"
        given = bare in names.SYLLABLES and _is_capital(word) and (count > 0 or _SYLLABLES_FOLLOW.match(text, start))
        if (not given and (bare in names.NOT_NAMES if count else names.is_ordinary(bare))) or not (
            lower or _is_capital(word)
        ):
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
    if not text[end : end + 1].isspace():
        return False
    behind = _CAPITAL_BEHIND.match(text, end)
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
        candidate = candidate_in(text, start, end, RANK + 3, lower=not _is_capital(text[start]))
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
        candidate = candidate_in(text, start, end, RANK + 2, lower=lower)
        if candidate is not None:
            yield candidate


def _addressed(folded: Folded) -> Iterator[Candidate]:
    text = folded.text
    position = 0
    while (match := _ADDRESSED.first(folded.data, position)) is not None:
        start = max(text.rfind(" ", match.start, match.end), text.rfind("\t", match.start, match.end)) + 1
        if text[start] == "(":
            start += 1
        position = start
        word = _FIRST_WORD.match(text, start)
        if (
            word is not None
            and (found := word[0]).lower() in names.NOT_NAMES
            and not (found in _WORDS_AND_SYLLABLES and _SYLLABLES_FOLLOW.match(text, start))
        ):
            continue  # as `_trim` would find, only sooner: most words behind "for" and "with" are no names
        name = _LIKELY_NAME.match(text, start)
        if name is None:
            continue
        first = text[match.start : start].split(maxsplit=1)[0].rstrip(",:")
        leading = first.lower()
        strong = (
            leading in _STRONG_WORDS
            or leading.endswith("ed")
            or _SOMEBODYS.search(text[max(0, match.start - 6) : match.start]) is not None
            or _OURS.search(text, match.start, start) is not None
            or text.startswith("contact person", match.start)
        )
        candidate = _behind_words(text, *name.span(), strong=strong)
        if candidate is None:
            continue
        bracketed = text[start - 1 : start] == "("  # "the driver (Shahrizal)", but "a call (ACCESS)"
        known = (strong and not bracketed) or names.is_like(text[candidate.start : candidate.end])
        if known or _is_greeted(text, leading, candidate):
            yield candidate
        if known and (joint := _AND.match(text, candidate.end)) is not None:
            other = _LIKELY_NAME.match(text, joint.end())
            second = None if other is None else _behind_words(text, *other.span(), strong=True)
            if second is not None and (strong or names.is_like(text[second.start : second.end])):
                yield second


def _behind_words(text: str, start: int, end: int, *, strong: bool) -> Candidate | None:
    """The name in what stands behind words that a name may stand behind."""
    lower = not _is_capital(text[start])
    candidate = candidate_in(text, start, end, RANK, lower=lower)
    if candidate is None or NO_PERSON_BEHIND.match(text, candidate.end):
        return None
    if lower:
        if not names.is_known(text[start:end]):
            return None
        if not strong and text[start : candidate.end].split(maxsplit=1)[0].lower() in names.WORDS_TOO:
            return None  # "its mark"
    return candidate


def _is_greeted(text: str, leading: str, candidate: Candidate) -> bool:
    """One word that a greeting ends with, or that comes from somewhere: "Hi Yusri, any news", "Saya Yusri dari"."""
    if leading not in _GREETINGS and leading != "saya":
        return False
    written = text[candidate.start : candidate.end]
    behind = _FROM if leading == "saya" else _ENDS
    return written.isalpha() and not written.isupper() and behind.match(text, candidate.end) is not None


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
            if " ".join(chosen) in names.NOT_PEOPLE or " ".join(chosen[:2]) in names.NOT_PEOPLE:
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
    Rule(
        "addressed name",
        r"\b(?i:ask|asked|asking|look|looking|speak|spoke|speaking|talk|talked|talking|this is|i am|i'm|it's|its|"
        r"here is|attn|attention|contact|call|ring|text|"
        r"whatsapp|message|email|reach|inform|notify|tell|told|remind|let|name|to|with|regards|cheers|sincerely|"
        r"hi|hello|hey|dear|thanks|thank you|from|by|for|"
        r"hubungi|jumpa|cari|tanya|dengan|kepada|pada|berjumpa|saya|staff|employee|customer|under|find|cc|c/o|"
        rf"beneficiary|payee|consignee|receiver|recipient|card ?holder|pic|in charge|contact person|"
        rf"copy|it was|called|named|morning|afternoon|evening|minta|suruh|oleh|{_ROLES})"
        rf"(?i: is| -)?[ \t,:(]{{1,6}}(?:[A-Z]|{_KNOWN}\b)",
        _addressed,
    ),
    Rule("lineage", r"[ \t](?i:bin|binti|binte|bte|s/o|d/o|a/l|a/p)[ \t]", _lineage),
    Rule("bare name", rf"\b{_WRITTEN_SURNAME}[ \t\-]{{1,2}}[A-Z]|[A-Za-z][ \t\-]{{1,2}}{_WRITTEN_SURNAME}\b", _bare),
)
