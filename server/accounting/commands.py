"""`tria accounting …`: connect a tenant to its books, end that, and see how it stands."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final

import click

from server.accounting.connecting import NotConnectable, connect_by_code, connect_by_credentials
from server.accounting.wiring import BooksAccess, books_access
from server.accounting_config import AccountingChoice, XeroGrant
from server.audit.changes import operator
from server.config import Config, ConfigError, load
from server.db.pool import Database, PoolSettings
from server.errors import AppError
from server.redis_client import open_redis
from server.state_dir import NotRunning, environment
from server.state_option import STATE_DIR

_TENANT = click.option("--tenant", default="", help="Whose books; not needed where there is one tenant only.")


@click.group()
def accounting() -> None:
    """The accounting system that invoices are posted to."""


@accounting.command()
@_TENANT
@STATE_DIR
def connect(tenant: str, state_dir: Path | None) -> None:
    """Connect a tenant to its organisation in Xero.

    With a custom connection (XERO_GRANT=client_credentials) nothing is asked. Otherwise open the URL that is printed,
    consent, and paste the code or the whole URL that Xero sent you to, on standard input.
    """
    config = _config(state_dir)
    if config.accounting.books is AccountingChoice.NONE:
        raise click.ClickException("TRIA_ACCOUNTING is none: there is nothing to connect to")

    async def act(access: BooksAccess, whose: str) -> None:
        wanted, author = config.accounting.xero.organisation, operator(whose)
        if config.accounting.xero.grant is XeroGrant.CLIENT_CREDENTIALS:
            name = await connect_by_credentials(access.connections, access.identity, author, wanted)
        else:
            state = secrets.token_urlsafe(24)
            click.echo(access.identity.consent_url(state))
            click.echo("Open it, consent, and paste the code or the URL you were sent to:", err=True)
            answer = await asyncio.to_thread(sys.stdin.readline)
            name = await connect_by_code(access.connections, access.identity, author, wanted, answer, state)
        click.echo(f"{whose} is connected to {name}")

    _run(config, tenant, act)


@accounting.command()
@_TENANT
@STATE_DIR
def disconnect(tenant: str, state_dir: Path | None) -> None:
    """End a tenant's connection, here and in Xero. Invoices wait until it is connected again."""

    async def act(access: BooksAccess, whose: str) -> None:
        ended = await access.connections.disconnect(operator(whose))
        click.echo(f"{whose} is disconnected" if ended else f"{whose} was not connected")

    _run(_config(state_dir), tenant, act)


@accounting.command()
@_TENANT
@STATE_DIR
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(tenant: str, state_dir: Path | None, *, as_json: bool) -> None:
    """How a tenant is connected, and what is left of its budget of calls."""

    async def act(access: BooksAccess, whose: str) -> None:
        view, budget = await access.connections.view(whose), await access.budget.peek(whose)
        told = {
            "tenant": whose,
            "state": view.state.value,
            "organisation": view.organisation,
            "last_success": view.last_success.isoformat() if view.last_success else None,
            "last_error": view.last_error,
            "minute_left": budget.minute_left,
            "day_left": budget.day_left,
            "degraded": budget.degraded,
        }
        click.echo(json.dumps(told) if as_json else "\n".join(f"{name}: {value}" for name, value in told.items()))

    _run(_config(state_dir), tenant, act)


def _config(state_dir: Path | None) -> Config:
    try:
        return load(environment(os.environ, state_dir), version=version("tria"))
    except (NotRunning, ConfigError) as error:
        raise click.ClickException(str(error)) from error


def _run(config: Config, tenant: str, act: Callable[[BooksAccess, str], Awaitable[None]]) -> None:
    async def run() -> None:
        async with _opened(config) as (database, access):
            await act(access, tenant or await _only_tenant(database))

    try:
        asyncio.run(run())
    except NotConnectable as error:
        raise click.ClickException(str(error)) from error
    except AppError as error:
        raise click.ClickException(error.message) from error


@asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[tuple[Database, BooksAccess]]:
    settings = PoolSettings(min_size=1, max_size=2, application_name="tria-accounting")
    client = open_redis(config.store.redis_url.reveal(), cluster=config.store.redis_cluster, timeout=1.0)
    async with (
        client,
        Database(config.store.direct.reveal(), settings) as database,
        books_access(config, database, client) as access,
    ):
        yield database, access


ONLY_TENANT: Final = "select id from tenant order by id limit 2"


async def _only_tenant(database: Database) -> str:
    async with database.connection() as connection:
        found = [str(row["id"]) for row in await connection.fetch(ONLY_TENANT)]
    if len(found) != 1:
        raise NotConnectable("say which tenant by --tenant" if found else "there is no tenant yet: name it by --tenant")
    return found[0]
