"""SQL of invoices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, LiteralString

from asyncpg import Record

from server.accounting.invoice import (
    Invoice,
    Problem,
    Totals,
    booked_from,
    booked_json,
    posting_from,
    posting_json,
)
from server.db.pool import Connection
from server.errors import Reason
from server.order.invoicing import InvoiceState, InvoiceView

INSERT_INVOICE: Final[LiteralString] = """
insert into invoice (tenant, order_id, revision, number, state, posting, currency, subtotal, tax, total, replaces)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"""


async def insert(connection: Connection, invoice: Invoice) -> None:
    totals = invoice.confirmed
    await connection.execute(
        INSERT_INVOICE, invoice.tenant, invoice.order, invoice.revision, invoice.number, invoice.state,
        posting_json(invoice.posting), totals.currency, totals.subtotal, totals.tax, totals.total, invoice.replaces,
    )  # fmt: skip


_COLUMNS: Final[LiteralString] = """
select tenant, order_id, revision, number, state, posting, currency, subtotal, tax, total, replaces, withdrawn, intent,
       turn, taken_until, attempts, next_attempt_time, send_key, send_count, first_sent_at, in_doubt, read_first,
       alone, absences, absent_at, undo_key, undo_sent_at, booked, error_reason, error_message, error_fix, failed_at
from invoice"""

LOCK_INVOICE: Final[LiteralString] = (
    _COLUMNS + " where tenant = $1 and order_id = $2 and revision = $3 for no key update"
)


async def lock(connection: Connection, tenant: str, order: str, revision: int) -> Invoice | None:
    """The invoice, held until the transaction ends."""
    row = await connection.fetchrow(LOCK_INVOICE, tenant, order, revision)
    return _invoice(row) if row else None


LOCK_ORDERS_INVOICES: Final[LiteralString] = (
    _COLUMNS + " where tenant = $1 and order_id = $2 order by revision for no key update"
)


async def lock_all(connection: Connection, tenant: str, order: str) -> list[Invoice]:
    """Every revision's invoice of an order, oldest first, held until the transaction ends."""
    return [_invoice(row) for row in await connection.fetch(LOCK_ORDERS_INVOICES, tenant, order)]


LOCK_BY_NUMBER: Final[LiteralString] = _COLUMNS + " where tenant = $1 and number = $2 for no key update"


async def lock_number(connection: Connection, tenant: str, number: str) -> Invoice | None:
    """The invoice of this number, held until the transaction ends."""
    row = await connection.fetchrow(LOCK_BY_NUMBER, tenant, number)
    return _invoice(row) if row else None


# Invoices that may go with another one: never sent or surely not arrived, due, and nothing earlier in their way.
LOCK_MATES: Final[LiteralString] = (
    _COLUMNS
    + """
where tenant = $1 and state in ('QUEUED', 'WAITING_BUDGET') and not withdrawn and not in_doubt and not read_first
    and not alone and (order_id, revision) <> ($2, $3)
    and (next_attempt_time is null or next_attempt_time <= $4) and (taken_until is null or taken_until <= $4)
    and not exists (select from invoice as earlier
                    where earlier.tenant = invoice.tenant and earlier.order_id = invoice.order_id
                        and earlier.revision < invoice.revision and earlier.state <> 'VOIDED')
order by create_time
limit $5
for no key update skip locked"""
)


async def lock_mates(connection: Connection, invoice: Invoice, now: datetime, limit: int) -> list[Invoice]:
    """Up to `limit` other invoices of the tenant that wait to be sent, oldest first; none that somebody else holds."""
    rows = await connection.fetch(LOCK_MATES, invoice.tenant, invoice.order, invoice.revision, now, limit)
    return [_invoice(row) for row in rows]


LOCK_SENT: Final[LiteralString] = _COLUMNS + " where tenant = $1 and send_key = $2 order by number for no key update"


async def lock_sent(connection: Connection, tenant: str, key: str) -> list[Invoice]:
    """All that were last sent with this key, by number."""
    return [_invoice(row) for row in await connection.fetch(LOCK_SENT, tenant, key)]


IS_BLOCKED: Final[LiteralString] = """
select exists (select from invoice where tenant = $1 and order_id = $2 and revision < $3 and state <> 'VOIDED')"""


