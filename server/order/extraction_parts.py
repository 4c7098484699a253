"""The parts of a message: what quantities and what mentions of products each has, and the cue that governs it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise

from server.order.extraction_cues import FILLER, JOINTS, Cue
from server.order.extraction_index import WEIGHED, CatalogueIndex, measure_of
from server.order.extraction_numbers import Doubt
from server.order.extraction_quantities import UNIT_WORDS, Quantity, read_quantity
from server.order.extraction_text import Kind, Token

# One character that says which of several: 大的, 白色.
_QUALITIES = frozenset("大中小白黑红黄蓝绿银灰粉紫橙粗细厚薄长短")
# Characters around goods that name none: 我要…, 明天送, …可以.
_SILENT_HAN = frozenset(
    "我你您他们要来给的了吗呢吧啊请帮麻烦送订下单买加个这那有没可以好谢老板明今天后早晚上午在到店家另"
    "外还再也都就和跟与多点一两三些需补货先然后号子色款种"
)
_ARTICLES = frozenset(("a", "an"))
_EACH = frozenset(("each", "各", "setiap", "masing"))


@dataclass(slots=True)
class Mention:
    """Catalogue terms that stand together; `sku` when a product was called by it. `unknown` are words inside that the
    catalogue has not, `trailing` one that stands right behind ("clear deli tubs"); `sure` is below one when a spelling
    was mended."""

    start: int
    end: int
    terms: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    trailing: bool = False
    sku: str = ""
    sure: float = 1.0


@dataclass(frozen=True, slots=True)
class Amount:
    """A quantity and its place in the message."""

    quantity: Quantity
    start: int
    end: int


@dataclass(slots=True)
class Part:
    """What stands between two breaks or cues.

    `mode` is the cue that opened it and `cues` are all in it. `joined` says that only "and" stands before it, `each`
    that its quantity is meant for every product beside it, `asked` that a question mark ends it.
    """

    sentence: int
    mode: Cue | None = None
    start: int = 0
    end: int = 0
    items: list[Mention | Amount] = field(default_factory=list)
    cues: set[Cue] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)
    joined: bool = False
    each: bool = False
    asked: bool = False

    @property
    def amounts(self) -> list[Amount]:
        return [item for item in self.items if isinstance(item, Amount)]

    @property
    def mentions(self) -> list[Mention]:
        return [item for item in self.items if isinstance(item, Mention)]


@dataclass(slots=True)
class Draft:
    """The tokens of a part before they are read; `in_cue` are the places of those that belong to a cue."""

    part: Part
    tokens: list[Token] = field(default_factory=list)
    in_cue: set[int] = field(default_factory=set)


class PartReader:
    """Reads the tokens of one part; used once."""

    def __init__(self, draft: Draft, index: CatalogueIndex) -> None:
        self._part = draft.part
        self._tokens = draft.tokens
        self._in_cue = draft.in_cue
        self._index = index
        self._mention: Mention | None = None
        self._unknown: list[str] = []

    def read(self, *, quantity_follows: bool) -> None:
        """Fill the part. `quantity_follows` says that the next part is a quantity and nothing else."""
        if self._tokens:
            part = self._part
            part.start = part.start if part.end else self._tokens[0].start
            part.end = self._tokens[-1].end
            part.each = any(token.text in _EACH for token in self._tokens)
        quantities = self._quantities(quantity_follows=quantity_follows)
        place = 0
        while place < len(self._tokens):
            found = quantities.get(place)
            if found is not None:
                self._mention, self._unknown = None, []
                first, last = self._tokens[found.first], self._tokens[found.end - 1]
                self._part.items.append(Amount(found, first.start, last.end))
                place = found.end
                continue
            self._word(place)
            place += 1

    def _quantities(self, *, quantity_follows: bool) -> dict[int, Quantity]:
        """The quantities by place. A number that belongs to a product's name ("120 grit") is none, if there is another
        one, or if without it the product would not be known."""
        found: list[Quantity] = []
        place = 0
        while place < len(self._tokens):
            quantity = read_quantity(self._tokens, place) if not self._is_content_number(place) else None
            quantity = quantity or self._article(place)
            if quantity is not None and (self._attached(place) or self._is_decimal(place) or self._is_rating(place)):
                quantity = None
            if quantity is None:
                place += 1
            else:
                found.append(quantity)
                place = quantity.end
        named = [quantity for quantity in found if self._of_a_name(quantity)]
        if named and len(named) == len(found) and not quantity_follows:
            named = [] if len(named) == 1 and not self._needed(named[0]) else named[len(named) > 1 :]
        of_names = {quantity.first for quantity in named}
        return {quantity.first: quantity for quantity in found if quantity.first not in of_names}

    def _attached(self, place: int) -> bool:
        """Whether the number is written onto the word before it, as in a name of the catalogue (5W-30)."""
        back = place - 1 - (place > 1 and self._tokens[place - 1].text == "-")
        if back < 0 or self._tokens[place].kind is not Kind.NUMBER:
            return False
        glued = all(one.end == two.start for one, two in pairwise(self._tokens[back : place + 1]))
        return glued and (self._tokens[back].text, self._tokens[place].text) in self._index.pairs

    def _is_rating(self, place: int) -> bool:
        """60Ah and 10A say which: letters that are no unit and no goods are written onto the number."""
        number, word = self._tokens[place], self._tokens[place + 1] if place + 1 < len(self._tokens) else None
        if number.kind is not Kind.NUMBER or word is None or word.kind is not Kind.WORD or word.start != number.end:
            return False
        known = word.text in UNIT_WORDS or word.text in self._index.holders or bool(self._index.term(word.text)[0])
        return not known and word.text not in JOINTS and word.text != "ish"

    def _is_decimal(self, place: int) -> bool:
        """Nobody orders 0.7 of a thing that is called so."""
        token = self._tokens[place]
        return token.kind is Kind.NUMBER and "." in token.text and token.text in self._index.holders

    def _article(self, place: int) -> Quantity | None:
        """ "I need a stapler" is one of them, where goods are wanted in so many words."""
        if (
            self._tokens[place].text not in _ARTICLES
            or Cue.ORDER not in self._part.cues
            or place + 1 == len(self._tokens)
        ):
            return None
        following = self._tokens[place + 1]
        if following.kind is not Kind.WORD or following.text not in self._index.holders or following.text in FILLER:
            return None
        return Quantity(Decimal(1), place, place + 1, place + 1)

    def _is_content_number(self, place: int) -> bool:
        """A vague word or an article that is part of a name ("half" of "half pan") is no quantity."""
        token = self._tokens[place]
        return (
            token.kind is Kind.WORD
            and token.text in self._index.holders
            and len(token.text) > 1
            and (self._neighbours(place, place + 1))
        )

    def _of_a_name(self, quantity: Quantity) -> bool:
        one = quantity.number_end - quantity.first - (self._tokens[quantity.first].kind is Kind.TIMES) == 1
        return (
            one
            and quantity.each is None
            and quantity.doubt is not Doubt.VAGUE
            and self._neighbours(quantity.number_end - 1, quantity.number_end)
        )

    def _neighbours(self, first: int, end: int) -> bool:
        text = self._tokens[first].text
        after = self._tokens[end].text if end < len(self._tokens) else ""
        back = first - 1 - (first > 1 and self._tokens[first - 1].kind is Kind.TIMES)
        before = self._tokens[back].text if back >= 0 else ""
        return (text, after) in self._index.pairs or (before, text) in self._index.pairs

    def _needed(self, quantity: Quantity) -> bool:
        """Whether the product is known with this number and not without it."""
        around = [*self._tokens[: quantity.first], *self._tokens[quantity.number_end :]]
        others = [token.text for token in around if token.text in self._index.holders]
        without = self._index.find(others)
        number = self._tokens[quantity.number_end - 1].text
        return len(without.products) != 1 and len(self._index.find([*others, number]).products) == 1

    def _word(self, place: int) -> None:
        token = self._tokens[place]
        term, sure = self._term(place)
        if term:
            self._extend(token, term, sure)
        elif self._is_rating(place):
            self._unknown.append(token.text)
            if self._mention is not None:
                self._mention.unknown.append(token.text)
        elif token.kind is Kind.WORD and token.text in UNIT_WORDS:
            self._late_unit(place)
        elif token.kind is Kind.WORD and self._is_unknown(token):
            self._part.unknown.append(token.text)
            if self._mention is not None and self._mention.end == self._tokens[place - 1].end and len(token.text) > 2:
                self._mention.trailing = True
            if self._part.items:  # "low on napkins": what stands before quantity and product is no part of its name
                self._unknown.append(token.text)
        elif token.kind is Kind.HAN and token.at not in self._in_cue and token.text not in _SILENT_HAN:
            self._part.unknown.append(token.text)

    def _late_unit(self, place: int) -> None:
        """ "100 masks pcs": the unit behind the product belongs to the quantity before it."""
        items = self._part.items
        if len(items) < 2 or not isinstance(items[-1], Mention) or items[-1].end != self._tokens[place - 1].end:
            return
        amount = items[-2]
        if isinstance(amount, Amount) and not amount.quantity.unit:
            items[-2] = Amount(replace(amount.quantity, unit=self._tokens[place].text), amount.start, amount.end)

    def _is_unknown(self, token: Token) -> bool:
        return len(token.text) > 1 and token.text not in FILLER and token.at not in self._in_cue

    def _term(self, place: int) -> tuple[str, float]:
        """The catalogue's term that the token stands for, and how surely; ("", 0) when for none."""
        token = self._tokens[place]
        if token.kind in {Kind.CODE, Kind.SIZE}:
            return token.text, 1.0
        if token.kind is Kind.HAN:
            return (token.text, 1.0) if self._han_content(place) else ("", 0.0)
        if token.kind is Kind.NUMBER:
            return (token.text, 1.0) if token.text in self._index.holders else ("", 0.0)
        if token.kind is not Kind.WORD:
            return "", 0.0
        common = token.at in self._in_cue or token.text in FILLER
        if common and not self._neighbours(place, place + 1):
            return "", 0.0
        if token.text in self._index.holders:
            return token.text, 1.0
        return ("", 0.0) if common or token.text in UNIT_WORDS else self._index.term(token.text)

    def _han_content(self, place: int) -> bool:
        index, text = self._index, self._tokens[place].text
        if text not in index.holders:
            return False
        before = self._tokens[place - 1].text if place else ""
        after = self._tokens[place + 1].text if place + 1 < len(self._tokens) else ""
        if (before, text) in index.pairs or (text, after) in index.pairs:
            return True
        return (
            (index.is_head(text) and (after == "子" or self._ends_with(before)))
            or (text in _QUALITIES and self._mention is not None)
            or (text in _QUALITIES and after in {"的", "号", "色"})
        )

    def _ends_with(self, character: str) -> bool:
        return self._mention is not None and self._mention.terms[-1] == character

    def _begins_another(self, mention: Mention, size: str) -> bool:
        """ "4 kg flour 2 kg sugar": the second weight is no part of what the first one is of."""
        measure = measure_of([size])
        places = [place for place, term in enumerate(mention.terms) if measure_of([term]) == measure]
        if measure not in WEIGHED or not places:
            return False
        return any(self._index.is_head(term) for term in mention.terms[places[0] + 1 :])

    def _extend(self, token: Token, term: str, sure: float) -> None:
        if token.kind is Kind.CODE:
            self._mention = None
            self._part.items.append(Mention(token.start, token.end, sku=term))
            return
        mention = self._mention
        if mention is not None and token.kind is Kind.SIZE and self._begins_another(mention, term):
            mention = None
        if mention is None:
            mention = self._mention = Mention(token.start, token.end)
            self._part.items.append(mention)
        mention.end = token.end
        mention.sure = min(mention.sure, sure)
        mention.unknown += self._unknown
        self._unknown = []
        if term not in mention.terms:
            mention.terms.append(term)
