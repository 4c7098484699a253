"""SQL of orders, their lines and the stock that they hold.

Notes, reasons and the words behind lines are sealed with the key of the person who placed the order.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final, LiteralString

from asyncpg import Record

from server.audit.sealing import ERASED, NO_KEYS, Keys, SubjectKey, Vault
from server.db.pool import Connection
from server.order.order import Order, impersonal, provenance_from, split, with_words, words_of
from server.order.pricing import Line, Priced
from server.order.states import State

NOTE, REASON, SAID = "order note", "order reason", "order line said"
"""The sealed fields."""

INSERT_ORDER: Final[LiteralString] = """
insert into customer_order (tenant, id, number, outlet, state, currency, subtotal, fees, tax, total, delivery_date,
                            note_box, conversation, proposal, person)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
on conflict (tenant, number) do nothing
returning true"""


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order to store; `proposal` is the bare id of the one that it comes from, or empty."""

    id: str
    number: str
    outlet: str
    state: State
    note: str = ""
    conversation: str = ""
    proposal: str = ""
    person: str = ""


async def insert(connection: Connection, vault: Vault, tenant: str, new: NewOrder, priced: Priced) -> bool:
    """Stores the order with its lines; False when the number is taken. Raises ConstraintViolated for a proposal that
    has its order already."""
    key = await vault.key_for(connection, tenant, new.person)
    stored = await connection.fetchval(
        INSERT_ORDER, tenant, new.id, new.number, new.outlet, new.state, priced.currency, priced.subtotal, priced.fees,
        priced.tax, priced.total, priced.delivery_date, _sealed(key, new.note, NOTE, new.id), new.conversation,
        new.proposal or None, new.person,
    )  # fmt: skip
    if stored:
        await _insert_lines(connection, key, new.id, 1, priced)
    return bool(stored)


INSERT_LINE: Final[LiteralString] = """
insert into order_line (tenant, order_id, revision, position, sku, description, quantity, unit, unit_price, tax_code,
                        tax_rate, line_total, line_tax, provenance, said_box)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"""


async def _insert_lines(connection: Connection, key: SubjectKey, order: str, revision: int, priced: Priced) -> None:
    rows = [
        (
            key.tenant, order, revision, position, line.sku, line.description, line.quantity, line.unit,
            line.unit_price, line.tax_code, line.tax_rate, line.line_total, line.line_tax,
            json.dumps(impersonal(line.provenance)), _said(key, line, order, revision, position),
        )
        for position, line in enumerate((*priced.lines, *priced.fee_lines), start=1)
    ]  # fmt: skip
    await connection.executemany(INSERT_LINE, rows)


def _said(key: SubjectKey, line: Line, order: str, revision: int, position: int) -> bytes | None:
    words = words_of(line.provenance)
    if not any(words):
        return None
    return key.seal(json.dumps(words, ensure_ascii=False), SAID, order, str(revision), str(position))


def _sealed(key: SubjectKey, text: str, *place: str) -> bytes | None:
    return key.seal(text, *place) if text else None


_COLUMNS: Final[LiteralString] = """
select id, number, outlet, state, revision, version, currency, delivery_date, note_box, conversation,
       hold_reasons, create_time, update_time, duplicate_of, duplicate_asked, person
from customer_order"""

SELECT_ORDER: Final[LiteralString] = _COLUMNS + " where tenant = $1 and id = $2 and ($3::text = '' or outlet = $3)"
LOCK_ORDER: Final[LiteralString] = SELECT_ORDER + " for no key update"


async def get(
    connection: Connection, vault: Vault, tenant: str, id: str, outlet: str, *, lock: bool = False
) -> Order | None:
    """The order, when it belongs to `outlet` ('': any); with `lock`, held until the transaction ends."""
    row = await connection.fetchrow(LOCK_ORDER if lock else SELECT_ORDER, tenant, id, outlet)
    return (await _with_lines(connection, vault, tenant, [row]))[0] if row else None


SELECT_ORDERS: Final[LiteralString] = _COLUMNS + " where tenant = $1 and id = any($2::text[])"


async def get_impersonal(connection: Connection, tenant: str, ids: Sequence[str]) -> list[Order]:
    """Orders without anything that people wrote: not to be stored again."""
    return await _with_lines(connection, None, tenant, await connection.fetch(SELECT_ORDERS, tenant, list(ids)))


_HAS_CONVERSATION: LiteralString = "select true from conversation where tenant = $1 and id = $2 and outlet = $3"


async def has_conversation(connection: Connection, tenant: str, conversation: str, outlet: str) -> bool:
    """Whether the conversation (its bare id) is one of the outlet's."""
    return bool(await connection.fetchval(_HAS_CONVERSATION, tenant, conversation, outlet))


