"""SQL of what gave up: invoices that need a person, and jobs that are held."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, LiteralString

from server.db.pool import Connection

# A held job whose invoice needs a person anyway is told once.
LIST_DEAD_LETTERS: Final[LiteralString] = """
with stopped as (
    select number as job, order_id as "order", error_reason as reason, error_message as message, error_fix as fix,
           attempts, failed_at as fail_time
    from invoice
    where tenant = $1 and failed_at is not null
), held as (
    select 'job-' || id as job, coalesce(asked ->> 'order', '') as "order", 'INTERNAL' as reason,
           'The job ' || entrypoint || ' failed every time.' as message,
           'Retry the order''s invoice; if it fails again, the log of the worker says why.' as fix,
           attempts, updated as fail_time
    from pgqueuer, lateral (select convert_from(payload, 'utf8')::jsonb as asked) as carried
    where status = 'failed' and entrypoint = any($5::text[]) and asked ->> 'tenant' = $1
        and not exists (select from stopped where stopped."order" = asked ->> 'order')
)
select * from (select * from stopped union all select * from held) as letter
where $2::timestamptz is null or (fail_time, job) < ($2, $3::text)
order by fail_time desc, job desc
limit $4"""

_ENTRIES = ["post_invoice", "withdraw_invoice", "note_invoice", "fetch_invoice", "reconcile_invoices"]


async def page(
    connection: Connection, tenant: str, after: tuple[datetime, str] | None, limit: int
) -> list[Mapping[str, Any]]:
    """Newest first, behind the given (fail_time, job)."""
    time, job = after or (None, None)
    return [dict(row) for row in await connection.fetch(LIST_DEAD_LETTERS, tenant, time, job, limit, _ENTRIES)]


HELD_JOBS: Final[LiteralString] = """
select id from pgqueuer
where status = 'failed' and entrypoint in ('post_invoice', 'withdraw_invoice')
    and convert_from(payload, 'utf8')::jsonb @> jsonb_build_object('tenant', $1::text, 'order', $2::text)"""


async def held_jobs(connection: Connection, tenant: str, order: str) -> list[int]:
    """The held jobs of an order's invoices."""
    return [row["id"] for row in await connection.fetch(HELD_JOBS, tenant, order)]


COUNT_WAITING: Final[LiteralString] = """
select count(*) from invoice
where tenant = $1 and state in ('QUEUED', 'WAITING_BUDGET', 'SENDING', 'OUTCOME_UNKNOWN')"""


async def count_waiting(connection: Connection, tenant: str) -> int:
    """How many invoices are on their way."""
    found: int = await connection.fetchval(COUNT_WAITING, tenant)
    return found
