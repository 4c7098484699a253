"""The filter between the model's words and the customer: citations are checked, prices filled in, leaks stopped.

The model writes `[2]` for passage 2, `[0]` for "my material does not say", and `[price:SKU]` where a price belongs.
What names nothing that was retrieved in this turn is taken out and counted, also when it arrives in pieces.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from server.chat.assistant import Cited
from server.chat.evidence import Evidence, quote

# Bounds keep the hold-back bounded: a bracket that outgrows them is ordinary text.
_MARKER = re.compile(r" ?\[(?:(?P<numbers>\d{1,3}(?:, ?\d{1,3}){0,5})|price:(?P<sku>[A-Za-z0-9._-]{1,40}))\]")
# Any proper beginning of a marker at the end of a text; the longest marker is 49 characters with its space.
_BEGUN = re.compile(r" ?(?:\[[A-Za-z0-9:._, -]{0,47})?\Z")
_CLAIM_LENGTH = 300


class CanaryLeakedError(Exception):
    """The model began to recite its instructions; nothing of that piece was released."""


@dataclass(slots=True)
class Released:
    """Text that may be shown now, and the passages cited in it for the first time."""

    text: str
    cited: list[Cited] = field(default_factory=list)


class MarkerFilter:
    """Fed with pieces in order; joined, what it releases is the same however the text was cut into pieces.

    At most one unfinished marker or canary is held back. `invented` counts what was taken out, `abstained` tells
    whether the model said that its material does not answer.
    """

    def __init__(self, evidence: Evidence, canary: str) -> None:
        self._evidence = evidence
        self._canary = canary
        self._held = ""
        self._claim = ""
        self.cited: dict[int, Cited] = {}
        self.prices = 0
        self.invented = 0
        self.abstained = False

    def feed(self, piece: str) -> Released:
        """Raises `CanaryLeakedError` once the canary is complete."""
        text = self._held + piece
        if self._canary in text:
            raise CanaryLeakedError
        begun = _BEGUN.search(text)
        cut = begun.start() if begun is not None else len(text)
        cut = min(cut, len(text) - _overlap(text, self._canary))
        self._held = text[cut:]
        return self._release(text[:cut])

    def finish(self) -> Released:
        """What was held back: no marker will complete it any more."""
        text, self._held = self._held, ""
        return self._release(text)

    def _release(self, text: str) -> Released:
        released = Released("")
        parts: list[str] = []
        at = 0
        for marker in _MARKER.finditer(text):
            parts.append(text[at : marker.start()])
            self._remember(parts[-1])
            parts.append(self._replacement(marker, released.cited))
            at = marker.end()
        parts.append(text[at:])
        self._remember(parts[-1])
        released.text = "".join(parts)
        return released

    def _replacement(self, marker: re.Match[str], cited: list[Cited]) -> str:
        space = " " if marker[0].startswith(" ") else ""
        sku = marker["sku"]
        if sku is not None:
            price = self._evidence.price(sku)
            if price is None:
                self.invented += 1
                return ""
            self.prices += 1
            return space + price
        kept = [f"[{number}]" for number in map(int, marker["numbers"].split(",")) if self._cite(number, cited)]
        return space + "".join(kept) if kept else ""

    def _cite(self, number: int, cited: list[Cited]) -> bool:
        if number == 0:
            self.abstained = True
            return False
        passage = self._evidence.passage(number)
        if passage is None:
            self.invented += 1
            return False
        if number not in self.cited:
            self.cited[number] = Cited(number, passage, quote(passage, self._claim))
            cited.append(self.cited[number])
        return True

    def _remember(self, text: str) -> None:
        self._claim = (self._claim + text)[-_CLAIM_LENGTH:]


def without_markers(text: str) -> str:
    """An earlier answer as history: its numbers meant other passages and must not be cited again."""
    return _MARKER.sub("", text)


def _overlap(text: str, word: str) -> int:
    """The length of the longest end of `text` that begins `word`."""
    return next((size for size in range(min(len(text), len(word) - 1), 0, -1) if text.endswith(word[:size])), 0)