LIST_ORDERS: Final[LiteralString] = (
    _COLUMNS
    + """
where tenant = $1 and ($2::text = '' or outlet = $2) and (cardinality($3::text[]) = 0 or state = any($3))
    and ($4::timestamptz is null or (create_time, id) < ($4, $5::text))
order by create_time desc, id desc
limit $6"""
)


async def page(
    connection: Connection,
    vault: Vault,
    tenant: str,
    outlet: str,
    states: Sequence[State],
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Order]:
    """Newest first, behind the given (create_time, id); `outlet` '' and no `states` mean all."""
    time, id = after or (None, None)
    rows = await connection.fetch(LIST_ORDERS, tenant, outlet, list(states), time, id, limit)
    return await _with_lines(connection, vault, tenant, rows)


RECENT_ORDERS: Final[LiteralString] = (
    _COLUMNS
    + """
where tenant = $1 and outlet = $2 and confirmed_at >= $3 and confirmed_at < $4
    and state not in ('CANCELLED', 'REJECTED')
order by confirmed_at desc
limit $5"""
)


async def confirmed_between(
    connection: Connection, vault: Vault, tenant: str, outlet: str, since: datetime, until: datetime, limit: int
) -> list[Order]:
    """The outlet's orders confirmed in [since, until) that stand, newest first."""
    rows = await connection.fetch(RECENT_ORDERS, tenant, outlet, since, until, limit)
    return await _with_lines(connection, vault, tenant, rows)


UPDATE_ORDER: Final[LiteralString] = """
update customer_order
set state = $3, note_box = $4, hold_reasons = $5, reason_box = $6,
    version = version + 1, update_time = now(),
    confirmed_at = case when $7 then now() else confirmed_at end
where tenant = $1 and id = $2"""


async def update(
    connection: Connection,
    vault: Vault,
    tenant: str,
    order: Order,
    *,
    confirmed: bool = False,
    decision_reason: str = "",
) -> None:
    """Stores the state, note and hold reasons of an order that this transaction has locked."""
    key = await vault.key_for(connection, tenant, order.person)
    note = _sealed(key, order.note, NOTE, order.id)
    reason = _sealed(key, decision_reason, REASON, order.id)
    await connection.execute(
        UPDATE_ORDER, tenant, order.id, order.state, note, list(order.hold_reasons), reason, confirmed
    )


UPDATE_PRICED: Final[LiteralString] = """
update customer_order
set revision = $3, currency = $4, subtotal = $5, fees = $6, tax = $7, total = $8, delivery_date = $9
where tenant = $1 and id = $2"""

DELETE_LINES: Final[LiteralString] = "delete from order_line where tenant = $1 and order_id = $2 and revision = $3"


async def replace_lines(
    connection: Connection, vault: Vault, tenant: str, order: Order, revision: int, priced: Priced
) -> None:
    """Makes `priced` the order's current revision. Lines of other revisions stay; only a draft's own are replaced."""
    await connection.execute(
        UPDATE_PRICED, tenant, order.id, revision, priced.currency, priced.subtotal, priced.fees, priced.tax,
        priced.total, priced.delivery_date,
    )  # fmt: skip
    await connection.execute(DELETE_LINES, tenant, order.id, revision)
    key = await vault.key_for(connection, tenant, order.person)
    await _insert_lines(connection, key, order.id, revision, priced)


# No new version: the question is asked of the order as the customer has seen it.
ASKED_DUPLICATE: Final[LiteralString] = """
update customer_order set duplicate_of = $3, duplicate_asked = $4::uuid where tenant = $1 and id = $2"""


async def asked_duplicate(connection: Connection, tenant: str, order: str, twin: str, request_id: str) -> None:
    """Remembers that `request_id` was told of the similar order `twin`."""
    await connection.execute(ASKED_DUPLICATE, tenant, order, twin, request_id)


# Products are locked by SKU, as every order does, so that two orders never wait for each other.
TAKE_STOCK: Final[LiteralString] = """
with wanted as (
    select sku, quantity from unnest($3::text[], $4::numeric[]) as asked (sku, quantity)
), counted as (
    select product.sku, wanted.quantity
    from product join wanted on wanted.sku = product.sku
    where product.tenant = $1 and product.stock is not null
    order by product.sku
    for no key update of product
), taken as (
    update product set stock = stock - counted.quantity
    from counted
    where product.tenant = $1 and product.sku = counted.sku and product.stock >= counted.quantity
    returning product.sku, counted.quantity
), held as (
    insert into order_stock (tenant, order_id, sku, quantity)
    select $1, $2, sku, quantity from taken
)
select counted.sku from counted where counted.sku not in (select sku from taken)"""


