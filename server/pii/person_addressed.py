"""Names of people behind the words that a name may follow: "ask for", "regards", "my wife"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from server.pii import names
from server.pii.normalise import Folded
from server.pii.patterns import Candidate, Pattern, Rule
from server.pii.person import (
    KNOWN_WORDS,
    NO_PERSON_BEHIND,
    RANK,
    SYLLABLES_FOLLOW,
    WORD,
    WORDS_AND_SYLLABLES,
    candidate_in,
    is_capital,
)

# Behind these only people are named: any capitalised word is a name.
_STRONG = (
    "(?:speak|spoke|speaking) (?:to|with)",
    "talk(?:ed|ing)? (?:to|with)",
    "(?:guy|man|driver|rider|him|her|them|staff) to (?:ask|look) for",
    "(?:tell|told|inform|remind|let|call|ring)",
    "(?:hand|pass)(?:ed)?(?: [a-z]{1,10}){0,2} to",
    "returned(?: [a-z]{1,10}){0,2} to",
    "(?:lady|guy|man|woman|girl|boy|person|someone) (?:called|named)",
    "(?:sign|collect|receiv|approv|prepar|check|report|request|order|submitt)ed by",
    "(?:(?:person|who) to contact|contact person|pic|in charge)(?: is| -)?",
    "attn|attention|fao|liaise with|cc|c/o|beneficiary|payee|consignee|receiver|recipient|card ?holder",
    "hubungi|jumpa|berjumpa|tanya|cakap dengan|serah(?:kan)? (?:ke)?pada",
)
# Behind these adjectives, companies and things stand as well: what follows has to be like a name by itself.
_WEAK = (
    "ask(?:ed|ing)? for(?: is)?",
    "this is|i am|i'm|im",
    "it's|its|it was|here is|name|cp",
    "contact|text|whatsapp|message|email|reach|notify|copy|reply to|wait(?:ing)? for",
    "(?:give|given|gave|return)(?: [a-z]{1,10}){0,2} to",
    "(?:leave|left)(?: [a-z]{1,10}){0,2} with",
    "deliver to|send(?: it| them)? to",
    "regards|cheers|sincerely|hi|hello|hey|dear|thanks|thank you|(?:good )?morning|good (?:afternoon|evening)",
    "from|by|under|staff|employee|customer",
    "suruh|oleh|bagi (?:ke)?pada|kepada|saya",
)
# Behind these goods stand more often than people.
_WANTED = ("look(?:ing)? for(?: is)?", "for|with|find", "cari|minta")
# What people are to each other and to a shop: behind it stands a name that is like one, and any if it is somebody's
# ("my wife", "suami saya"), because "driver Late" and "friend Request" are written as well.
_ROLES = (
    "(?:husband|wife|son|daughter|brother|sister|mother|father|mum|mom|dad|cousin|nephew|niece|friend|partner|"
    "colleague|boss|manager|supervisor|director|assistant|secretary|accountant|clerk|cashier|chef|cook|driver|helper|"
    "store ?keeper|buyer|purchaser|sales(?:man|person|girl| rep)|intern|owner|landlord|neighbou?r|guard|technician|"
    "cleaner|rider|(?:suami|isteri|anak|abang|kakak|adik|ibu|bapa|ayah|kawan|rakan|bos|pengurus|pemandu|pekerja|"
    "kerani|penyelia|pemilik|penerima)(?: (?:saya|kami|dia))?)(?: is| -)?"
)
# Only where a name begins, and without a group: RE2 finds that with its DFA, several times as fast as a group's range.
_NAME_BEGINS = r"(?:[A-Z]|(?:" + "|".join(sorted(KNOWN_WORDS)) + r")\b)"
_ADDRESSED = Pattern(
    rf"\b(?i:{'|'.join((*_STRONG, *_WEAK, *_WANTED, _ROLES))})[ \t]{{0,2}}[,:]?[ \t]{{1,2}}\(?{_NAME_BEGINS}"
)
_IS_STRONG = re.compile("|".join(_STRONG), re.IGNORECASE)
_IS_WANTED = re.compile("|".join(_WANTED), re.IGNORECASE)
# What makes them strong: "this is Thinagar from Toast Box", "ask for Loges at the counter".
_CONFIRMED = re.compile(
    r"(?:this is|i am|i'm|im) \S+ (?:from (?!(?:the|last|this|that|your|our|my|new|old|batch|yesterday)\b)|here\b)|"
    r"ask(?:ed|ing)? for \S+ (?:at the|when|upon)\b",
    re.IGNORECASE,
)
_BEHIND_PHRASE = " \t,:("
_NAME = re.compile(
    rf"(?:[A-Z][A-Za-z'\-]{{0,24}}|[a-z]+)\.?(?:[ \t]{{1,2}}(?:[SsDd]/[Oo]\b|[Aa]/[LlPp]\b|{WORD}\.?)){{0,4}}",
    re.ASCII,
)
_FIRST_WORD = re.compile(r"[A-Za-z]+(?![A-Za-z'.\-])")
_SOMEBODYS = re.compile(r"\b(?:my|our|your|his|her|their) \Z", re.IGNORECASE)
_OURS = re.compile(r" (?:saya|kami|dia)\b", re.IGNORECASE)
_AND = re.compile(r"[ \t](?:and|&|or|dan|atau)[ \t](?=[A-Z])")
_SHOP_BEHIND = re.compile(r"'s[ \t]*(?:[.,!?\n]|\Z)")  # "from Wendy's", but "I am Chloe's replacement"
# "Jasmine green tea" and "Crystal 500" are goods, "Jasmine at the counter" is not.
_GOODS_BEHIND = re.compile(
    r"[ \t](?!(?:at|from|in|on|to|who|when|if|or|and|by|will|please|pls|she|he|dari|di|untuk|yang)\b)[a-z\d]"
)


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
            and not (found in WORDS_AND_SYLLABLES and SYLLABLES_FOLLOW.match(text, start))
        ):
            continue  # as `_trim` would find, only sooner: most words behind "for" and "with" are no names
        yield from _people(text, match.start, start)


def _people(text: str, phrase_start: int, start: int) -> Iterator[Candidate]:
    """The name at `start`, and a second one joined to it ("cc Darshan and Mei Xuan")."""
    candidate = _named_at(text, start)
    if candidate is None:
        return
    like = names.is_like(text[candidate.start : candidate.end])
    joint = _AND.match(text, candidate.end)
    word_too = text[start : candidate.end].split(maxsplit=1)[0].lower() in names.WORDS_TOO
    strong = False
    if not like or word_too or joint is not None:
        phrase = text[phrase_start:start].rstrip(_BEHIND_PHRASE)
        strong = _is_strong(text, phrase_start, phrase)
        if word_too and not strong and not is_capital(text[start]):
            return  # "its mark"
        if word_too and may_be_goods(text, candidate) and _IS_WANTED.fullmatch(phrase) is not None:
            return
    # "the driver (Shahrizal)", but "a call (ACCESS)"
    if not like and (not strong or text[start - 1] == "("):
        return
    yield candidate
    second = None if joint is None else _named_at(text, joint.end())
    if second is not None and (strong or names.is_like(text[second.start : second.end])):
        yield second


def _is_strong(text: str, start: int, phrase: str) -> bool:
    return (
        _IS_STRONG.fullmatch(phrase) is not None
        or _SOMEBODYS.search(text[max(0, start - 6) : start]) is not None
        or _OURS.search(phrase) is not None
        or _CONFIRMED.match(text, start) is not None
    )


def may_be_goods(text: str, candidate: Candidate) -> bool:
    """True for a given name that is an ordinary word too, with more behind it: "Jasmine green tea"."""
    written = text[candidate.start : candidate.end].lower()
    return written in names.WORDS_TOO and _GOODS_BEHIND.match(text, candidate.end) is not None


def _named_at(text: str, start: int) -> Candidate | None:
    """The name at `start`, where it stands behind words that a name may stand behind."""
    name = _NAME.match(text, start)
    if name is None:
        return None
    lower = not is_capital(text[start])
    if lower and not names.is_known(name[0]):
        return None
    candidate = candidate_in(text, *name.span(), RANK, lower=lower)
    if candidate is None or NO_PERSON_BEHIND.match(text, candidate.end) or _SHOP_BEHIND.match(text, candidate.end):
        return None
    return candidate


RULES = (Rule("addressed name", _ADDRESSED.source, _addressed),)
