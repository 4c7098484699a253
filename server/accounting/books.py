"""What accounting asks of the books it posts to, and what they answer; `server/accounting/xero.py` is Xero's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from server.order.invoicing import InvoiceLine
from server.order.money import Money


class BookedState(StrEnum):
    """Where an invoice stands in the books (Xero's Invoice.Status)."""

    DRAFT = "DRAFT"
    SUBMITTED = "SUBMITTED"
    AUTHORISED = "AUTHORISED"
    PAID = "PAID"
    VOIDED = "VOIDED"
    DELETED = "DELETED"


GONE = frozenset({BookedState.VOIDED, BookedState.DELETED})
"""Out of the books."""

MOST_AT_ONCE = 50
"""Postings in one call."""


@dataclass(frozen=True, slots=True)
class Posting:
    """One invoice as it is to be booked. The same posting always becomes the same bytes on the wire.

    `number` is deterministic and unique in the books; `contact_number` is the outlet's id, `contact_name` is used when
    the contact does not exist yet; `url` leads back to the order; `authorise` False leaves a draft.
    """

    number: str
    reference: str
    contact_number: str
    contact_name: str
    issued_on: date
    due_on: date
    currency: str
    lines: Sequence[InvoiceLine]
    url: str
    authorise: bool


@dataclass(frozen=True, slots=True)
class Booked:
    """An invoice as the books have it; `id` is theirs, `credited` what credit notes have taken off it, `reference` what
    it was posted with."""

    id: str
    number: str
    state: BookedState
    subtotal: Decimal
    tax: Decimal
    total: Money
    credited: Decimal
    updated_at: datetime
    reference: str = ""


class BooksError(Exception):
    """The books did not do what was asked; the message is theirs or ours, in plain words, without personal data."""


class NotSent(BooksError):
    """Nothing can have reached the books (refused connection, no token): asking again is safe, and of no use before
    `retry_after` seconds."""

    def __init__(self, said: str = "", retry_after: float = 0.0) -> None:
        super().__init__(said)
        self.retry_after = retry_after


class OutcomeUnknown(BooksError):
    """It was sent, and no final answer came: it may have been done. Read back before anything else."""


class Rejected(BooksError):
    """The books refuse it, and will again: `messages` are their validation errors, for a person."""

    def __init__(self, messages: Sequence[str]) -> None:
        super().__init__("; ".join(messages))
        self.messages = tuple(messages)


class NumberTaken(Rejected):
    """There is an invoice with this number already: look it up."""


class Throttled(BooksError):
    """Over a limit of theirs: `limit` is minute, day, concurrent or appminute; wait `retry_after` seconds."""

    def __init__(self, limit: str, retry_after: float) -> None:
        super().__init__(f"over the limit: {limit}")
        self.limit = limit
        self.retry_after = retry_after


class Disconnected(BooksError):
    """The connection is gone (revoked, expired, never made): a person must connect again."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave to call the books now; `probe`: they have been failing, and this call is to find out whether they do."""

    probe: bool = False


class Books(Protocol):
    """Each call takes budget first and raises one of the errors above; none is retried inside.

    `key` is the idempotency key: the same call with the same key within five minutes has one effect.
    """

    def leave(self, tenant: str) -> AbstractAsyncContextManager[Leave]:
        """Budget taken beforehand, for what is to be noted before it is sent: the first call made inside uses it, and
        it is given back where none is. Raises NotSent, Throttled or Disconnected when no call can be made now."""
        ...

    async def create(self, tenant: str, posting: Posting, key: str) -> Booked:
        """Books a new invoice. Never overwrites one: a number that is taken raises NumberTaken."""
        ...

    async def create_many(self, tenant: str, postings: Sequence[Posting], key: str) -> Sequence[Booked | Rejected]:
        """Books up to MOST_AT_ONCE in one call, each for itself; the answers are in the order of `postings`."""
        ...

    async def find(self, tenant: str, number: str) -> Booked | None:
        """The invoice of this number, read afresh."""
        ...

    async def get(self, tenant: str, id: str) -> Booked | None:
        """The invoice of this id of theirs, read afresh."""
        ...

    async def cancel(self, tenant: str, booked: Booked, key: str) -> Booked:
        """Takes it out of the books: a draft is deleted, an authorised one voided. Rejected when it was paid."""
        ...

    async def credit(self, tenant: str, booked: Booked, posting: Posting, key: str) -> None:
        """Books a credit note for all of a paid invoice; `posting` is what it was booked by."""
        ...

    async def note(self, tenant: str, booked: Booked, text: str, key: str) -> None:
        """Adds a line to the invoice's history, for the people who read the books."""
        ...

    def changed_since(self, tenant: str, since: datetime) -> AsyncIterator[Booked]:
        """Invoices that changed since then, oldest first."""
        ...
