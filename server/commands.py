"""`tria up`, `serve`, `worker` and `migrate`: the commands that run the system or prepare it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from importlib.metadata import version

import asyncpg
import click
import uvloop
from rich.console import Console

from server import app, logs, processes
from server import worker as job_worker
from server.config import Config, ConfigError, load
from server.db.migrate import MigrationError, migrate
from server.embedded import demo
from server.embedded.child import StartFailed
from server.embedded.up_command import up_command
from server.foundations import NotReady


def configured() -> Config:
    """The configuration of this process; exits with 2 and every problem when it is wrong."""
    try:
        return load(os.environ, version=version("tria"))
    except ConfigError as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False)
        raise SystemExit(2) from error


async def bring_up_to_date(dsn: str) -> object:
    """Applies what is missing of the migrations. Raises StartFailed."""
    try:
        return await migrate(dsn)
    except (MigrationError, asyncpg.PostgresError, OSError) as error:
        raise StartFailed(f"the database schema could not be brought up to date: {error}") from error


up = up_command(migrate=bring_up_to_date, seed=demo.seed)


@click.command()
@click.option("--process", type=int, hidden=True, help="Number of this process among several.")
def serve(process: int | None) -> None:
    """Serve the RPCs until SIGTERM or SIGINT, then drain. Configured by the environment; see `tria doctor`."""
    config = configured()
    logs.configure(config.observability.log_level, json=config.observability.log_json)
    if process is None and config.listen.processes > 1:
        raise SystemExit(processes.run(config))
    try:
        uvloop.run(_until_stopped(config, process or 0))
    except NotReady as error:
        raise click.ClickException(str(error)) from error


async def _until_stopped(config: Config, process: int) -> None:
    stop = _stop_event()
    async with app.application(config, process) as running:
        logging.getLogger(__name__).info(
            "serving", extra={"grpc": str(config.listen.grpc), "internal": str(config.listen.internal)}
        )
        await running.run_until(stop)


def _stop_event() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; a second one ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told, number)
    return stop


@click.command()
def worker() -> None:
    """Run background jobs until SIGTERM or SIGINT; running jobs are finished or put back."""
    config = configured()
    logs.configure(config.observability.log_level, json=config.observability.log_json)

    async def run() -> None:
        stop = _stop_event()
        await job_worker.run(config, stop)

    uvloop.run(run())


@click.command("migrate")
@click.option("--json", "as_json", is_flag=True, help="The names applied, as a JSON list.")
def migrate_command(*, as_json: bool) -> None:
    """Apply the migrations that the database of TRIA_DATABASE_URL lacks."""
    dsn = os.environ.get("TRIA_DATABASE_DIRECT_URL") or os.environ.get("TRIA_DATABASE_URL")
    if not dsn:
        raise click.UsageError("TRIA_DATABASE_URL is missing")
    try:
        applied = asyncio.run(migrate(dsn, progress=lambda name: click.echo(name, err=as_json)))
    except (MigrationError, asyncpg.PostgresError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(applied))
    elif not applied:
        click.echo("nothing to apply")
