"""A message cut into parts at its punctuation, at "and", and at the cues that open something new."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice, takewhile

from server.order.extraction_compounds import neighbours, recut
from server.order.extraction_cues import FILLER, JOINTS, Cue, Cues, Hit, meant
from server.order.extraction_dates import surroundings
from server.order.extraction_index import CatalogueIndex
from server.order.extraction_parts import Draft, Part, PartReader
from server.order.extraction_quantities import read_quantity
from server.order.extraction_text import Folded, Kind, Token, fold, tokens

_COMMA = re.compile(r"\s{0,9},")
_HARD = frozenset(".?!;\n。")
_SOFT = frozenset(",、&+/")
_SPLITTING = frozenset((Cue.SET, Cue.REMOVE, Cue.VOID, Cue.CHANGE, Cue.USUAL, Cue.CANCEL))
_HAN_JOINTS = frozenset("和与及跟")
_WEAK_JOINTS = frozenset("with w dengan dgn n sama serta also then".split())  # noqa: SIM905
_DENIALS = frozenset(("不是", "bukan"))
# A correction with no more words than these names nothing yet.
_FEW = 3


@dataclass(frozen=True, slots=True)
class Parsed:
    """The parts of a message in order and the delivery date in it."""

    parts: tuple[Part, ...]
    delivery_date: date | None


class MessageReader:
    """Reads messages against one catalogue."""

    def __init__(self, index: CatalogueIndex) -> None:
        self._index = index
        self._cues = Cues()

    def parse(self, text: str, today: date) -> Parsed:
        """Cut `text` into parts and read what is in them."""
        folded = fold(text)
        around = surroundings(folded.text, today)
        whole = recut(folded.text, tokens(folded, self._index.skus), self._index)
        cut = [token for place, token in enumerate(whole) if self._is_read(whole, place, around.covered)]
        drafts = _Cutter(folded, cut, self._cues, self._index).drafts()
        for draft, following in zip(drafts, _following(drafts), strict=True):
            PartReader(draft, self._index).read(quantity_follows=following is not None and _only_quantity(following))
        return Parsed(tuple(draft.part for draft in drafts), around.delivery_date)

    def _is_read(self, cut: Sequence[Token], place: int, covered: bytes) -> bool:
        """Whether a token is no date or price; a word of a product's name is none ("sun hat")."""
        token = cut[place]
        if token.kind is Kind.CODE or not covered[token.at]:
            return True
        return token.kind is Kind.WORD and bool(neighbours(cut, place) & self._index.pairs)


def _following(drafts: Sequence[Draft]) -> list[Draft | None]:
    """For every draft the next one that has any tokens."""
    found: list[Draft | None] = []
    after: Draft | None = None
    for draft in reversed(drafts):
        found.append(after)
        after = draft if draft.tokens else after
    return found[::-1]


def _only_quantity(draft: Draft) -> bool:
    kept = [token for token in draft.tokens if token.text not in FILLER and token.kind is not Kind.MARK]
    found = read_quantity(kept, 0) if kept else None
    return found is not None and found.end == len(kept)


class _Cutter:
    """Cuts one message; used once. The tokens of a cue that opens a part are in no part."""

    def __init__(self, folded: Folded, cut: Sequence[Token], cues: Cues, index: CatalogueIndex) -> None:
        self._folded = folded
        self._tokens = cut
        self._to = cues.to
        self._hits = cues.find(folded.text)
        self._index = index
        self._drafts = [Draft(Part(0))]
        self._skip_to = 0

    def drafts(self) -> list[Draft]:
        for place, token in enumerate(self._tokens):
            while self._hits and self._hits[0].start <= token.at:
                self._cue(place, self._hits.pop(0))
            if token.at >= self._skip_to:
                self._token(place, token)
        self._drafts[-1].part.cues |= frozenset().union(*(meant(hit.cue) for hit in self._hits))
        return self._drafts

    def _cue(self, place: int, hit: Hit) -> None:
        if self._is_name(place, hit):
            return
        if hit.cue in _SPLITTING:
            start, end = self._folded.span(hit.start, hit.end)
            self._open(Part(self._sentence, mode=self._mode(hit), start=start, end=end))
            self._skip_to = hit.end
        inside = takewhile(lambda token: token.at < hit.end, islice(self._tokens, place, place + hit.end - hit.start))
        self._drafts[-1].in_cue |= {token.at for token in inside}
        self._drafts[-1].part.cues |= meant(hit.cue)

    def _mode(self, hit: Hit) -> Cue:
        """手套要两盒不是三盒 sets nothing: what follows at once is what is not meant."""
        text = self._folded.text
        denied = text[hit.start : hit.end] in _DENIALS and not _COMMA.match(text, hit.end)
        after_quantity = any(token.kind in {Kind.NUMBER, Kind.HAN} for token in self._drafts[-1].tokens)
        return Cue.VOID if denied and after_quantity else hit.cue

    def _token(self, place: int, token: Token) -> None:
        draft = self._drafts[-1]
        if token.kind is Kind.MARK and (
            token.text in _HARD | _SOFT or (token.text == ":" and draft.part.mode is Cue.TO)
        ):
            draft.part.asked = token.text == "?"
            self._open(Part(self._sentence + (token.text in _HARD), mode=_kept_mode(draft)))
        elif self._joint(place):
            self._open(Part(self._sentence, mode=_kept_mode(draft), joined=True))
        elif draft.part.mode is Cue.CHANGE and draft.tokens and self._to.match(self._folded.text, token.at):
            self._open(Part(self._sentence, mode=Cue.TO))
        else:
            draft.tokens.append(token)

    @property
    def _sentence(self) -> int:
        return self._drafts[-1].part.sentence

    def _open(self, part: Part) -> None:
        self._drafts.append(Draft(part))

    def _text(self, place: int) -> str:
        return self._tokens[place].text if 0 <= place < len(self._tokens) else ""

    def _is_name(self, place: int, hit: Hit) -> bool:
        """Whether the words of a cue are part of a product's name in the message ("price labels", "wet wipes")."""
        end = place
        while end < len(self._tokens) and self._tokens[end].at < hit.end:
            end += 1
        inside = [token.text for token in self._tokens[place:end]]
        if not inside or any(text not in self._index.holders for text in inside):
            return False
        pairs = self._index.pairs
        return (self._text(place - 1), inside[0]) in pairs or (inside[-1], self._text(end)) in pairs

    def _joint(self, place: int) -> bool:
        """Whether the token joins two orders: any "and", but "with" only before a quantity (PP container with lid)."""
        token = self._tokens[place]
        before, after = self._text(place - 1), self._text(place + 1)
        if token.kind is Kind.HAN:
            inside = (before, token.text) in self._index.pairs and (token.text, after) in self._index.pairs
            return token.text in _HAN_JOINTS and not inside
        if token.kind is not Kind.WORD or token.text not in JOINTS or not after:
            return False
        if token.text in _WEAK_JOINTS:
            return read_quantity(self._tokens, place + 1) is not None
        # "two hundred and fifty" and "1 and a half" are one number
        half = after == "half" or (after == "a" and self._text(place + 2) == "half")
        return before not in {"hundred", "thousand"} and not half


def _kept_mode(draft: Draft) -> Cue | None:
    """A correction that names nothing yet governs what follows the comma ("不对，12包")."""
    named = any(token.kind in {Kind.NUMBER, Kind.SIZE, Kind.CODE} for token in draft.tokens)
    return Cue.SET if draft.part.mode is Cue.SET and not named and len(draft.tokens) < _FEW else None
