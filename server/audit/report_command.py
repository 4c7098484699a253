"""`tria audit report`: a period of a tenant's trail, summarised for compliance."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import click

from server.audit.actions import Action
from server.audit.changes import operator
from server.audit.operating import log_of
from server.audit.report_csv import csv_report
from server.audit.report_facts import Facts, facts
from server.audit.report_html import html_report
from server.audit.report_pdf import NoBrowser, print_pdf
from server.db.pool import Database, PoolSettings
from server.errors import AppError
from server.state_option import STATE_DIR

_DAY = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.command()
@click.option("--tenant", required=True, help="Whose trail; - is what belongs to no tenant.")
@click.option("--from", "since", type=_DAY, required=True, help="First day (UTC).")
@click.option("--to", "until", type=_DAY, required=True, help="End, not included (UTC).")
@click.option("--format", "form", type=click.Choice(["html", "csv", "pdf"]), default="html", show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File; by default standard output.")
@STATE_DIR
def report(tenant: str, since: datetime, until: datetime, form: str, out: Path | None, state_dir: Path | None) -> None:
    """Summarise a period: counts by action, refused access, failed authentication, erasures, administration, suspected
    attacks, and who read the trail. Making a report is itself in the trail."""
    if since >= until:
        raise click.BadParameter("must be after --from", param_hint="--to")
    if form == "pdf" and out is None:
        raise click.UsageError("--format pdf needs --out FILE")
    log = log_of(os.environ, state_dir)
    try:
        found = asyncio.run(_read(log.database_url, tenant, since.replace(tzinfo=UTC), until.replace(tzinfo=UTC)))
    except AppError as error:
        raise click.ClickException(error.message) from error
    try:
        if form == "pdf" and out is not None:
            print_pdf(html_report(found), out)
            return
        text = html_report(found) if form == "html" else csv_report(found)
        if out is None:
            click.echo(text, nl=False)
        else:
            out.write_text(text, encoding="utf-8")
    except (NoBrowser, OSError) as error:
        raise click.ClickException(str(error)) from error


async def _read(dsn: str, tenant: str, since: datetime, until: datetime) -> Facts:
    settings = PoolSettings(min_size=1, max_size=1, application_name="tria-audit-report", statement_timeout=300.0)
    async with Database(dsn, settings) as database:
        async with database.transaction() as connection:
            details = {"report": "compliance", "from": since.isoformat(), "to": until.isoformat()}
            await operator(tenant).record(connection, Action.AUDIT_READ, (), details)
        async with database.transaction(isolation="repeatable_read") as connection:
            return await facts(connection, tenant, since, until)
