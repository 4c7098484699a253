"""`tria products …`: the catalogue from the command line."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from server.audit.changes import operator
from server.db.pool import Database, PoolSettings
from server.errors import AppError
from server.order.catalogue import Catalogue, ImportReport
from server.order.catalogue_csv import CatalogueFileError, Row, read_catalogue
from server.state_dir import NotRunning, direct_database, environment
from server.state_option import STATE_DIR

# Rows per transaction: a kill loses at most these, and importing again stores what is missing.
_BATCH = 200
_MOST_ERRORS_SHOWN = 50


@click.group()
def products() -> None:
    """The catalogue: what a tenant sells and for how much."""


@products.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tenant", required=True, help="Tenant whose catalogue it is.")
@STATE_DIR
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def import_products(file: Path, tenant: str, state_dir: Path | None, as_json: bool) -> None:
    """Import a price list (CSV). Good rows are stored, bad ones listed; exit status 1 when there are bad ones."""
    dsn = _database_url(state_dir)
    try:
        rows, errors = read_catalogue(file.read_bytes())
        report = asyncio.run(_import(dsn, tenant, rows))
    except CatalogueFileError as error:
        raise click.ClickException(f"{file}: {error}") from error
    except AppError as error:
        raise click.ClickException(error.message) from error
    report.errors = sorted([*errors, *report.errors], key=lambda error: error.line)
    if as_json:
        click.echo(_as_json(report))
    else:
        _show(report)
    raise SystemExit(1 if report.errors else 0)


def _database_url(state_dir: Path | None) -> str:
    try:
        return direct_database(environment(os.environ, state_dir))
    except NotRunning as error:
        raise click.ClickException(str(error)) from error
    except KeyError as error:
        raise click.ClickException("TRIA_DATABASE_URL is not set") from error


async def _import(dsn: str, tenant: str, rows: Sequence[Row]) -> ImportReport:
    report = ImportReport()
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    async with Database(dsn, PoolSettings(min_size=1, max_size=1, application_name="tria-products")) as database:
        catalogue = Catalogue(database)
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("products", total=len(rows))
            for start in range(0, len(rows), _BATCH):
                batch = rows[start : start + _BATCH]
                report.add(await catalogue.import_rows(operator(tenant), batch))
                progress.advance(task, len(batch))
    return report


def _as_json(report: ImportReport) -> str:
    return json.dumps(
        {
            "created": report.created,
            "updated": report.updated,
            "unchanged": report.unchanged,
            "revision": report.revision,
            "errors": [{"line": error.line, "sku": error.sku, "message": error.message} for error in report.errors],
        },
        ensure_ascii=False,
    )


def _show(report: ImportReport) -> None:
    console = Console()
    stored = f"{report.created} created, {report.updated} updated, {report.unchanged} unchanged"
    console.print(f"{stored}, {len(report.errors)} refused", highlight=False)
    if not report.errors:
        return
    table = Table("line", "SKU", "why it was refused", title="Refused rows")
    for error in report.errors[:_MOST_ERRORS_SHOWN]:
        table.add_row(str(error.line), error.sku, error.message)
    console.print(table, markup=False)
    if (more := len(report.errors) - _MOST_ERRORS_SHOWN) > 0:
        console.print(f"and {more} more; --json lists all")
