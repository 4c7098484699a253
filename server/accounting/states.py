"""Where an invoice can stand and what moves it: a table, and the one function that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from server.order.invoicing import InvoiceState


class Event(StrEnum):
    """What can happen to an invoice."""

    QUEUE = "queue"  # the books are connected, or a person asks again
    SEND = "send"
    HOLD_BACK = "hold_back"  # nothing can have arrived; another time
    THROTTLE = "throttle"  # over a limit of the books
    LOSE = "lose"  # it may have arrived, and no answer says so
    BOOK_DRAFT = "book_draft"
    BOOK_AUTHORISED = "book_authorised"
    PAY = "pay"
    MISMATCH = "mismatch"  # booked with other totals than confirmed
    REFUSE = "refuse"  # only a person can help
    VOID = "void"  # it is not, or no longer, in the books


class IllegalEvent(Exception):
    """The event cannot happen to an invoice in that state: a defect of ours."""


_S = InvoiceState
_UNSENT = (_S.QUEUED, _S.WAITING_BUDGET)
_ASKING = (_S.SENDING, _S.OUTCOME_UNKNOWN)
_BOOKED = (_S.DRAFT, _S.AUTHORISED, _S.PAID, _S.MISMATCH)
_KNOWN_BY_BOOKS = (*_UNSENT, *_ASKING, *_BOOKED, _S.NEEDS_ATTENTION)

_RULES: tuple[tuple[Event, tuple[InvoiceState, ...], InvoiceState], ...] = (
    # From VOIDED when somebody voided it in the books and a person wants it booked after all.
    (Event.QUEUE, (_S.NOT_CONNECTED, _S.NEEDS_ATTENTION, _S.MISMATCH, _S.VOIDED), _S.QUEUED),
    (Event.SEND, (*_UNSENT, *_ASKING), _S.SENDING),
    (Event.HOLD_BACK, (*_UNSENT, _S.SENDING), _S.QUEUED),
    (Event.THROTTLE, (*_UNSENT, _S.SENDING), _S.WAITING_BUDGET),
    (Event.LOSE, (*_UNSENT, *_ASKING), _S.OUTCOME_UNKNOWN),
    # What the books say counts wherever we think to be; what is out of them stays so (a credited one is PAID there).
    (Event.BOOK_DRAFT, _KNOWN_BY_BOOKS, _S.DRAFT),
    (Event.BOOK_AUTHORISED, _KNOWN_BY_BOOKS, _S.AUTHORISED),
    (Event.PAY, _KNOWN_BY_BOOKS, _S.PAID),
    (Event.MISMATCH, _KNOWN_BY_BOOKS, _S.MISMATCH),
    (Event.REFUSE, _KNOWN_BY_BOOKS, _S.NEEDS_ATTENTION),
    (Event.VOID, (_S.NOT_CONNECTED, *_KNOWN_BY_BOOKS, _S.VOIDED), _S.VOIDED),
)

TRANSITIONS: Mapping[tuple[InvoiceState, Event], InvoiceState] = MappingProxyType(
    {(source, event): target for event, sources, target in _RULES for source in sources}
)
"""(state, event) → next state. What is not here is illegal."""


def after(state: InvoiceState, event: Event) -> InvoiceState:
    """The state that the event leads to. Raises IllegalEvent."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalEvent(f"{event} cannot happen to an invoice that is {state}") from None
