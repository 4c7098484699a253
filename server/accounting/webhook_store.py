"""SQL of webhooks and of how far the books' changes were read."""

from __future__ import annotations

from datetime import datetime
from typing import Final, LiteralString

from server.db.pool import Connection

ADD_EVENT: Final[LiteralString] = """
insert into webhook_event (organisation, resource, event_date, kind) values ($1, $2, $3, $4)
on conflict do nothing
returning true"""


async def add_event(connection: Connection, organisation: str, resource: str, date: str, kind: str) -> bool:
    """False when the event came before."""
    return bool(await connection.fetchval(ADD_EVENT, organisation, resource, date, kind))


# The row is locked to the end of the transaction, so that two calls at once see each other's numbers.
ADVANCE_SEQUENCE: Final[LiteralString] = """
with before as (
    select last_sequence from webhook_sequence where single for update
), advanced as (
    insert into webhook_sequence (last_sequence) values ($1)
    on conflict (single) do update set last_sequence = greatest(webhook_sequence.last_sequence, excluded.last_sequence)
)
select last_sequence from before"""


async def advance_sequence(connection: Connection, last: int) -> int | None:
    """Notes the number of the newest event; the one before it, None when there was none."""
    before: int | None = await connection.fetchval(ADVANCE_SEQUENCE, last)
    return before


READ_UNTIL: Final[LiteralString] = "select read_until from reconciliation where tenant = $1"


async def read_until(connection: Connection, tenant: str) -> datetime | None:
    """Until when the changes of the tenant's books were read."""
    found: datetime | None = await connection.fetchval(READ_UNTIL, tenant)
    return found


KEEP_READ_UNTIL: Final[LiteralString] = """
insert into reconciliation (tenant, read_until) values ($1, $2)
on conflict (tenant) do update set read_until = greatest(reconciliation.read_until, excluded.read_until)"""


async def keep_read_until(connection: Connection, tenant: str, until: datetime) -> None:
    await connection.execute(KEEP_READ_UNTIL, tenant, until)
