"""What an outlet's confirmed orders teach: what is usual for it, and what it calls things."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, LiteralString

from server.audit.sealing import Vault
from server.db.pool import Connection
from server.order.holds import Habit
from server.order.order import Order
from server.order.pricing import Priced
from server.order.product_terms import normal

ALIAS = "alias"
_LONGEST_ALIAS = 120
_SURE = 0.5  # confidence below which a guess that was confirmed teaches nothing


@dataclass(frozen=True, slots=True)
class Usual:
    """A product that an outlet orders: in `orders` of its orders, `average` and lately `last` units."""

    sku: str
    orders: int
    average: Decimal
    last: Decimal


COUNT_HABIT: Final[LiteralString] = """
insert into outlet_habit (tenant, outlet, orders, total) values ($1, $2, $3, $4)
on conflict (tenant, outlet) do update
set orders = outlet_habit.orders + excluded.orders, total = outlet_habit.total + excluded.total"""

COUNT_USUAL: Final[LiteralString] = """
insert into outlet_usual (tenant, outlet, sku, orders, quantity, last_quantity, last_time)
select $1, $2, sku, 1, quantity, quantity, $5 from unnest($3::text[], $4::numeric[]) as ordered (sku, quantity)
on conflict (tenant, outlet, sku) do update
set orders = outlet_usual.orders + 1, quantity = outlet_usual.quantity + excluded.quantity,
    last_quantity = excluded.last_quantity, last_time = excluded.last_time"""

UNCOUNT_USUAL: Final[LiteralString] = """
update outlet_usual set orders = orders - 1, quantity = outlet_usual.quantity - ordered.quantity
from unnest($3::text[], $4::numeric[]) as ordered (sku, quantity)
where tenant = $1 and outlet = $2 and outlet_usual.sku = ordered.sku"""

UNCOUNT_HABIT: Final[LiteralString] = """
update outlet_habit set orders = orders - 1, total = total - $3 where tenant = $1 and outlet = $2"""

LEARN_ALIAS: Final[LiteralString] = """
insert into outlet_alias (tenant, outlet, alias, sku, last_time, alias_box, person)
select distinct on (alias, sku) $1, $2, alias, sku, $5::timestamptz, box, $7
from unnest($3::text[], $4::text[], $6::bytea[]) as said (alias, sku, box)
on conflict (tenant, outlet, alias, sku) do update
set times = outlet_alias.times + 1, last_time = excluded.last_time"""


async def learn(connection: Connection, vault: Vault, tenant: str, order: Order, priced: Priced, now: datetime) -> None:
    """Counts a confirmed order in as it is priced now. The caller holds the outlet's lock."""
    outlet = order.outlet
    await connection.execute(COUNT_HABIT, tenant, outlet, 1, priced.subtotal)
    quantities = units_by_sku(priced)
    await connection.execute(COUNT_USUAL, tenant, outlet, list(quantities), list(quantities.values()), now)
    if said := list(_said(priced)):
        key = await vault.key_for(connection, tenant, order.person)
        blind = [vault.people.blind(tenant, f"alias {outlet}", alias) for alias, _ in said]
        boxes = [key.seal(alias, ALIAS, outlet, hidden) for (alias, _), hidden in zip(said, blind, strict=True)]
        skus = [sku for _, sku in said]
        await connection.execute(LEARN_ALIAS, tenant, outlet, blind, skus, now, boxes, order.person)


async def forget(connection: Connection, tenant: str, order: Order) -> None:
    """Counts an order out again that was called off or is about to change; what was said stays learnt."""
    quantities = units_by_sku(order.priced)
    await connection.execute(UNCOUNT_HABIT, tenant, order.outlet, order.priced.subtotal)
    await connection.execute(UNCOUNT_USUAL, tenant, order.outlet, list(quantities), list(quantities.values()))


SELECT_HABIT: Final[LiteralString] = "select orders, total from outlet_habit where tenant = $1 and outlet = $2"

SELECT_USUAL: Final[LiteralString] = """
select sku, orders, quantity, last_quantity from outlet_usual
where tenant = $1 and outlet = $2 and orders > 0
order by orders desc, sku"""


async def habit(connection: Connection, tenant: str, outlet: str) -> Habit:
    """What the outlet has ordered so far."""
    row = await connection.fetchrow(SELECT_HABIT, tenant, outlet)
    if row is None:
        return Habit()
    rows = await connection.fetch(SELECT_USUAL, tenant, outlet)
    return Habit(row["orders"], row["total"], {each["sku"]: (each["orders"], each["quantity"]) for each in rows})


async def usual(connection: Connection, tenant: str, outlet: str) -> list[Usual]:
    """What "the usual" means for the outlet: the products of at least half of its orders, the most frequent first."""
    row = await connection.fetchrow(SELECT_HABIT, tenant, outlet)
    rows = await connection.fetch(SELECT_USUAL, tenant, outlet)
    return [
        Usual(each["sku"], each["orders"], each["quantity"] / each["orders"], each["last_quantity"])
        for each in rows
        if row is not None and each["orders"] * 2 >= row["orders"]
    ]


SELECT_ALIASES: Final[LiteralString] = """
select distinct on (alias) alias, alias_box, sku from outlet_alias
where tenant = $1 and outlet = $2
order by alias, times desc, last_time desc"""


async def aliases(connection: Connection, vault: Vault, tenant: str, outlet: str) -> dict[str, str]:
    """What the outlet calls which SKU, in the spelling of `product_terms.normal`; of several the most frequent."""
    rows = await connection.fetch(SELECT_ALIASES, tenant, outlet)
    keys = await vault.keys_of(connection, tenant, [row["alias_box"] for row in rows])
    opened = ((keys.text(row["alias_box"], ALIAS, outlet, row["alias"]), row["sku"]) for row in rows)
    return {alias: sku for alias, sku in opened if alias}


def units_by_sku(priced: Priced) -> dict[str, Decimal]:
    """Units of each product over all lines, by SKU in order: rows are locked in one order everywhere."""
    units: dict[str, Decimal] = {}
    for line in sorted(priced.lines, key=lambda line: line.sku):
        units[line.sku] = units.get(line.sku, Decimal(0)) + line.quantity
    return units


def _said(priced: Priced) -> Iterator[tuple[str, str]]:
    for line in priced.lines:
        for origin in line.provenance:
            words = " ".join(normal(origin.said).split())
            if words and len(words) <= _LONGEST_ALIAS and origin.confidence >= _SURE:
                yield words, line.sku
