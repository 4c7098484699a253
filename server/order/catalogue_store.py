"""SQL of the catalogue: products, their prices over time, and the revision that caches are keyed by."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Final, LiteralString

from asyncpg import Record

from server.db.pool import Connection
from server.order.money import Money
from server.order.product import CatalogueProduct
from server.order.product_terms import normal, stored_terms


class Stored(Enum):
    """What storing a product changed."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


_LOCK: Final[LiteralString] = """
insert into catalogue_revision (tenant) values ($1)
on conflict (tenant) do update set revision = catalogue_revision.revision
returning clock_timestamp() as now"""


async def lock(connection: Connection, tenant: str) -> datetime:
    """Take the tenant's turn to change the catalogue, to the end of the transaction. The time returned lies after
    every change made before, which the clock of the transaction's start does not promise."""
    now: datetime = await connection.fetchval(_LOCK, tenant)
    return now


_BUMP: Final[LiteralString] = """
update catalogue_revision set revision = revision + 1, changed_at = now() where tenant = $1 returning revision"""


async def bump(connection: Connection, tenant: str) -> int:
    """The catalogue has changed: the next revision. Call after `lock`."""
    revision: int = await connection.fetchval(_BUMP, tenant)
    return revision


_REVISION: Final[LiteralString] = "select revision from catalogue_revision where tenant = $1"


async def revision(connection: Connection, tenant: str) -> int:
    """The catalogue's revision; 0 for a tenant that has never imported."""
    found: int | None = await connection.fetchval(_REVISION, tenant)
    return found or 0


_SPELLINGS: Final[LiteralString] = """
select lower(sku) as folded, sku from product where tenant = $1 and lower(sku) = any($2::text[])"""


async def spellings(connection: Connection, tenant: str, skus: Sequence[str]) -> dict[str, str]:
    """How known SKUs are written, by their lower-case form."""
    rows = await connection.fetch(_SPELLINGS, tenant, [sku.lower() for sku in skus])
    return {row["folded"]: row["sku"] for row in rows}


_UPSERT: Final[LiteralString] = """
insert into product as old (tenant, sku, name, name_zh, name_ms, aliases, unit, pack_size, tax_code, min_quantity,
                            stock, category, active, search_terms, search_text)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, array_to_tsvector($14), $15)
on conflict (tenant, sku) do update
set name = excluded.name, name_zh = excluded.name_zh, name_ms = excluded.name_ms, aliases = excluded.aliases,
    unit = excluded.unit, pack_size = excluded.pack_size, tax_code = excluded.tax_code,
    min_quantity = excluded.min_quantity, stock = excluded.stock, category = excluded.category,
    active = excluded.active, search_terms = excluded.search_terms, search_text = excluded.search_text,
    updated_at = now()
where (old.name, old.name_zh, old.name_ms, old.aliases, old.unit, old.pack_size, old.tax_code, old.min_quantity,
       old.stock, old.category, old.active, old.search_terms, old.search_text)
      is distinct from
      (excluded.name, excluded.name_zh, excluded.name_ms, excluded.aliases, excluded.unit, excluded.pack_size,
       excluded.tax_code, excluded.min_quantity, excluded.stock, excluded.category, excluded.active,
       excluded.search_terms, excluded.search_text)
returning xmax = 0 as created"""


async def put(connection: Connection, tenant: str, product: CatalogueProduct, now: datetime) -> Stored:
    """Store the product as it is given; its price begins `now` when it differs from the valid one."""
    terms = stored_terms(product)
    words = normal(" ".join((product.sku, product.name, product.name_zh, product.name_ms, *product.aliases)))
    row = await connection.fetchrow(
        _UPSERT,
        tenant,
        product.sku,
        product.name,
        product.name_zh,
        product.name_ms,
        list(product.aliases),
        product.unit,
        product.pack_size,
        product.tax_code,
        product.min_quantity,
        product.stock,
        product.category,
        product.active,
        terms,
        words,
    )
    repriced = await _put_price(connection, tenant, product, now)
    if row is not None and row["created"]:
        return Stored.CREATED
    return Stored.UPDATED if row is not None or repriced else Stored.UNCHANGED


