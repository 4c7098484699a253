"""SQL of what gave up: invoices that need a person, and jobs that are held."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, LiteralString

from server.accounting.invoice_jobs import Entry
from server.accounting.invoice_store import UNSETTLED
from server.db.pool import Connection

_BY_PERSON = [Entry.POST, Entry.WITHDRAW]  # jobs that a person asks for again
_BY_CLOCK = [entry for entry in Entry if entry not in _BY_PERSON]

# A held job is told where its invoice is not what it should be, and does not need a person anyway. Payloads are read
# of our own jobs only: those of others need be no JSON.
LIST_DEAD_LETTERS: Final[LiteralString] = (
    """
with stopped as (
    select number as job, order_id as "order", error_reason as reason, error_message as message, error_fix as fix,
           attempts, failed_at as fail_time
    from invoice
    where tenant = $1 and failed_at is not null
), ours as materialized (
    select id, entrypoint, attempts, updated, convert_from(payload, 'utf8') as asked
    from (select * from pgqueuer where status = 'failed' and entrypoint = any($5::text[]) offset 0) as failed
), held as (
    select 'job-' || id as job, invoice.order_id as "order", 'INTERNAL' as reason,
           'The job ' || entrypoint || ' failed every time.' as message,
           'Retry the order''s invoice; if it fails again, the log of the worker says why.' as fix,
           ours.attempts, updated as fail_time
    from ours
    join invoice on invoice.tenant = asked::jsonb ->> 'tenant' and invoice.order_id = asked::jsonb ->> 'order'
        and invoice.revision = (asked::jsonb ->> 'revision')::int
    where invoice.tenant = $1 and ("""
    + UNSETTLED
    + """ or (withdrawn and state <> 'VOIDED'))
        and not exists (select from stopped where stopped."order" = invoice.order_id)
)
select * from (select * from stopped union all select * from held) as letter
where $2::timestamptz is null or (fail_time, job) < ($2, $3::text)
order by fail_time desc, job desc
limit $4"""
)


async def page(
    connection: Connection, tenant: str, after: tuple[datetime, str] | None, limit: int
) -> list[Mapping[str, Any]]:
    """Newest first, behind the given (fail_time, job)."""
    time, job = after or (None, None)
    rows = await connection.fetch(LIST_DEAD_LETTERS, tenant, time, job, limit, _BY_PERSON)
    return [dict(row) for row in rows]


RELEASE_HELD: Final[LiteralString] = """
with ours as materialized (
    select id, convert_from(payload, 'utf8') as asked
    from (select * from pgqueuer where status = 'failed' and entrypoint = any($3::text[]) offset 0) as failed
)
delete from pgqueuer using ours
where pgqueuer.id = ours.id and pgqueuer.status = 'failed'
    and asked::jsonb @> jsonb_build_object('tenant', $1::text, 'order', $2::text)
returning (asked::jsonb ->> 'revision')::int as revision"""


async def release_held(connection: Connection, tenant: str, order: str) -> list[int]:
    """Removes the held jobs of an order's invoices; the revisions that they were for. They are not put back, because
    another of the same key may wait already."""
    rows = await connection.fetch(RELEASE_HELD, tenant, order, _BY_PERSON)
    return [row["revision"] for row in rows]


# What nobody needs any more: reconciliation reads what a fetch would have, nothing depends on a note, and the invoice
# of the others came to its end without them.
FORGET_HELD: Final[LiteralString] = (
    """
with ours as materialized (
    select id, convert_from(payload, 'utf8') as asked
    from (select * from pgqueuer where status = 'failed' and entrypoint = any($2::text[]) offset 0) as failed
)
delete from pgqueuer
where status = 'failed' and (entrypoint = any($1::text[]) or id in (
    select id from ours where not exists (
        select from invoice
        where tenant = asked::jsonb ->> 'tenant' and order_id = asked::jsonb ->> 'order'
            and revision = (asked::jsonb ->> 'revision')::int
            and (failed_at is not null or """
    + UNSETTLED
    + """ or (withdrawn and state <> 'VOIDED'))
    )))
returning entrypoint"""
)


async def forget_held(connection: Connection) -> list[str]:
    """Removes held jobs that no person has to act on; their names."""
    return [row["entrypoint"] for row in await connection.fetch(FORGET_HELD, _BY_CLOCK, _BY_PERSON)]
