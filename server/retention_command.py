"""`tria retention …`: removing what is too old, by hand."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click

from server.config import Config, ConfigError, load
from server.db.pool import Database, PoolSettings
from server.errors import AppError
from server.retention import Report, Retention
from server.retention_policy import cutoffs
from server.state_dir import NotRunning, environment
from server.state_option import STATE_DIR


@click.group()
def retention() -> None:
    """How long data is kept: TRIA_RETENTION_…, in days. The worker removes what is older every night."""


@retention.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as one JSON object.")
@STATE_DIR
def run(dry_run: bool, as_json: bool, state_dir: Path | None) -> None:
    """Remove what is too old, now. Exit status 1 when some of it could not be removed."""
    try:
        config = load(environment(os.environ, state_dir), version=version("tria"))
        now = datetime.now(UTC)
        report = asyncio.run(_run(config, now, dry_run=dry_run))
    except NotRunning as error:
        raise click.ClickException(str(error)) from error
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    except AppError as error:
        raise click.ClickException(error.message) from error
    if as_json:
        click.echo(json.dumps(report.removed))
    else:
        verb = "would be removed" if dry_run else "removed"
        for name, (_, cutoff) in cutoffs(config.retention, now).items():
            click.echo(f"{name}: {report.removed[name]} {verb} (older than {cutoff:%Y-%m-%d})")
    for name, why in report.failed.items():
        click.echo(f"{name} could not be removed: {why}", err=True)
    raise SystemExit(1 if report.failed else 0)


async def _run(config: Config, now: datetime, *, dry_run: bool) -> Report:
    settings = PoolSettings(min_size=1, max_size=1, application_name="tria-retention")
    async with Database(config.store.direct.reveal(), settings) as database:
        work = Retention(database, config.retention)
        return Report(await work.old(now), {}) if dry_run else await work.run(now)
