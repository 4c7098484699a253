"""What can be ordered now: products with the price that is valid at a moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, LiteralString

from server.db.pool import Connection
from server.order.pricing import Offer

SELECT_OFFERS: Final[LiteralString] = """
select product.sku, name, unit, tax_code, price.amount as price, name_zh, name_ms, min_quantity, stock, active
from product
left join product_price as price
    on price.tenant = product.tenant and price.sku = product.sku and price.currency = $3
    and price.valid_from <= $4 and (price.valid_to is null or price.valid_to > $4)
where product.tenant = $1 and product.sku = any($2::text[])"""


async def offers(
    connection: Connection, tenant: str, skus: Sequence[str], currency: str, now: datetime
) -> dict[str, Offer]:
    """Products with their price in `currency` at `now`, by SKU; unknown ones are left out."""
    rows = await connection.fetch(SELECT_OFFERS, tenant, list(skus), currency, now)
    return {row["sku"]: Offer(**row) for row in rows}
