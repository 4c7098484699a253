"""Xero as the books (server/accounting/books.py)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

from server.accounting.books import (
    GONE,
    MOST_AT_ONCE,
    Booked,
    BookedState,
    Leave,
    NotSent,
    NumberTaken,
    OutcomeUnknown,
    Posting,
    Rejected,
)
from server.accounting.budget import Lane
from server.accounting.xero_calls import Call, XeroCalls, unread
from server.accounting.xero_contacts import XeroContacts
from server.accounting.xero_errors import rejected, validation_errors
from server.accounting.xero_taxes import XeroTaxes
from server.accounting.xero_wire import (
    References,
    Unreadable,
    booked_of,
    credit_of,
    credits_,
    elements,
    history,
    invoice_of,
    invoices,
    status_change,
)

log = logging.getLogger(__name__)

_PAGE = 100
_OPEN = {BookedState.DRAFT, BookedState.SUBMITTED}


class Xero:
    """`Books` for calls of one lane; calls, contacts and taxes are shared by both lanes of a process."""

    def __init__(self, calls: XeroCalls, contacts: XeroContacts, taxes: XeroTaxes, account: str, lane: Lane) -> None:
        self._calls = calls
        self._contacts = contacts
        self._taxes = taxes
        self._account = account
        self._lane = lane

    def leave(self, tenant: str) -> AbstractAsyncContextManager[Leave]:
        return self._calls.leave(tenant, self._lane)

    async def create(self, tenant: str, posting: Posting, key: str) -> Booked:
        (answer,) = await self.create_many(tenant, [posting], key)
        if isinstance(answer, Rejected):
            raise answer
        return answer

    async def create_many(self, tenant: str, postings: Sequence[Posting], key: str) -> Sequence[Booked | Rejected]:
        if len(postings) > MOST_AT_ONCE:
            raise ValueError(f"at most {MOST_AT_ONCE} postings go in one call")
        answers: dict[int, Booked | Rejected] = {}
        bodies = {}
        for place, posting in enumerate(postings):
            try:
                bodies[place] = invoice_of(posting, await self._references(tenant, posting))
            except Rejected as cannot:
                answers[place] = cannot
        if bodies:
            told = await self._write(tenant, "create_invoices", invoices(list(bodies.values())), key, unitdp=4)
            each = _of_write(told, "Invoices", len(bodies))
            answers |= {place: _answer(element) for place, element in zip(bodies, each, strict=True)}
        for place, answer in answers.items():
            if isinstance(answer, Rejected) and not isinstance(answer, NumberTaken):
                self._contacts.forget(tenant, postings[place].contact_number)
        return [answers[place] for place in range(len(postings))]

    async def find(self, tenant: str, number: str) -> Booked | None:
        call = Call("get_invoices", (), {"invoice_numbers": [number], "unitdp": 4})
        found = [booked for booked in await self._invoices(tenant, call) if booked.number == number]
        # A number is free again when its invoice was deleted: the living one is meant, else the last.
        return max(found, key=lambda booked: (booked.state not in GONE, booked.updated_at), default=None)

    async def get(self, tenant: str, id: str) -> Booked | None:
        return next(iter(await self._invoices(tenant, Call("get_invoice", (id,), {"unitdp": 4}))), None)

    async def cancel(self, tenant: str, booked: Booked, key: str) -> Booked:
        if booked.state in GONE:
            return booked
        if booked.state is BookedState.PAID:
            raise Rejected(["the invoice was paid: it can only be credited"])
        state = BookedState.DELETED if booked.state in _OPEN else BookedState.VOIDED
        options = {"idempotency_key": key, "unitdp": 4}
        call = Call("update_invoice", (booked.id, status_change(booked, state)), options, write=True)
        (element,) = _of_write(await self._calls.call(tenant, self._lane, call), "Invoices", 1)
        answer = _answer(element)
        if isinstance(answer, Rejected):
            raise answer
        return answer

    async def credit(self, tenant: str, booked: Booked, posting: Posting, key: str) -> None:  # noqa: ARG002  # the port's
        # The number is made from the invoice's, so the same credit asked for again hours later is not a second one.
        note = credit_of(posting, await self._references(tenant, posting), f"CN-{posting.number}")
        told = await self._write(tenant, "create_credit_notes", credits_([note]), key, unitdp=4)
        (element,) = _of_write(told, "CreditNotes", 1)
        if errors := validation_errors(element):
            refusal = rejected(errors)
            if not isinstance(refusal, NumberTaken):
                raise refusal

    async def note(self, tenant: str, booked: Booked, text: str, key: str) -> None:
        call = Call("create_invoice_history", (booked.id, history(text)), {"idempotency_key": key}, write=True)
        await self._calls.call(tenant, self._lane, call)

    async def changed_since(self, tenant: str, since: datetime) -> AsyncIterator[Booked]:
        # Each page begins where the last one ended and not at a page number: an invoice that changes meanwhile moves
        # to the end, and the one behind it would be passed over.
        start, page = since.astimezone(UTC).replace(microsecond=0, tzinfo=None), 1
        told: set[tuple[str, datetime]] = set()
        skipped: set[str] = set()
        while True:
            options = {
                "if_modified_since": start,
                "where": 'Type=="ACCREC"',
                "order": "UpdatedDateUTC ASC",
                "page": page,
                "page_size": _PAGE,
                "unitdp": 4,
            }
            each = await self._elements(tenant, Call("get_invoices", (), options))
            found = list(_readable(each, skipped))
            for booked in found:
                if (booked.id, booked.updated_at) not in told:
                    told.add((booked.id, booked.updated_at))
                    yield booked
            if len(each) < _PAGE:
                break
            last = found[-1].updated_at.replace(microsecond=0, tzinfo=None) - timedelta(seconds=1) if found else start
            start, page = (last, 1) if last > start else (start, page + 1)
        if skipped:
            log.warning("invoices that cannot be read are passed over", extra={"skipped": len(skipped)})

    async def _references(self, tenant: str, posting: Posting) -> References:
        """Contact and tax types. Of the invoice itself nothing has been sent while these are looked for."""
        try:
            types = await self._taxes.types(tenant, self._lane, posting.lines)
            contact = await self._contacts.id_of(tenant, self._lane, posting.contact_number, posting.contact_name)
        except OutcomeUnknown as unknown:
            raise NotSent(str(unknown)) from unknown
        return References(contact, self._account, types)

    async def _write(self, tenant: str, method: str, body: Any, key: str, **options: Any) -> Any:
        # Text, because the SDK would send Python's "False", which Xero does not know.
        told = {"summarize_errors": "false", "idempotency_key": key, **options}
        return await self._calls.call(tenant, self._lane, Call(method, (body,), told, write=True))

    async def _invoices(self, tenant: str, call: Call) -> list[Booked]:
        try:
            return [booked_of(each) for each in await self._elements(tenant, call)]
        except Unreadable as unreadable:
            raise unread(unreadable, write=False) from unreadable

    async def _elements(self, tenant: str, call: Call) -> list[dict[str, Any]]:
        """Sales invoices of an answer; bills have numbers too, and they are the suppliers'."""
        told = await self._calls.call(tenant, self._lane, call)
        if told is None:
            return []
        try:
            return [each for each in elements(told, "Invoices") if each.get("Type") == "ACCREC"]
        except Unreadable as unreadable:
            raise unread(unreadable, write=False) from unreadable


def _readable(each: Sequence[Mapping[str, Any]], skipped: set[str]) -> Iterator[Booked]:
    """What can be read; the ids of the rest are added to `skipped`. One that we do not understand is hardly ours, and
    must not keep the others from being read for ever."""
    for element in each:
        try:
            yield booked_of(element)
        except Unreadable:
            skipped.add(str(element.get("InvoiceID")))


def _answer(element: Mapping[str, Any]) -> Booked | Rejected:
    errors = validation_errors(element)
    if errors or element.get("StatusAttributeString") == "ERROR":
        return rejected(errors or ["Xero refused the invoice without saying why"])
    try:
        return booked_of(element)
    except Unreadable as unreadable:
        raise unread(unreadable, write=True) from unreadable


def _of_write(told: Any, name: str, count: int) -> list[dict[str, Any]]:
    """As many elements as were sent, in their order. Raises OutcomeUnknown."""
    try:
        found = elements(told, name)
    except Unreadable as unreadable:
        raise unread(unreadable, write=True) from unreadable
    if len(found) != count:
        raise unread(Unreadable(f"{len(found)} {name} for {count}"), write=True)
    return found
