"""The events of the log, read: one, a page of a search, or a range in the order of the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from server.audit.actions import Action, Decision
from server.audit.leaf import Leaf, decode
from server.db.pool import Connection


@dataclass(frozen=True, slots=True)
class Event:
    """A leaf in its place. `encoded` is what was hashed."""

    tenant: str
    seq: int
    recorded_at: datetime
    encoded: bytes
    leaf_hash: bytes

    @property
    def leaf(self) -> Leaf:
        """The event itself."""
        return decode(self.encoded)


@dataclass(frozen=True, slots=True)
class Search:
    """What a page is narrowed to; what is empty does not narrow. Times are of the event, `since` included, `until` not.

    A resource is found whichever of an event's targets it is.
    """

    actor: str = ""
    actions: Sequence[Action] = ()
    resource: str = ""
    decision: Decision | None = None
    since: datetime | None = None
    until: datetime | None = None


SEARCHED = 512
"""Characters of an actor or a resource that are searched: an index takes no more than some 2,700 bytes."""

_COLUMNS: LiteralString = "tenant, seq, recorded_at, leaf as encoded, leaf_hash"


async def page(
    connection: Connection, tenant: str, search: Search, *, before: int | None = None, limit: int
) -> list[Event]:
    """At most `limit` events with a seq below `before`, newest first. The next page is before the last one's seq."""
    values: list[Any] = [tenant]
    conditions: list[LiteralString] = ["tenant = $1"]

    def narrow(condition: LiteralString, value: object) -> None:
        values.append(value)
        conditions.append(condition.replace("$", f"${len(values)}"))

    # Put together from literals, because one statement for all would be planned without the indexes.
    if before is not None:
        narrow("seq < $", before)
    if search.actor:
        narrow("actor = $", search.actor[:SEARCHED])
    if search.actions:
        narrow("action = any($::text[])", [action.value for action in search.actions])
    if search.resource:
        narrow("(resource = $ or (others <> '{}' and others @> array[$]))", search.resource[:SEARCHED])
    if search.decision is Decision.ALLOWED:
        narrow("decision = $", search.decision.value)
    elif search.decision is not None:
        narrow("decision = $ and decision <> 'ALLOWED'", search.decision.value)  # names the partial index
    if search.since:
        narrow("occurred_at >= $", search.since)
    if search.until:
        narrow("occurred_at < $", search.until)
    values.append(limit)
    rows = await connection.fetch(
        f"select {_COLUMNS} from audit_event where {' and '.join(conditions)} order by seq desc limit ${len(values)}",
        *values,
    )
    return [Event(**row) for row in rows]


_GET: LiteralString = f"select {_COLUMNS} from audit_event where tenant = $1 and seq = $2"


async def get(connection: Connection, tenant: str, seq: int) -> Event | None:
    """The event with this number; None when there is none, or when retention has dropped it."""
    row = await connection.fetchrow(_GET, tenant, seq)
    return Event(**row) if row else None


_SEQ_OF: LiteralString = "select seq from audit_event_id where event_id = $1 and tenant = $2"


async def find(connection: Connection, tenant: str, event_id: str) -> Event | None:
    """The event with this id; a leaf that is still on its way into the log is not found yet."""
    seq = await connection.fetchval(_SEQ_OF, event_id, tenant)
    return None if seq is None else await get(connection, tenant, seq)


_SPAN: LiteralString = f"""
    select {_COLUMNS} from audit_event where tenant = $1 and seq >= $2 and seq < $3 order by seq limit $4
"""


async def span(connection: Connection, tenant: str, start: int, end: int, limit: int) -> list[Event]:
    """At most `limit` events from `start` to before `end`, in the order of the log: for exports and for following."""
    return [Event(**row) for row in await connection.fetch(_SPAN, tenant, start, end, limit)]


_FIRST_KEPT: LiteralString = "select coalesce(max(last) + 1, 0) from audit_retired where tenant = $1"


async def first_kept(connection: Connection, tenant: str) -> int:
    """The number of the oldest event that retention has left."""
    first: int = await connection.fetchval(_FIRST_KEPT, tenant)
    return first
