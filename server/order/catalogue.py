"""The catalogue: importing, reading and searching products of one tenant."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from server.audit.actions import Action
from server.audit.changes import Author
from server.db.pool import Connection, Database
from server.errors import not_found
from server.order import catalogue_store as store
from server.order.catalogue_csv import Row
from server.order.catalogue_store import Stored
from server.order.product import CatalogueProduct, RowError, faults
from server.order.product_ranking import Match, rank, searchable
from server.order.product_terms import han, query_terms
from server.tenants import ensure_tenant

# What one search ranks at most; a query of one common word in a large catalogue fits thousands of products.
_CANDIDATES = 120
# Products read at once when all are wanted.
_PORTION = 1000
# Only Latin words are looked up by likeness; shorter ones resemble too much.
_MISSPELT = re.compile(r"[a-z]{4,}")


@dataclass(slots=True)
class ImportReport:
    """What an import did; `revision` is the catalogue's afterwards."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    revision: int = 0
    errors: list[RowError] = field(default_factory=list)

    def add(self, other: ImportReport) -> None:
        """Count the next batch in."""
        self.created += other.created
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.revision = max(self.revision, other.revision)
        self.errors += other.errors


class Catalogue:
    """What a tenant sells. Every method takes the tenant first and sees no other's rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def import_rows(self, author: Author, rows: Sequence[Row]) -> ImportReport:
        """Store one batch in one transaction; a bad row is reported and stops none of the others. Running it again
        changes nothing. Of two rows with one SKU the first is stored."""
        tenant, report = author.caller.tenant, ImportReport()
        good = list(_checked(rows, report))
        async with self._database.transaction() as connection:
            await ensure_tenant(connection, tenant)
            await _store(connection, tenant, good, report)
            if report.created or report.updated:
                counts = {"created": report.created, "updated": report.updated, "revision": report.revision}
                await author.record(connection, Action.CATALOGUE_IMPORT, ("products/-",), counts)
        report.errors.sort(key=lambda error: error.line)
        return report

    async def get(self, tenant: str, sku: str) -> CatalogueProduct:
        """The product with today's price, sold or not. Raises NOT_FOUND."""
        async with self._database.connection() as connection:
            found = await store.get(connection, tenant, [sku])
        if sku not in found:
            raise not_found(f"products/{sku}")
        return found[sku]

    async def on_sale(self, tenant: str, skus: Sequence[str]) -> list[Match]:
        """Those of the products that are sold, with today's price and stock."""
        async with self._database.connection() as connection:
            found = await store.get(connection, tenant, skus)
        return [Match(product, 1.0) for product in found.values() if product.active]

    async def page(
        self, tenant: str, after: str, limit: int, *, category: str = "", inactive: bool = False
    ) -> tuple[list[CatalogueProduct], bool]:
        """At most `limit` products by SKU behind `after`, and whether there are more."""
        async with self._database.connection() as connection:
            found = await store.page(connection, tenant, after, limit + 1, category=category, inactive=inactive)
        return found[:limit], len(found) > limit

    async def everything(self, tenant: str) -> list[CatalogueProduct]:
        """Every product on sale, by SKU."""
        found: list[CatalogueProduct] = []
        more = True
        while more:
            after = found[-1].sku if found else ""
            portion, more = await self.page(tenant, after, _PORTION)
            found += portion
        return found

    async def revision(self, tenant: str) -> int:
        """Rises with every change; caches of answers carry it in their keys."""
        async with self._database.connection() as connection:
            return await store.revision(connection, tenant)

    async def search(self, tenant: str, query: str, limit: int) -> list[Match]:
        """Products on sale that fit `query` in any of the three languages, best first."""
        asked = query_terms(query)
        if not asked:
            return []
        async with self._database.connection() as connection:
            candidates = await _candidates(connection, tenant, asked)
        return rank(query, map(searchable, candidates), limit)


async def _store(connection: Connection, tenant: str, rows: Sequence[Row], report: ImportReport) -> None:
    now = await store.lock(connection, tenant)
    known = await store.spellings(connection, tenant, [row.product.sku for row in rows])
    counts: Counter[Stored] = Counter()
    for row in rows:
        spelling = known.get(row.product.sku.lower(), row.product.sku)
        if spelling == row.product.sku:
            counts[await store.put(connection, tenant, row.product, now)] += 1
        else:
            report.errors.append(RowError(row.line, row.product.sku, f"sku: known as {spelling}"))
    changed = counts[Stored.CREATED] + counts[Stored.UPDATED]
    report.revision = await (store.bump if changed else store.revision)(connection, tenant)
    report.created, report.updated, report.unchanged = (counts[outcome] for outcome in Stored)


async def _candidates(connection: Connection, tenant: str, asked: Sequence[str]) -> list[CatalogueProduct]:
    """Products with a term of the query, or with a word like one that no product of these has."""
    exact = [*asked, *(char for term in asked for char in han(term))]
    found = await store.find(connection, tenant, exact, _CANDIDATES)
    known = {term for product in found for term in searchable(product).strength}
    odd = [term for term in asked if term not in known and _MISSPELT.fullmatch(term)]
    similar = await store.find_similar(connection, tenant, odd, _CANDIDATES) if odd else []
    return list({product.sku: product for product in (*found, *similar)}.values())


def _checked(rows: Iterable[Row], report: ImportReport) -> Iterable[Row]:
    """The rows that may be stored; what is wrong with the others goes into the report."""
    first_seen: dict[str, Row] = {}
    for row in rows:
        found = list(faults(row.product))
        first = first_seen.setdefault(row.product.sku.lower(), row)
        if first is not row:
            found.append(f"sku: the same as on line {first.line}")
        if found:
            report.errors.append(RowError(row.line, row.product.sku[:64], "; ".join(found)[:500]))
        else:
            yield row
