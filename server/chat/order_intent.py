"""What a message wants, corrected by what extraction found: only that knows the goods of the catalogue."""

from __future__ import annotations

from server.chat.assistant import Intent
from server.order.extraction_cues import Cue

# Where the phrases see neither this nor anything else, what has quantities to ask about is an order.
_OPEN = frozenset((Intent.OTHER, Intent.GREETING, Intent.ORDER))
# Goods that are named and not ordered: "3 bulbs came broken" looks like an order to who does not know bulbs.
_MISTAKEN = {
    Cue.PRICE: frozenset((Intent.ORDER, Intent.ORDER_STATUS, Intent.OTHER, Intent.GREETING)),
    Cue.ASK: frozenset((Intent.ORDER,)),
    Cue.REPORT: frozenset((Intent.ORDER,)),
}
_ABOUT = {Cue.PRICE: Intent.PRODUCT_QUESTION, Cue.ASK: Intent.PRODUCT_QUESTION, Cue.REPORT: Intent.COMPLAINT}


def corrected(wanted: Intent, *, lines: bool, questions: bool, topic: Cue | None) -> Intent:
    """`wanted` as the phrases have it, seen with whether there are lines or questions, and the goods' topic."""
    if lines or (questions and wanted in _OPEN):
        return Intent.ORDER
    if topic is not None and wanted in _MISTAKEN[topic]:
        return _ABOUT[topic]
    return wanted
