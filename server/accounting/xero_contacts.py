"""Xero's contact of each outlet: found by ContactNumber, made exactly once, remembered."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from xero_python.accounting.models import Contact, Contacts

from server.accounting.books import Rejected
from server.accounting.budget import Lane
from server.accounting.xero_calls import Call, XeroCalls, unread
from server.accounting.xero_errors import rejected, validation_errors
from server.accounting.xero_wire import Unreadable, elements

_KEPT = 3600.0  # seconds
_MOST_KEPT = 10_000
_LONGEST_NUMBER = 50
_LONGEST_NAME = 255


class XeroContacts:
    """Contact ids by tenant and outlet."""

    def __init__(self, calls: XeroCalls) -> None:
        self._calls = calls
        self._known: OrderedDict[tuple[str, str], tuple[float, str]] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Lock] = {}

    async def id_of(self, tenant: str, lane: Lane, outlet: str, name: str) -> str:
        """The contact's id; it is made under `name` when there is none. Raises BooksError."""
        number = _number(outlet)
        key = (tenant, number)
        if (known := self._remembered(key)) is not None:
            return known
        lock = self._asking.setdefault(key, asyncio.Lock())
        try:
            async with lock:  # of twenty first orders of one outlet, one asks
                if (known := self._remembered(key)) is not None:
                    return known
                found = await self._find(tenant, lane, number)
                if found is None:
                    found = await self._make(tenant, lane, number, name.strip()[:_LONGEST_NAME])
                self._remember(key, found)
                return found
        finally:
            if not lock.locked():
                self._asking.pop(key, None)

    def forget(self, tenant: str, outlet: str) -> None:
        """For a contact that Xero refused: it may have been archived or merged."""
        self._known.pop((tenant, _number(outlet)), None)

    async def _find(self, tenant: str, lane: Lane, number: str) -> str | None:
        told = await self._calls.call(tenant, lane, Call("get_contact_by_contact_number", (number,)))
        return None if told is None else _id(_only(told))

    async def _make(self, tenant: str, lane: Lane, number: str, name: str) -> str:
        """Xero wants names to be unique: where this one is taken the outlet's number tells the two apart."""
        try:
            return await self._put(tenant, lane, number, name)
        except Rejected as clash:
            if not any("assigned to another contact" in text for text in clash.messages):
                raise
        # Another process may have made it a moment ago; and else it is another customer's name.
        found = await self._find(tenant, lane, number)
        if found is not None:
            return found
        suffix = f" ({number})"
        return await self._put(tenant, lane, number, name[: _LONGEST_NAME - len(suffix)] + suffix)

    async def _put(self, tenant: str, lane: Lane, number: str, name: str) -> str:
        # The key is the same in every process: of two that make the contact at once, the second is told of the first's.
        key = hashlib.sha256(f"contact\0{tenant}\0{number}\0{name}".encode()).hexdigest()
        body = Contacts(contacts=[Contact(contact_number=number, name=name)])
        options = {"summarize_errors": "false", "idempotency_key": key}
        told = await self._calls.call(tenant, lane, Call("create_contacts", (body,), options, write=True))
        element = _only(told)
        if errors := validation_errors(element):
            raise rejected(errors)
        return _id(element)

    def _remembered(self, key: tuple[str, str]) -> str | None:
        at, id = self._known.get(key, (0.0, ""))
        return id if id and time.monotonic() - at < _KEPT else None

    def _remember(self, key: tuple[str, str], id: str) -> None:
        self._known[key] = (time.monotonic(), id)
        self._known.move_to_end(key)
        if len(self._known) > _MOST_KEPT:
            self._known.popitem(last=False)


def _number(outlet: str) -> str:
    """The outlet's id, shortened to what Xero keeps without two becoming one."""
    if len(outlet) <= _LONGEST_NUMBER:
        return outlet
    return outlet[:37] + "-" + hashlib.sha256(outlet.encode()).hexdigest()[:12]


def _only(told: Any) -> Mapping[str, Any]:
    try:
        (element,) = elements(told, "Contacts")
    except (Unreadable, ValueError) as cause:
        raise unread(Unreadable("not one contact"), write=False) from cause
    return element


def _id(element: Mapping[str, Any]) -> str:
    id = element.get("ContactID")
    if not isinstance(id, str) or not id:
        raise unread(Unreadable("a contact without its id"), write=False)
    return id
