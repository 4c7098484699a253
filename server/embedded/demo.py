"""The invented supplier behind `tria up`: one tenant, its outlets, catalogue and documents. Seeding again changes
nothing that is there already."""

from __future__ import annotations

import csv
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
insert into tenant (id, name, settings) values ($1, $2, jsonb_build_object('ordering', $3::jsonb))
on conflict (id) do nothing
"""

UPSERT_OUTLET = """
insert into outlet (tenant, id, name, address, language, payment_terms_days, credit_hold, zone)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (tenant, id) do nothing
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
    with (DATA / "outlets.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    async with database.transaction() as connection:
        await connection.execute(UPSERT_TENANT, TENANT, "Lumen Packaging", (DATA / "ordering.json").read_text("utf-8"))
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
            )
            outlets.append(DemoOutlet(row["id"], row["name"]))
    return outlets