async def take_stock(connection: Connection, tenant: str, order: str, quantities: Mapping[str, Decimal]) -> list[str]:
    """Takes what is counted from stock for the order; the SKUs of which there was not enough, which must end the
    transaction."""
    rows = await connection.fetch(TAKE_STOCK, tenant, order, list(quantities), list(quantities.values()))
    return [row["sku"] for row in rows]


LOCK_PRODUCTS: Final[LiteralString] = """
select sku from product where tenant = $1 and sku = any($2::text[]) order by sku for no key update"""


async def lock_products(connection: Connection, tenant: str, skus: Collection[str]) -> None:
    """Takes all products at once that a change gives back and takes, in the one order."""
    await connection.fetch(LOCK_PRODUCTS, tenant, list(skus))


RETURN_STOCK: Final[LiteralString] = """
with held as (
    delete from order_stock where tenant = $1 and order_id = $2 returning sku, quantity
), counted as (
    select product.sku, held.quantity
    from product join held on held.sku = product.sku
    where product.tenant = $1 and product.stock is not null
    order by product.sku
    for no key update of product
)
update product set stock = stock + counted.quantity
from counted
where product.tenant = $1 and product.sku = counted.sku"""


async def return_stock(connection: Connection, tenant: str, order: str) -> None:
    """Gives back what the order holds."""
    await connection.execute(RETURN_STOCK, tenant, order)


HELD_STOCK: Final[LiteralString] = "select sku, quantity from order_stock where tenant = $1 and order_id = $2"


async def held_stock(connection: Connection, tenant: str, order: str) -> dict[str, Decimal]:
    """What the order holds, by SKU."""
    return {row["sku"]: row["quantity"] for row in await connection.fetch(HELD_STOCK, tenant, order)}


SELECT_LINES: Final[LiteralString] = """
select line.order_id, line.revision, position, sku, description, quantity, unit, unit_price, tax_code, tax_rate,
       line_total, line_tax, provenance, said_box
from unnest($2::text[], $3::int[]) as wanted (order_id, revision)
join order_line as line on line.tenant = $1 and line.order_id = wanted.order_id and line.revision = wanted.revision
order by line.order_id, position"""


async def _with_lines(connection: Connection, vault: Vault | None, tenant: str, rows: Sequence[Record]) -> list[Order]:
    """Without a vault, what people wrote is left out."""
    if not rows:
        return []
    ids, revisions = [row["id"] for row in rows], [row["revision"] for row in rows]
    found = await connection.fetch(SELECT_LINES, tenant, ids, revisions)
    boxes = [*(row["note_box"] for row in rows), *(line["said_box"] for line in found)]
    keys = await vault.keys_of(connection, tenant, boxes) if vault else NO_KEYS
    lines: dict[str, list[Line]] = {id: [] for id in ids}
    for line in found:
        lines[line["order_id"]].append(_line(line, keys))
    return [_order(row, tuple(lines[row["id"]]), keys) for row in rows]


def _line(row: Record, keys: Keys) -> Line:
    words = keys.text(row["said_box"], SAID, row["order_id"], str(row["revision"]), str(row["position"]))
    return Line(
        sku=row["sku"],
        description=row["description"],
        quantity=row["quantity"],
        unit=row["unit"],
        unit_price=row["unit_price"],
        tax_code=row["tax_code"],
        tax_rate=row["tax_rate"],
        line_total=row["line_total"],
        line_tax=row["line_tax"],
        provenance=with_words(provenance_from(json.loads(row["provenance"])), json.loads(words) if words else ()),
    )


def note_of(row: Record, keys: Keys, order: str) -> str:
    """The note of a row with a `note_box`."""
    if row["note_box"] is None:
        return ""
    opened = keys.text(row["note_box"], NOTE, order)
    return ERASED if opened is None else opened


def _order(row: Record, lines: tuple[Line, ...], keys: Keys) -> Order:
    products, fees = split(lines)
    day: date = row["delivery_date"]
    return Order(
        id=row["id"],
        number=row["number"],
        outlet=row["outlet"],
        state=State(row["state"]),
        revision=row["revision"],
        version=row["version"],
        currency=row["currency"],
        lines=products,
        fee_lines=fees,
        delivery_date=day,
        note=note_of(row, keys, row["id"]),
        conversation=row["conversation"],
        hold_reasons=tuple(row["hold_reasons"]),
        create_time=row["create_time"],
        update_time=row["update_time"],
        duplicate_of=row["duplicate_of"] or "",
        duplicate_asked=str(row["duplicate_asked"] or ""),
        person=row["person"],
    )
