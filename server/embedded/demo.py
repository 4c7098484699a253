"""The invented supplier behind `tria up`: one tenant, its outlets, catalogue and documents. Seeding again changes
nothing that is there already."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

from server.audit.changes import operator
from server.db.pool import Database, PoolSettings
from server.embedded.demo_books import connect_books
from server.embedded.demo_session import Demo, DemoOutlet
from server.embedded.stack import SeedTarget
from server.knowledge.wiring import KnowledgeSettings, open_knowledge
from server.order.catalogue import Catalogue
from server.order.catalogue_csv import read_catalogue

DATA = Path(__file__).parents[1] / "demo_data"
TENANT = "demo"
_SUFFIXES = {".md", ".txt", ".pdf"}

UPSERT_TENANT = """
insert into tenant (id, name, settings) values ($1, $2, jsonb_build_object('ordering', $3::jsonb, 'desk', $4::jsonb))
on conflict (id) do nothing
"""

UPSERT_OUTLET = """
insert into outlet (tenant, id, name, address, language, payment_terms_days, credit_hold, zone, minimum_order)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (tenant, id) do nothing
"""

# What the outlet ordered before it came to this system: it decides between products that fit a message equally.
SEED_USUAL = """
insert into outlet_usual (tenant, outlet, sku, orders, quantity, last_quantity, last_time)
select $1, $2, sku, 1, quantity, quantity, now() from unnest($3::text[], $4::numeric[]) as ordered (sku, quantity)
on conflict (tenant, outlet, sku) do nothing
"""

SEED_HABIT = """
insert into outlet_habit (tenant, outlet, orders, total)
select $1, $2, 1, sum(quantity * amount)
from unnest($3::text[], $4::numeric[]) as ordered (sku, quantity)
join product_price as price on price.tenant = $1 and price.sku = ordered.sku and price.valid_to is null
on conflict (tenant, outlet) do nothing
"""


def documents() -> list[Path]:
    """The files to import."""
    return [path for path in sorted((DATA / "documents").iterdir()) if path.suffix in _SUFFIXES]


async def seed(target: SeedTarget) -> Demo:
    """Puts the demo data in; returns when every document is found by words and by meaning."""
    settings = PoolSettings(min_size=1, max_size=4, application_name="tria-demo")
    async with Database(target.database_url, settings) as database:
        outlets = await seed_tenant(database)
        rows, errors = read_catalogue((DATA / "products.csv").read_bytes())
        if errors:
            raise ValueError(f"demo catalogue: {errors[0]}")
        await Catalogue(database).import_rows(operator(TENANT), rows)
        await seed_usual(database)
        async with open_knowledge(KnowledgeSettings(target.chroma_url), database) as knowledge:
            service = knowledge.service
            imported = [
                await service.import_document(operator(TENANT), path.name, path.read_bytes()) for path in documents()
            ]
            await service.wait_indexed(TENANT, [each.document.name for each in imported])
        await connect_books(database, TENANT)
    return Demo(TENANT, outlets)


async def seed_tenant(database: Database) -> list[DemoOutlet]:
    """The tenant and its outlets."""
    outlets = []
    rows = _outlets()
    async with database.transaction() as connection:
        settings = [(DATA / name).read_text("utf-8") for name in ("ordering.json", "desk.json")]
        await connection.execute(UPSERT_TENANT, TENANT, "Lumen Packaging", *settings)
        for row in rows:
            await connection.execute(
                UPSERT_OUTLET,
                TENANT,
                row["id"],
                row["name"],
                row["address"],
                row["language"],
                int(row["terms_days"]),
                row["credit_hold"] == "true",
                row["zone"],
                Decimal(row["minimum_order"] or 0),
            )
            outlets.append(DemoOutlet(row["id"], row["name"]))
    return outlets


async def seed_usual(database: Database) -> None:
    """What outlets usually order; their catalogue must be there."""
    async with database.transaction() as connection:
        for row in _outlets():
            if row["usual"]:
                skus, quantities = zip(*(each.split(":") for each in row["usual"].split(";")), strict=True)
                ordered = (TENANT, row["id"], list(skus), [Decimal(quantity) for quantity in quantities])
                await connection.execute(SEED_USUAL, *ordered)
                await connection.execute(SEED_HABIT, *ordered)


def _outlets() -> list[dict[str, str]]:
    with (DATA / "outlets.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