async def is_blocked(connection: Connection, invoice: Invoice) -> bool:
    """Whether an earlier revision is, or may be, in the books."""
    found: bool = await connection.fetchval(IS_BLOCKED, invoice.tenant, invoice.order, invoice.revision)
    return found


SAVE_INVOICE: Final[LiteralString] = """
update invoice
set number = $4, state = $5, posting = $6, withdrawn = $7, intent = $8, turn = $9, taken_until = $10, attempts = $11,
    next_attempt_time = $12, send_key = $13, send_count = $14, first_sent_at = $15, in_doubt = $16, read_first = $17,
    alone = $18, absences = $19, absent_at = $20, undo_key = $21, undo_sent_at = $22, booked = $23,
    error_reason = $24, error_message = $25, error_fix = $26,
    failed_at = case when $27 then coalesce(failed_at, now()) end,
    update_time = now()
where tenant = $1 and order_id = $2 and revision = $3"""


async def save(connection: Connection, invoice: Invoice) -> None:
    """Stores an invoice that this transaction has locked."""
    problem = invoice.problem
    said = (problem.reason.value, problem.message, problem.fix) if problem else ("", "", "")
    await connection.execute(
        SAVE_INVOICE, invoice.tenant, invoice.order, invoice.revision, invoice.number, invoice.state,
        posting_json(invoice.posting), invoice.withdrawn, invoice.intent, invoice.turn, invoice.taken_until,
        invoice.attempts, invoice.next_attempt_time, invoice.send_key, invoice.send_count, invoice.first_sent_at,
        invoice.in_doubt, invoice.read_first, invoice.alone, invoice.absences, invoice.absent_at, invoice.undo_key,
        invoice.undo_sent_at, booked_json(invoice.booked), *said, invoice.stopped,
    )  # fmt: skip


# The newest of each order, or the one before it that keeps it from being posted.
SHOWN_INVOICES: Final[LiteralString] = """
select distinct on (order_id) order_id, number, state, attempts, next_attempt_time, error_message, booked
from invoice
where tenant = $1 and order_id = any($2::text[])
order by order_id, state = 'NEEDS_ATTENTION' desc, revision desc"""


async def views(connection: Connection, tenant: str, orders: Sequence[str]) -> dict[str, InvoiceView]:
    """How the orders show their invoices."""
    rows = await connection.fetch(SHOWN_INVOICES, tenant, list(orders))
    return {row["order_id"]: _view(row) for row in rows}


# Each revision waits until those before it have left the books.
SELECT_NEXT: Final[LiteralString] = (
    _COLUMNS + " where tenant = $1 and order_id = $2 and state <> 'VOIDED' order by revision limit 1"
)


async def next_of_order(connection: Connection, tenant: str, order: str) -> Invoice | None:
    """The oldest invoice of the order that is, or is to be, in the books."""
    row = await connection.fetchrow(SELECT_NEXT, tenant, order)
    return _invoice(row) if row else None


# As the index `invoice_unsettled` has it.
UNSETTLED: Final[LiteralString] = "state in ('QUEUED', 'WAITING_BUDGET', 'SENDING', 'OUTCOME_UNKNOWN')"

COUNT_WAITING: Final[LiteralString] = (
    "select count(*) as waiting, count(*) filter (where in_doubt or read_first or alone or state = 'SENDING') as apart "
    "from invoice where tenant = $1 and "
    + UNSETTLED
)  # fmt: skip


async def count_waiting(connection: Connection, tenant: str) -> tuple[int, int]:
    """How many invoices are on their way, and how many of them cost calls of their own."""
    row = await connection.fetchrow(COUNT_WAITING, tenant)
    return (row["waiting"], row["apart"]) if row else (0, 0)


COUNT_LEAVING: Final[LiteralString] = """
select count(*) from invoice where tenant = $1 and withdrawn and state <> 'VOIDED' and booked is not null"""


async def count_leaving(connection: Connection, tenant: str) -> int:
    """How many invoices are to be taken out of the books."""
    found: int = await connection.fetchval(COUNT_LEAVING, tenant)
    return found


