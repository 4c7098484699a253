"""`tria cache …`: answers made ahead of time, from the command line."""

from __future__ import annotations

import asyncio
import json
import os
from importlib.metadata import version
from pathlib import Path

import click
from prometheus_client import CollectorRegistry

from server.audit.changes import operator
from server.chat.assistant import Tools
from server.chat.cache.sources import DeskSources
from server.chat.cache.warming import Warmed, Warming
from server.chat.desk_tools import DeskTools
from server.chat.wiring import Surroundings, assistant
from server.config import Config, ConfigError, load
from server.db.pool import Database, PoolSettings
from server.errors import AppError
from server.knowledge.wiring import knowledge
from server.ops.flags import Flags
from server.order.catalogue import Catalogue
from server.redis_client import open_redis
from server.state_dir import NotRunning, environment
from server.state_option import STATE_DIR


@click.group("cache")
def cache() -> None:
    """The answers that are the same for everybody."""


@cache.command("warm")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tenant", required=True, help="Tenant whose customers will ask.")
@STATE_DIR
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def warm(file: Path, tenant: str, state_dir: Path | None, as_json: bool) -> None:
    """Answer the questions of FILE, one a line, and keep the answers; they become the tenant's standing list.

    Lines that begin with # are skipped. Exit status 1 when an answer may not be kept for others.
    """
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    questions = [line for line in lines if line and not line.startswith("#")]
    if not questions:
        raise click.UsageError(f"{file} has no questions")
    try:
        config = load(environment(os.environ, state_dir), version=version("tria"))
        found = asyncio.run(_warm(config, tenant, questions))
    except (NotRunning, ConfigError) as error:
        raise click.ClickException(str(error)) from error
    except AppError as error:
        raise click.ClickException(error.message) from error
    if as_json:
        click.echo(json.dumps(found))
    else:
        click.echo(f"{found['warmed']} made, {found['present']} there already, {found['vetoed']} not for everybody")
    raise SystemExit(1 if found["vetoed"] else 0)


async def _warm(config: Config, tenant: str, questions: list[str]) -> dict[str, int]:
    dsn = config.store.direct.reveal()
    async with (
        Database(dsn, PoolSettings(min_size=1, max_size=8, application_name="tria-cache")) as database,
        open_redis(config.store.redis_url.reveal(), cluster=config.store.redis_cluster, timeout=1.0) as client,
        knowledge(config, database) as known,
    ):
        catalogue = Catalogue(database)
        around = Surroundings(
            client,
            database,
            config.auth.state_secret,
            DeskSources(known.service, catalogue),
            CollectorRegistry(),
            Flags(database, dsn).on,
            config.listen.processes,
        )

        def tools(of: str) -> Tools:
            return DeskTools(known.search, catalogue, None, of, "", None, lambda: None)

        async with assistant(config.model, around, known.lexicon, known.embedder) as desk:
            warming = Warming(database, desk.cache, tools)
            done = await warming.warm(operator(tenant), questions, "", _encoded)
    result: dict[str, int] = json.loads(done.answer)
    return result


def _encoded(warmed: Warmed) -> bytes:
    counts = {"warmed": warmed.warmed, "present": warmed.present, "vetoed": warmed.vetoed}
    return json.dumps(counts).encode()
