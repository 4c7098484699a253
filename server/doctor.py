"""`tria doctor`: what is configured, what is reachable, and what that means."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import click
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

from server.accounting_config import AccountingChoice
from server.config import AssistantChoice, Config, ConfigError, describe, load
from server.db.migrate import MigrationError, pending
from server.db.pool import PoolSettings
from server.db.timeouts import missing_timeouts
from server.redis_client import open_redis
from server.state_dir import NotRunning, environment

_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one part."""

    part: str
    ok: bool
    said: str


class TimeoutsMissing(Exception):
    """Sessions behind the pooler wait for ever."""


class BooksNotConnected(Exception):
    """Invoices wait until a person has connected."""


@click.command()
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Look at the system that `tria up` runs there; by default the environment is looked at, then the usual place.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def doctor(state_dir: Path | None, *, as_json: bool) -> None:
    """Say what is configured and what is reachable. Exit code 1 when something is not, 2 when the configuration is
    wrong."""
    try:
        config = load(environment(os.environ, state_dir), version=version("tria"))
    except NotRunning as error:
        raise click.ClickException(str(error)) from error
    except ConfigError as error:
        if as_json:
            click.echo(json.dumps({"problems": list(error.problems)}))
        else:
            Console(stderr=True).print(str(error), markup=False, highlight=False)
        raise SystemExit(2) from error
    findings = asyncio.run(_look(config))
    if as_json:
        report = {finding.part: {"ok": finding.ok, "said": finding.said} for finding in findings}
        click.echo(json.dumps({"configuration": describe(config), "parts": report}))
    else:
        _show(config, findings)
    raise SystemExit(0 if all(finding.ok for finding in findings) else 1)


async def _look(config: Config) -> list[Finding]:
    probes: dict[str, Callable[[Config], Awaitable[str]]] = {
        "PostgreSQL": _postgres,
        **({"pooler": _pooler} if config.store.pooled else {}),
        "Redis": _redis,
        "Chroma": _chroma,
        "token keys": _keys,
        "model": _model,
        "books": _books,
    }
    return list(await asyncio.gather(*(_ask(part, probe, config) for part, probe in probes.items())))


async def _ask(part: str, probe: Callable[[Config], Awaitable[str]], config: Config) -> Finding:
    try:
        async with asyncio.timeout(_PATIENCE):
            return Finding(part, ok=True, said=await probe(config))
    except TimeoutError:
        return Finding(part, ok=False, said=f"no answer within {_PATIENCE:.0f} s")
    except (
        OSError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        MigrationError,
        RedisError,
        aiohttp.ClientError,
        ValueError,
        BooksNotConnected,
        TimeoutsMissing,
    ) as error:
        return Finding(part, ok=False, said=f"{type(error).__name__}: {error}")


async def _postgres(config: Config) -> str:
    url = config.store.direct.reveal()
    connection = await asyncpg.connect(url, timeout=_PATIENCE)
    try:
        server = connection.get_server_version()
    finally:
        await connection.close()
    missing = await pending(url)
    if missing:
        raise MigrationError(f"{len(missing)} migrations are missing: run `tria migrate`")
    return f"PostgreSQL {server.major}.{server.minor}, schema up to date"


async def _pooler(config: Config) -> str:
    connection = await asyncpg.connect(config.store.database_url.reveal(), timeout=_PATIENCE, statement_cache_size=0)
    try:
        if missing := await missing_timeouts(connection, PoolSettings().timeouts):
            raise TimeoutsMissing(missing)
    finally:
        await connection.close()
    return "answers, and sessions behind it have their timeouts"


async def _redis(config: Config) -> str:
    client = open_redis(config.store.redis_url.reveal(), cluster=config.store.redis_cluster, timeout=_PATIENCE)
    try:
        if config.store.redis_cluster:
            nodes = await client.info("server", target_nodes="all")
            return f"a cluster, {len(nodes)} nodes answer"
        info = await client.info("server")
    finally:
        await client.aclose()
    return str(info.get("server_name", "redis")) + " " + str(info.get("valkey_version", info["redis_version"]))


async def _chroma(config: Config) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{config.store.chroma_url}/api/v2/version") as answer,
    ):
        answer.raise_for_status()
        return f"Chroma {(await answer.text()).strip(chr(34))}"


async def _keys(config: Config) -> str:
    source = config.auth.jwks
    if urlsplit(source).scheme in {"http", "https"}:
        async with aiohttp.ClientSession() as session, session.get(source) as answer:
            answer.raise_for_status()
            keys = json.loads(await answer.text())
    else:
        keys = json.loads(await asyncio.to_thread(Path(source).read_bytes))
    return f"{len(keys['keys'])} keys of {config.auth.issuer}"


async def _model(config: Config) -> str:
    if config.model.assistant is AssistantChoice.OFFLINE:
        return "the offline assistant answers; no language model is called"
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{config.model.base_url or 'https://api.openai.com/v1'}/models",
            headers={"authorization": f"Bearer {config.model.api_key.reveal()}"},
        ) as answer,
    ):
        answer.raise_for_status()
    return f"{config.model.model} is configured and its provider answers"


BOOKS: Final = "select tenant, state, organisation, last_error from accounting_connection order by tenant"


async def _books(config: Config) -> str:
    if config.accounting.books is AccountingChoice.NONE:
        return "invoices are not booked"
    connection = await asyncpg.connect(config.store.direct.reveal(), timeout=_PATIENCE)
    try:
        rows = await connection.fetch(BOOKS)
    finally:
        await connection.close()
    if not rows:
        raise BooksNotConnected("no tenant is connected: run `tria accounting connect`")
    said = [
        f"{row['tenant']}: {row['organisation']}" if row["state"] == "CONNECTED" else f"{row['tenant']}: disconnected"
        for row in rows
    ]
    if any(row["state"] != "CONNECTED" for row in rows):
        raise BooksNotConnected(f"{'; '.join(said)}: run `tria accounting connect`")
    return "Xero, " + "; ".join(said)


def _show(config: Config, findings: list[Finding]) -> None:
    console = Console()
    settings = Table("setting", "value", title="Configuration", title_justify="left")
    for name, value in describe(config).items():
        settings.add_row(name, value)
    console.print(settings)
    parts = Table("part", "state", "said", title="Parts", title_justify="left")
    for finding in findings:
        parts.add_row(finding.part, "[green]ok[/green]" if finding.ok else "[red]not reachable[/red]", finding.said)
    console.print(parts)
