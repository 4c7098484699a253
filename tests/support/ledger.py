"""A small ledger in the order database, in place of accounting: it books what orders ask for, in their transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from server.db.pool import Connection
from server.order.invoicing import InvoiceRequest, InvoiceState, InvoiceView
from server.order.money import Money

CREATE = """
create table if not exists ledger (
    tenant text, order_id text, revision int, number text, state text, currency text, total numeric(18, 2),
    line_sum numeric(18, 2), primary key (tenant, order_id, revision)
)"""


class Ledger:
    """`server.order.invoicing.Invoicing` with one row per order and revision; an earlier revision is VOIDED."""

    async def queue(self, connection: Connection, tenant: str, request: InvoiceRequest) -> None:
        added = await connection.fetchval(
            "insert into ledger values ($1, $2, $3, $4, 'QUEUED', $5, $6, $7) on conflict do nothing returning true",
            tenant,
            request.order,
            request.revision,
            f"{request.number}-R{request.revision}",
            request.total.currency,
            request.total.amount,
            sum(line.line_total + line.line_tax for line in request.lines),
        )
        if added:
            await connection.execute(
                "update ledger set state = 'VOIDED' where tenant = $1 and order_id = $2 and revision < $3",
                tenant,
                request.order,
                request.revision,
            )

    async def withdraw(self, connection: Connection, tenant: str, order: str) -> None:
        await connection.execute(
            "update ledger set state = 'VOIDED' where tenant = $1 and order_id = $2", tenant, order
        )

    async def views(self, connection: Connection, tenant: str, orders: Sequence[str]) -> Mapping[str, InvoiceView]:
        rows = await connection.fetch(
            "select distinct on (order_id) * from ledger where tenant = $1 and order_id = any($2) "
            "order by order_id, revision desc",
            tenant,
            list(orders),
        )
        return {
            row["order_id"]: InvoiceView(
                InvoiceState(row["state"]), row["number"], booked_total=Money(row["currency"], row["total"])
            )
            for row in rows
        }