# What nobody seems to work on, although it is not where it should be: a lost job, a killed worker. The dedupe key keeps
# a job that is only waiting from getting company; one that is held waits for a person.
STUCK_INVOICES: Final[LiteralString] = (
    _COLUMNS
    + " where ("
    + UNSETTLED
    + """
       or (withdrawn and state not in ('VOIDED', 'NEEDS_ATTENTION', 'NOT_CONNECTED')))
    and update_time < $1 and (next_attempt_time is null or next_attempt_time < $1)
    and not exists (select from invoice as earlier
                    where earlier.tenant = invoice.tenant and earlier.order_id = invoice.order_id
                        and earlier.revision < invoice.revision and earlier.state <> 'VOIDED')
    and not exists (select from pgqueuer
                    where status = 'failed' and dedupe_key in (
                        concat_ws(' ', $2::text, tenant, order_id, revision, intent),
                        concat_ws(' ', $3::text, tenant, order_id, revision, intent)))
order by update_time
limit 500"""
)


async def stuck(connection: Connection, since: datetime, jobs: tuple[str, str]) -> list[Invoice]:
    """Unsettled invoices that nothing has happened to since then and of which neither of the `jobs` is held."""
    return [_invoice(row) for row in await connection.fetch(STUCK_INVOICES, since, *jobs)]


LOCK_NOT_CONNECTED: Final[LiteralString] = (
    _COLUMNS
    + """
where tenant = $1 and (state = 'NOT_CONNECTED' or (state = 'NEEDS_ATTENTION'
                                                   and error_reason = 'ACCOUNTING_NOT_CONNECTED'))
order by create_time
limit $2
for no key update skip locked"""
)


async def lock_not_connected(connection: Connection, tenant: str, limit: int) -> list[Invoice]:
    """Invoices that wait for the books to be connected."""
    return [_invoice(row) for row in await connection.fetch(LOCK_NOT_CONNECTED, tenant, limit)]


TENANTS_NOT_CONNECTED: Final[LiteralString] = """
select distinct tenant from invoice
where state = 'NOT_CONNECTED' or error_reason = 'ACCOUNTING_NOT_CONNECTED'"""


async def tenants_not_connected(connection: Connection) -> list[str]:
    """Whose invoices wait for the books to be connected."""
    return [row["tenant"] for row in await connection.fetch(TENANTS_NOT_CONNECTED)]


WORTH_READING: Final[LiteralString] = """
select coalesce(
    (select $3::timestamptz is null or bool_or((booked ->> 'updated_at')::timestamptz < $3)
     from invoice where tenant = $1 and booked_id = $2 having count(*) > 0),
    exists (select from invoice where tenant = $1 and state in ('SENDING', 'OUTCOME_UNKNOWN')))"""


async def worth_reading(connection: Connection, tenant: str, booked_id: str, changed: datetime | None) -> bool:
    """Whether an invoice of the books can be one of ours (we know its id, or are waiting to learn one), and what we
    know of it is older than `changed`; the books tell us of our own writes too."""
    found: bool = await connection.fetchval(WORTH_READING, tenant, booked_id, changed)
    return found


def _view(row: Record) -> InvoiceView:
    booked = booked_from(row["booked"])
    return InvoiceView(
        state=InvoiceState(row["state"]),
        number=row["number"],
        attempts=row["attempts"],
        next_attempt_time=row["next_attempt_time"],
        last_error=row["error_message"],
        booked_total=booked.total if booked else None,
    )


def _invoice(row: Record) -> Invoice:
    problem = None
    if row["error_reason"]:
        problem = Problem(Reason(row["error_reason"]), row["error_message"], row["error_fix"])
    same = (
        "tenant", "revision", "number", "replaces", "withdrawn", "intent", "turn", "taken_until", "attempts",
        "next_attempt_time", "send_key", "send_count", "first_sent_at", "in_doubt", "read_first", "alone", "absences",
        "absent_at", "undo_key", "undo_sent_at", "failed_at",
    )  # fmt: skip
    return Invoice(
        **{name: row[name] for name in same},
        order=row["order_id"],
        state=InvoiceState(row["state"]),
        posting=posting_from(row["posting"]),
        confirmed=Totals(row["currency"], row["subtotal"], row["tax"], row["total"]),
        booked=booked_from(row["booked"]),
        problem=problem,
    )