_NEW_PRICE: Final[LiteralString] = """
with ended as (
    update product_price set valid_to = $5
    where tenant = $1 and sku = $2 and valid_to is null and (currency, amount) is distinct from ($3, $4::numeric)
    returning sku
)
insert into product_price (tenant, sku, currency, amount, valid_from)
select $1, $2, $3, $4, $5
where exists (select from ended)
   or not exists (select from product_price where tenant = $1 and sku = $2 and valid_to is null)
returning sku"""


async def _put_price(connection: Connection, tenant: str, product: CatalogueProduct, now: datetime) -> bool:
    price = product.price
    row = await connection.fetchval(_NEW_PRICE, tenant, product.sku, price.currency, price.amount, now)
    return row is not None


_GET: Final[LiteralString] = """
select product.sku, name, name_zh, name_ms, aliases, unit, pack_size, tax_code, min_quantity, stock, category, active,
       price.currency, price.amount
from product
join product_price as price on price.tenant = product.tenant and price.sku = product.sku and price.valid_to is null
where product.tenant = $1 and product.sku = any($2::text[])"""


async def get(connection: Connection, tenant: str, skus: Sequence[str]) -> dict[str, CatalogueProduct]:
    """Products with today's price, by SKU; unknown ones are left out, those not sold any more are not."""
    rows = await connection.fetch(_GET, tenant, list(skus))
    return {row["sku"]: _product(row) for row in rows}


_LIST: Final[LiteralString] = """
select product.sku, name, name_zh, name_ms, aliases, unit, pack_size, tax_code, min_quantity, stock, category, active,
       price.currency, price.amount
from product
join product_price as price on price.tenant = product.tenant and price.sku = product.sku and price.valid_to is null
where product.tenant = $1 and product.sku > $2 collate "C" and ($3 = '' or category = $3) and (active or $4)
order by product.sku
limit $5"""


async def page(
    connection: Connection, tenant: str, after: str, limit: int, *, category: str = "", inactive: bool = False
) -> list[CatalogueProduct]:
    """At most `limit` products by SKU, beginning behind `after`."""
    rows = await connection.fetch(_LIST, tenant, after, category, inactive, limit)
    return [_product(row) for row in rows]


_FIND: Final[LiteralString] = """
select product.sku, name, name_zh, name_ms, aliases, unit, pack_size, tax_code, min_quantity, stock, category, active,
       price.currency, price.amount
from product
join product_price as price on price.tenant = product.tenant and price.sku = product.sku and price.valid_to is null
where product.tenant = $1 and active and search_terms @@ $2::text::tsquery
order by ts_rank(search_terms, $2::text::tsquery) desc, product.sku
limit $3"""


async def find(connection: Connection, tenant: str, terms: Sequence[str], limit: int) -> list[CatalogueProduct]:
    """Products on sale with any of the terms, those with most of them first."""
    query = " | ".join(_quoted(term) for term in terms)
    rows = await connection.fetch(_FIND, tenant, query, limit)
    return [_product(row) for row in rows]


_FIND_SIMILAR: Final[LiteralString] = """
select distinct product.sku, name, name_zh, name_ms, aliases, unit, pack_size, tax_code, min_quantity, stock, category,
       active, price.currency, price.amount
from unnest($2::text[]) as typed
join product on product.tenant = $1 and active and typed <% search_text
join product_price as price on price.tenant = product.tenant and price.sku = product.sku and price.valid_to is null
order by product.sku
limit $3"""


async def find_similar(connection: Connection, tenant: str, words: Sequence[str], limit: int) -> list[CatalogueProduct]:
    """Products on sale with a word that looks like one of `words` (pg_trgm's word similarity of 0.6 or more)."""
    rows = await connection.fetch(_FIND_SIMILAR, tenant, list(words), limit)
    return [_product(row) for row in rows]


def _quoted(term: str) -> str:
    """A lexeme of tsquery's text form, taken literally whatever the customer typed."""
    return "'" + term.replace("\\", "\\\\").replace("'", "''") + "'"


def _product(row: Record) -> CatalogueProduct:
    return CatalogueProduct(
        sku=row["sku"],
        name=row["name"],
        unit=row["unit"],
        pack_size=row["pack_size"],
        price=Money(row["currency"], row["amount"]),
        tax_code=row["tax_code"],
        name_zh=row["name_zh"],
        name_ms=row["name_ms"],
        aliases=tuple(row["aliases"]),
        min_quantity=row["min_quantity"],
        stock=row["stock"],
        category=row["category"],
        active=row["active"],
    )
