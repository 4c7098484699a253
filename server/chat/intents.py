"""What a customer wants, told from words alone: no model, no network, the same answer every time.

The knowledge is data (intents.toml): phrases with weights per intent. A message is cut into words, every phrase found
in one pass over a trie, phrases inside longer ones and negated ones are dropped, and the weights are added up.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from itertools import takewhile

from server.chat.assistant import Intent, Language
from server.chat.words import Word, words
from server.knowledge import language
from server.spelling import one_slip, without_one

# A message is judged by its first words; nobody hides the request behind five hundred of them, and time stays bounded.
_MOST_WORDS = 512
_NEGATION_REACH = 5
_LONGEST_GAP = 3
# No phrase of the tables reaches over more words, gaps included.
_LONGEST_PHRASE = 16
_SHORTEST_MENDED = 4
# The second-best intent is reported too when it has at least this weight: a question inside an order, for instance.
_ALSO = 2.5
# A lone cue of this weight would have a confidence of 0.5; see `_confidence`.
_HALF = 0.5
# Below this certainty of the detector the caller's locale decides.
_SURE_OF_LANGUAGE = 0.5
# Confidence of OTHER when no cue was found at all: the rules do not know, and say so.
_NOTHING_KNOWN = 0.4
_SPOKEN = {"en": Language.EN, "zh": Language.ZH, "ms": Language.MS, "id": Language.MS}


@dataclass(frozen=True, slots=True)
class IntentResult:
    """The verdict on one message. `confidence` is in [0, 1]. `also` lists further intents that the message carries,
    strongest first. `food_safety` says that somebody may be harmed, `courtesy` that it is only thanks or a goodbye,
    `declined` that no person is wanted."""

    intent: Intent
    confidence: float
    language: Language
    food_safety: bool = False
    courtesy: bool = False
    declined: bool = False
    also: tuple[Intent, ...] = ()


@dataclass(frozen=True, slots=True)
class _Cue:
    weights: Mapping[Intent, float]
    negatable: bool
    food_safety: bool
    courtesy: bool
    quantity: bool


# What is left of "I don't want to talk to a person".
_DECLINED = _Cue({Intent.OTHER: 2.0}, negatable=False, food_safety=False, courtesy=False, quantity=False)


@dataclass(slots=True)
class _Node:
    """A trie node. Keys are words, or "<class>"; ".." leads to what may follow a gap."""

    next: dict[str, _Node] = field(default_factory=dict)
    cues: list[_Cue] = field(default_factory=list)
    lifts_negation: bool = False
    classes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Found:
    """A phrase in the message: `words` has a bit for every word it names; what a gap skipped is not among them."""

    start: int
    end: int
    words: int
    node: _Node

    def inside(self, other: _Found) -> bool:
        return self.words | other.words == other.words and self.words != other.words


@dataclass(frozen=True, slots=True)
class _Lexicon:
    phrases: _Node
    terms: _Node
    noise: frozenset[str]
    negations: frozenset[str]
    breaks: frozenset[str]
    vocabulary: frozenset[str]
    mended: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Item:
    """A word of the message, or several that make one term of a class ("soup bowl")."""

    text: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cues:
    """What the phrases in a message say: a weight per intent that any of them speaks for, and what `IntentResult` has
    of the same names."""

    weights: Mapping[Intent, float]
    food_safety: bool
    courtesy: bool
    declined: bool
    quantity: bool

    def also(self, best: Intent) -> tuple[Intent, ...]:
        """The intents besides `best` that the message carries, strongest first."""
        return tuple(intent for intent in _ranked(self.weights) if intent is not best and self.weights[intent] >= _ALSO)


def classify(text: str, locale: str = "") -> IntentResult:
    """The intent, confidence and language of one message. `locale` is a BCP 47 hint for texts too short to tell."""
    return _verdict(weigh(text), reply_language(text, locale))


def weigh(text: str) -> Cues:
    """The phrases of the tables that `text` has, added up."""
    lexicon = _lexicon()
    items = _items(lexicon, words(text)[:_MOST_WORDS])
    found = _longest(_matches(lexicon.phrases, items))
    lifted = [hit for hit in found if hit.node.lifts_negation]
    cues: list[_Cue] = []
    for hit in found:
        if not _negated(lexicon, items, hit, lifted):
            cues.extend(hit.node.cues)
            continue
        cues.extend(cue for cue in hit.node.cues if not cue.negatable)
        cues.extend(_DECLINED for cue in hit.node.cues if cue.negatable and Intent.HAND_OFF in cue.weights)
    weights: dict[Intent, float] = defaultdict(float)
    for cue in cues:
        for intent, weight in cue.weights.items():
            weights[intent] += weight
    return Cues(
        weights,
        food_safety=any(cue.food_safety for cue in cues),
        courtesy=any(cue.courtesy for cue in cues),
        declined=_DECLINED in cues,
        quantity=any(cue.quantity for cue in cues),
    )


def reply_language(text: str, locale: str = "") -> Language:
    """The language to answer in: that of the text where it can be told, else that of `locale`, else English."""
    detected = language.detect(text)
    hinted = _SPOKEN.get(locale.lower().split("-")[0])
    if hinted is not None and detected.confidence < _SURE_OF_LANGUAGE:
        return hinted
    return _SPOKEN.get(detected.language) or hinted or Language.EN


def _verdict(cues: Cues, spoken: Language) -> IntentResult:
    ranked = _ranked(cues.weights)
    if not ranked:
        return IntentResult(Intent.OTHER, _NOTHING_KNOWN, spoken)
    best = Intent.COMPLAINT if cues.food_safety else ranked[0]
    if best is Intent.POLICY_QUESTION and cues.quantity:
        # "500 trays, and when do you deliver?": the goods are what it is about, the question is answered on the way.
        best = Intent.ORDER
    confidence = 0.97 if cues.food_safety else _confidence([cues.weights[intent] for intent in ranked])
    declined = best is Intent.OTHER and cues.declined
    courtesy = best is Intent.OTHER and not declined and cues.courtesy
    return IntentResult(best, confidence, spoken, cues.food_safety, courtesy, declined, cues.also(best))


def _ranked(scores: Mapping[Intent, float]) -> list[Intent]:
    """Intents with any weight, heaviest first; ties go to the one that costs least when wrong (a person, a look-up)."""
    caution = {intent: place for place, intent in enumerate(_CAUTION)}
    found = [intent for intent in scores if scores[intent] > 0]
    return sorted(found, key=lambda intent: (-scores[intent], caution[intent]))


_CAUTION = (
    Intent.HAND_OFF,
    Intent.COMPLAINT,
    Intent.ORDER_STATUS,
    Intent.ORDER,
    Intent.POLICY_QUESTION,
    Intent.PRODUCT_QUESTION,
    Intent.OTHER,
    Intent.GREETING,
)


def _confidence(weights: Sequence[float]) -> float:
    """How far the best weight stands out of the second and of nothing: best / (best + 0.7 second + half)."""
    second = weights[1] if len(weights) > 1 else 0.0
    return round(min(0.99, weights[0] / (weights[0] + second * 0.7 + _HALF)), 3)


def _items(lexicon: _Lexicon, cut: Sequence[Word]) -> list[_Item]:
    """Words without noise, typing errors mended, and class terms of several words joined into one."""
    plain = [_Item(_mend(lexicon, word), (word.kind,)) for word in cut if word.text not in lexicon.noise]
    items: list[_Item] = []
    position = 0
    while position < len(plain):
        end, classes = _term(lexicon.terms, plain, position)
        if end == position:
            items.append(plain[position])
            position += 1
            continue
        text = " ".join(item.text for item in plain[position:end])
        items.append(_Item(text, tuple(classes) + (plain[position].classes if end == position + 1 else ())))
        position = end
    return items


def _term(root: _Node, plain: Sequence[_Item], start: int) -> tuple[int, list[str]]:
    """The end of the longest class term that begins at `start`, and its classes; `start` itself when there is none."""
    node, best, classes = root, start, list[str]()
    for position in range(start, len(plain)):
        step = node.next.get(plain[position].text)
        if step is None:
            break
        node = step
        if node.classes:
            best, classes = position + 1, node.classes
    return best, classes


def _mend(lexicon: _Lexicon, word: Word) -> str:
    """`word`, or the one known word that a single slip of the keyboard away from it."""
    if word.kind != "word" or len(word.text) < _SHORTEST_MENDED or word.text in lexicon.vocabulary:
        return word.text
    for key in without_one(word.text):
        known = lexicon.mended.get(key)
        if known is not None and known[0] == word.text[0] and one_slip(word.text, known):
            return known
    return word.text


def _matches(root: _Node, items: Sequence[_Item]) -> list[_Found]:
    """Every phrase in the message. The work per word is bounded by the longest phrase and the longest gap."""
    found: list[_Found] = []
    for start in range(len(items)):
        _walk(root, items, _Found(start, start, 0, root), found)
    return found


def _walk(node: _Node, items: Sequence[_Item], so_far: _Found, found: list[_Found]) -> None:
    position = so_far.end
    if node.cues or node.lifts_negation:
        found.append(_Found(so_far.start, position, so_far.words, node))
    if position >= len(items):
        return
    item = items[position]
    for key in (item.text, *(f"<{name}>" for name in item.classes)):
        step = node.next.get(key)
        if step is not None:
            _walk(step, items, _Found(so_far.start, position + 1, so_far.words | 1 << position, step), found)
    gap = node.next.get("..")
    if gap is None:
        return
    for after in range(position, min(len(items), position + _LONGEST_GAP + 1)):
        if "mark" in items[after].classes:
            return
        _walk(gap, items, _Found(so_far.start, after, so_far.words, gap), found)


def _longest(found: Iterable[_Found]) -> list[_Found]:
    """Found phrases that lie in no longer one, each phrase once however often it is said."""
    kept: list[_Found] = []
    for hit in sorted(found, key=lambda hit: (hit.start, -hit.end, -hit.words.bit_count())):
        near = takewhile(lambda other: other.start > hit.start - _LONGEST_PHRASE, reversed(kept))  # noqa: B023
        if not any(hit.inside(other) for other in near):
            kept.append(hit)
    once = {id(hit.node): hit for hit in reversed(kept)}
    return list(once.values())


def _negated(lexicon: _Lexicon, items: Sequence[_Item], hit: _Found, lifted: Sequence[_Found]) -> bool:
    """True when a negation stands before the phrase in the same clause and nothing lifts it."""
    for position in range(hit.start - 1, max(-1, hit.start - 1 - _NEGATION_REACH), -1):
        item = items[position]
        if "mark" in item.classes or item.text in lexicon.breaks:
            return False
        if item.text in lexicon.negations:
            return not any(lift.start <= position < lift.end for lift in lifted)
    return False


@cache
def _lexicon() -> _Lexicon:
    """The tables, read once: they are part of the program, like its code."""
    data = tomllib.loads(resources.files("server.chat").joinpath("intents.toml").read_text(encoding="utf-8"))
    lists = data["words"]
    noise = frozenset(lists["noise"])
    phrases, terms = _Node(), _Node()
    for name, members in data["classes"].items():
        for member in members:
            _grow(terms, _keys(member, noise)).classes.append(name)
    for table in data["cues"]:
        cue = _Cue(
            {Intent(name): float(weight) for name, weight in table["weights"].items()},
            table.get("negatable", False),
            table.get("food_safety", False),
            table.get("courtesy", False),
            table.get("quantity", False),
        )
        for phrase in table["phrases"]:
            _grow(phrases, _joined(_keys(phrase, noise), terms)).cues.append(cue)
    for phrase in lists["not_negations"]:
        _grow(phrases, _joined(_keys(phrase, noise), terms)).lifts_negation = True
    known = frozenset(_latin(phrases) | _latin(terms) | set(lists["negations"]))
    mendable = sorted(word for word in known if len(word) > _SHORTEST_MENDED)
    return _Lexicon(
        phrases,
        terms,
        noise,
        frozenset(lists["negations"]),
        frozenset(lists["clause_breaks"]),
        known | frozenset(lists["never_typos"]),
        {key: word for word in mendable for key in without_one(word)},
    )


def _keys(phrase: str, noise: frozenset[str]) -> list[str]:
    """The trie keys of a phrase as it is written in the tables."""
    keys: list[str] = []
    for part in phrase.split():
        if part == ".." or part.startswith("<"):
            keys.append(part)
        else:
            keys.extend(word.text for word in words(part) if word.text not in noise)
    return keys


def _joined(keys: Sequence[str], terms: _Node) -> list[str]:
    """Keys with the terms of several words joined as they will be in a message."""
    plain = [_Item(key, ()) for key in keys]
    joined: list[str] = []
    position = 0
    while position < len(plain):
        end, _ = _term(terms, plain, position)
        end = max(end, position + 1)
        joined.append(" ".join(item.text for item in plain[position:end]))
        position = end
    return joined


def _grow(root: _Node, keys: Sequence[str]) -> _Node:
    node = root
    for key in keys:
        node = node.next.setdefault(key, _Node())
    return node


def _latin(root: _Node) -> set[str]:
    """Every Latin word that the trie knows."""
    found = {part for key in root.next for part in key.split() if part.isascii() and part.isalpha()}
    return found.union(*(_latin(node) for node in root.next.values()))
