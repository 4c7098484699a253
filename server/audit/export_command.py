"""`tria audit export`: a tenant's trail into a file, from the database of the system that is configured or running."""

from __future__ import annotations

import asyncio
import math
import os
import sys
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from server.audit.changes import operator
from server.audit.export_file import AnotherExport, ExportFile
from server.audit.export_plan import Plan
from server.audit.exporting import Exporting, FormatName, format_of
from server.audit.operating import OfLog, log_of
from server.db.pool import Database, PoolSettings
from server.errors import AppError
from server.state_option import STATE_DIR


@click.command()
@click.option("--tenant", required=True, help="Whose trail; - is what belongs to no tenant.")
@click.option(
    "--format", "form", type=click.Choice([name.value for name in FormatName]), default="ndjson", show_default=True
)
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="From this record on.")
@click.option("--last", type=click.IntRange(0), help="To this record; by default the newest that is signed for.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File; by default standard output.")
@STATE_DIR
def export(tenant: str, form: str, first: int, last: int | None, out: Path | None, state_dir: Path | None) -> None:
    """Export a tenant's trail: NDJSON with proofs (for `tria audit verify`), OCSF for a SIEM, CSV for people.

    With --out an export that was interrupted goes on where it stopped. The export is itself in the trail.
    """
    log = log_of(os.environ, state_dir)
    try:
        asyncio.run(_export(log, tenant, FormatName(form), first, last, out))
    except AppError as error:
        kept = out is not None and ExportFile(out).begun() is not None
        again = "; the same command goes on where it stopped" if kept else ""
        raise click.ClickException(f"{error.message}{again}") from error
    except (AnotherExport, OSError) as error:
        raise click.ClickException(str(error)) from error


async def _export(log: OfLog, tenant: str, name: FormatName, first: int, last: int | None, out: Path | None) -> None:
    file = ExportFile(out) if out else None
    before = file.begun() if file else None
    settings = PoolSettings(min_size=1, max_size=1, application_name="tria-audit-export")
    async with Database(log.database_url, settings) as database:
        exporting = Exporting(database, log.keys, math.inf)
        resumed = before if before and (before.first, last or before.last) == (first, before.last) else None
        plan = await exporting.plan(
            tenant, first, resumed.last if resumed else last, tree_size=resumed.tree_size if resumed else None
        )
        await exporting.announce(operator(tenant), name, plan)
        if file is None:
            await _write(exporting, plan, name, sys.stdout.buffer, None)
            return
        part, start = file.open(plan, name)
        await _write(exporting, plan, name, part, start)
        file.finish(part)


async def _write(exporting: Exporting, plan: Plan, name: FormatName, file: BinaryIO, start: int | None) -> None:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("records", total=plan.count)
        async with aclosing(exporting.pieces(plan, format_of(name, plan), start)) as pieces:
            async for given in pieces:
                file.write(given.lines)
                progress.update(task, completed=given.next_seq - plan.first)
    file.flush()
    if file is not sys.stdout.buffer:
        _say(console, plan, start)


def _say(console: Console, plan: Plan, start: int | None) -> None:
    went_on = "" if start is None else f", from {start} on"
    console.print(
        f"records {plan.first} to {plan.last}{went_on}, under the checkpoint over {plan.tree_size}", highlight=False
    )
