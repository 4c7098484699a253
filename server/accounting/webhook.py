"""Xero's webhooks: proven by an HMAC of the raw bytes, noted once, answered at once; jobs read what changed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from server.accounting import invoice_jobs, webhook_store
from server.audit.actions import Action, Decision
from server.audit.changes import Author
from server.db.pool import Connection, Database
from server.errors import AppError, Code, Reason
from server.settings import Secret

log = logging.getLogger(__name__)

_MOST = 1000  # events of one call that are looked at
_TEXT = 200  # characters of an id


@dataclass(frozen=True, slots=True)
class Changed:
    """One event: something of an organisation changed. Only ids come, so it must be read."""

    organisation: str
    category: str
    resource: str
    kind: str
    date: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one call brought; the numbers of its first and last event are 0 when it brought none."""

    events: Sequence[Changed]
    first: int
    last: int


TenantsOf = Callable[[Connection, str], Awaitable[Sequence[str]]]
"""The tenants that are connected to an organisation of the books; all that are connected for ''."""


class Webhooks:
    """The use case behind ReceiveXeroWebhook."""

    def __init__(self, database: Database, key: Secret, tenants_of: TenantsOf) -> None:
        self._database = database
        self._key = key
        self._tenants_of = tenants_of

    async def receive(self, author: Author, body: bytes, signature: str) -> None:
        """Raises UNAUTHENTICATED (WEBHOOK_SIGNATURE_INVALID). A body that is signed and says nothing we know is taken:
        Xero would send it for ever."""
        if not self._signed(body, signature):
            async with self._database.transaction() as connection:
                await author.record(
                    connection, Action.WEBHOOK_FORGED, (), {"bytes": len(body)}, decision=Decision.DENIED
                )
            raise AppError(
                Code.UNAUTHENTICATED,
                Reason.WEBHOOK_SIGNATURE_INVALID,
                "x-xero-signature does not fit the body",
            )
        delivery = read(body)
        if not delivery.events:
            return  # the intent to receive: only the signature counts
        async with self._database.transaction() as connection:
            await self._note(connection, delivery)

    def _signed(self, body: bytes, signature: str) -> bool:
        """Without a key nothing is believed."""
        expected = base64.b64encode(hmac.digest(self._key.reveal().encode(), body, hashlib.sha256))
        return hmac.compare_digest(expected, signature.encode()) and bool(self._key)

    async def _note(self, connection: Connection, delivery: Delivery) -> None:
        for event in delivery.events:
            fresh = await webhook_store.add_event(
                connection, event.organisation, event.resource, event.date, f"{event.category} {event.kind}"
            )
            if fresh and event.category == "INVOICE":
                for tenant in await self._tenants_of(connection, event.organisation):
                    await invoice_jobs.ask_fetch(connection, tenant, event.resource, event.date)
        if not delivery.last:
            return
        before = await webhook_store.advance_sequence(connection, delivery.last)
        if before is not None and delivery.first > before + 1:
            log.warning("webhooks are missing", extra={"after": before, "before": delivery.first})
            for tenant in await self._tenants_of(connection, ""):
                await invoice_jobs.ask_reconcile(connection, tenant)


def read(body: bytes) -> Delivery:
    """The events of a signed body; none when it is not what it should be."""
    try:
        tree = json.loads(body)
        events = tuple(_event(each) for each in tree["events"][:_MOST])
        first, last = (_number(tree.get(name)) for name in ("firstEventSequence", "lastEventSequence"))
        # What was not looked at is missing, as if it had not come.
        return Delivery(events, first, last if len(tree["events"]) <= _MOST else first + _MOST - 1)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        log.warning("a signed webhook could not be read", extra={"bytes": len(body)})
        return Delivery((), 0, 0)


def _number(told: Any) -> int:
    if told is None:
        return 0
    if not isinstance(told, int) or not 0 <= told < 2**63:
        raise ValueError("an event has no number")
    return told


def _event(tree: Any) -> Changed:
    fields = ("tenantId", "eventCategory", "resourceId", "eventType", "eventDateUtc")
    values = [tree[name] for name in fields]
    if not all(isinstance(value, str) and value and value.isascii() and value.isprintable() for value in values):
        raise ValueError("an event has fields that are no ids")
    return Changed(*(value[:_TEXT] for value in values))
