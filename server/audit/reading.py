"""Reading the trail: a page of a search, and one event."""

from __future__ import annotations

from typing import LiteralString
from uuid import UUID

from server.audit import events
from server.audit.events import Event, Search
from server.audit.leaf import decode, leaf_hash
from server.db.pool import Connection, Database
from server.errors import invalid, not_found
from server.paging import PageTokens, page_size

PENDING = -1
"""The seq of an event that is recorded and not in its place yet."""


class AuditReading:
    """The use cases behind ListEvents and GetEvent."""

    def __init__(self, database: Database, tokens: PageTokens) -> None:
        self._database = database
        self._tokens = tokens

    async def page(self, tenant: str, search: Search, size: int, token: str) -> tuple[list[Event], str]:
        """(events, newest first; where the next page begins, empty at the end). Raises INVALID_ARGUMENT for a token of
        another search."""
        if search.since and search.until and search.since >= search.until:
            raise invalid("end_time", "must be after start_time")
        query = _query(tenant, search)
        wanted = self._tokens.read(query, token, page_size(size))
        before = int(wanted.after[0]) if wanted.after else None
        async with self._database.connection() as connection:
            found = await events.page(connection, tenant, search, before=before, limit=wanted.size + 1)
        shown = found[: wanted.size]
        return shown, self._tokens.make(query, (str(shown[-1].seq),)) if len(found) > wanted.size else ""

    async def get(self, tenant: str, event_id: str) -> Event:
        """Also one that is still on its way into the log. Raises NOT_FOUND, the same for another tenant's, and
        INVALID_ARGUMENT for what is no id."""
        try:
            UUID(event_id)
        except ValueError as cause:
            raise invalid("name", "must be audit/events/ and a UUID") from cause
        async with self._database.connection() as connection:
            found = await events.find(connection, tenant, event_id) or await _pending(connection, tenant, event_id)
            # It may have been put in its place between the two.
            found = found or await events.find(connection, tenant, event_id)
        if found is None:
            raise not_found(f"audit/events/{event_id}")
        return found


_PENDING: LiteralString = "select leaf from audit_pending where event_id = $1 and tenant = $2"


async def _pending(connection: Connection, tenant: str, event_id: str) -> Event | None:
    """The event while it waits for its place in the log."""
    encoded = await connection.fetchval(_PENDING, event_id, tenant)
    if encoded is None:
        return None
    return Event(tenant, PENDING, decode(encoded).occurred_at, encoded, leaf_hash(encoded))


def _query(tenant: str, search: Search) -> str:
    narrowed = (
        search.actor,
        " ".join(sorted(search.actions)),
        search.resource,
        search.decision or "",
        search.since.isoformat() if search.since else "",
        search.until.isoformat() if search.until else "",
    )
    return "\n".join(("ListEvents", tenant, *narrowed))
