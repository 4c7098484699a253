"""Which parts of a message order anything: not those that ask, report, or speak of an order placed before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from server.order.extraction_cues import Cue
from server.order.extraction_index import WEIGHED, measure_of
from server.order.extraction_parts import Part

# What is left of a part once goods, quantities, fillers and cues are gone. With so many strange words and no word of
# ordering it is a statement: "the caterer put 10 sleeves of cups in the shed".
_STRANGE_WORDS, _STRANGE_CHARACTERS = 2, 3
_CORRECTIONS = frozenset((Cue.SET, Cue.REMOVE, Cue.VOID, Cue.CHANGE, Cue.TO))


def ordering(parts: Sequence[Part]) -> list[Part]:
    """The parts that may hold lines or corrections of lines, in order."""
    kept: list[Part] = []
    ordered_yet = False
    told = False  # a sentence before was a report or asked for a price: what stands bare after it is about that
    for sentence in _sentences(parts):
        said = set().union(*(part.cues for part in sentence))
        if Cue.CANCEL in said:
            told = True
            continue
        ordered = list(_of_sentence(sentence, said, told=told, ordered_yet=ordered_yet))
        kept += ordered
        amounts = any(part.amounts for part in ordered)
        ordered_yet = ordered_yet or amounts
        told = told or (bool(said & {Cue.REPORT, Cue.PRICE}) and not amounts)
    return kept


def _of_sentence(sentence: Sequence[Part], said: set[Cue], *, told: bool, ordered_yet: bool) -> Iterator[Part]:
    stated = False
    for place, part in enumerate(sentence):
        ordered = Cue.ORDER in part.cues
        if part.cues & {Cue.REPORT, Cue.PRICE, Cue.ASK}:
            continue
        corrects = part.mode is Cue.SET and ordered_yet  # "make it 8 cos of the weekend rush"
        if (
            Cue.ORDER not in said
            and Cue.USUAL not in said
            and not corrects
            and (_states(part) or (stated and part.joined))
        ):
            stated = True
            continue
        stated = False
        if told and Cue.ORDER not in said and Cue.USUAL not in said:
            continue
        if Cue.REPORT in said:
            # "3 came broken, please send 5 packs of napkins": only what is asked for after the report.
            reported = max(at for at, other in enumerate(sentence) if Cue.REPORT in other.cues)
            if place < reported or not ordered:
                continue
        if Cue.PRICE in said and not _ordered_before(sentence, place) and part.mode not in _CORRECTIONS:
            continue
        ordered_yet = ordered_yet or bool(part.amounts)
        yield part


def _states(part: Part) -> bool:
    """Whether a part without any word of ordering tells or asks something of the goods in it."""
    weighed = any(measure_of(mention.terms) in WEIGHED for mention in part.mentions)
    if not part.amounts and not weighed:
        return False
    words = [word for word in part.unknown if word.isascii() and len(word) > 2]
    characters = sum(1 for word in part.unknown if not word.isascii())
    past = any(word.endswith("ed") and len(word) > 4 for word in words)
    strange = len(words) >= _STRANGE_WORDS or characters >= _STRANGE_CHARACTERS
    return strange or past or (part.asked and bool(words or characters))


def _ordered_before(sentence: Sequence[Part], place: int) -> bool:
    """Whether goods are wanted in so many words up to here, or politely before the price is asked for."""
    priced = next((at for at, part in enumerate(sentence) if Cue.PRICE in part.cues), len(sentence))
    if any(Cue.VERB in part.cues for part in sentence[: place + 1]):
        return True
    return any(Cue.ORDER in part.cues for part in sentence[: min(place + 1, priced)])


def _sentences(parts: Sequence[Part]) -> Iterator[list[Part]]:
    current: list[Part] = []
    for part in parts:
        if current and part.sentence != current[0].sentence:
            yield current
            current = []
        current.append(part)
    if current:
        yield current


def topic(parts: Sequence[Part]) -> Cue | None:
    """What a message is about that names goods and orders none: PRICE, and with a quantity also REPORT or ASK."""
    said = set().union(*(part.cues for part in parts))
    if any(part.amounts for part in ordering(parts)) or not any(part.mentions for part in parts):
        return None
    if not any(part.mentions and part.amounts for part in parts):
        return Cue.PRICE if Cue.PRICE in said and Cue.REPORT not in said else None
    return next((cue for cue in (Cue.PRICE, Cue.REPORT, Cue.ASK) if cue in said), None)
