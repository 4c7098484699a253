"""`tria subjects …` and `tria keys …`: people's data and the keys that seal it, by an operator on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import click

from server.audit.actor import Shown, pseudonyms_from
from server.audit.changes import Author, operator
from server.audit.receipt import Receipt
from server.audit.rewrapping import rewrap_all
from server.audit.subjects import Export, Subjects
from server.config import Config, ConfigError, load
from server.db.pool import Database, PoolSettings
from server.envelope import MasterKeys
from server.errors import AppError
from server.idempotency import Idempotency
from server.people_wiring import open_vault, subjects
from server.state_dir import NotRunning, environment
from server.state_option import STATE_DIR

T = TypeVar("T")

_tenant = click.option("--tenant", required=True, help="Tenant that the person belongs to.")


@click.group("subjects")
def subjects_command() -> None:
    """What is held about a person. SUBJECT is what the person's tokens name: an e-mail address, a
    telephone number with + and the country's, or a user id."""


@subjects_command.command("export")
@click.argument("subject")
@_tenant
@STATE_DIR
def export_subject(subject: str, tenant: str, state_dir: Path | None) -> None:
    """Everything that is held about a person, as JSON on standard output."""

    async def work(people: Subjects, author: Author) -> str:
        return (await people.export(author, subject, _once("ExportSubject", _export_json))).answer.decode()

    click.echo(_run(state_dir, tenant, work))


@subjects_command.command("erase")
@click.argument("subject")
@_tenant
@STATE_DIR
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase_subject(subject: str, tenant: str, state_dir: Path | None, yes: bool) -> None:
    """Erase a person's data, and print the signed receipt."""
    if not yes:
        click.confirm("This cannot be undone. Erase?", abort=True, err=True)

    async def work(people: Subjects, author: Author) -> str:
        return (await people.erase(author, subject, "", _once("EraseSubject", _receipt_note))).answer.decode()

    click.echo(_run(state_dir, tenant, work), nl=False)


@subjects_command.command("hold")
@click.argument("subject")
@click.option("--reason", required=True, help="Why, for the audit log; sealed with the person's key.")
@_tenant
@STATE_DIR
def hold_subject(subject: str, reason: str, tenant: str, state_dir: Path | None) -> None:
    """Keep what is held of a person, whatever is asked or grows old, until it is released."""

    async def work(people: Subjects, author: Author) -> bool:
        return await people.hold(author, subject, reason)

    click.echo("on hold" if _run(state_dir, tenant, work) else "on hold already")


@subjects_command.command("release")
@click.argument("subject")
@_tenant
@STATE_DIR
def release_subject(subject: str, tenant: str, state_dir: Path | None) -> None:
    """End a hold. Exit status 1 when there was none."""

    async def work(people: Subjects, author: Author) -> bool:
        return await people.release(author, subject)

    if not _run(state_dir, tenant, work):
        raise click.ClickException("this person is on no hold")
    click.echo("released")


@click.group()
def keys() -> None:
    """The keys that seal what people wrote."""


@keys.command()
@STATE_DIR
@click.option("--json", "as_json", is_flag=True, help="Print the counts as one JSON object.")
def rewrap(state_dir: Path | None, as_json: bool) -> None:
    """Seal the keys of people with the first of TRIA_MASTER_KEYS, so that the others can be taken away.

    Exit status 1 when some cannot be opened, because their master key is not configured.
    """
    config = _config(state_dir)

    async def work() -> dict[str, int]:
        async with _database(config) as database:
            report = await rewrap_all(database, MasterKeys(config.auth.master_keys))
        return {"rewrapped": report.changed, "current": report.current, "lost": report.lost}

    counts = asyncio.run(work())
    click.echo(json.dumps(counts) if as_json else ", ".join(f"{count} {name}" for name, count in counts.items()))
    raise SystemExit(1 if counts["lost"] else 0)


def _run(state_dir: Path | None, tenant: str, work: Callable[[Subjects, Author], Awaitable[T]]) -> T:
    config = _config(state_dir)

    async def run() -> T:
        async with _database(config) as database:
            people = subjects(database, open_vault(config.auth), config.audit.key)
            author = Author(
                operator(tenant).caller,
                None,
                Shown(pseudonyms_from(config.auth.state_secret, config.auth.pseudonym_keys)),
            )
            return await work(people, author)

    try:
        return asyncio.run(run())
    except AppError as error:
        raise click.ClickException(error.message) from error


def _config(state_dir: Path | None) -> Config:
    try:
        return load(environment(os.environ, state_dir), version=version("tria"))
    except NotRunning as error:
        raise click.ClickException(str(error)) from error
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


@asynccontextmanager
async def _database(config: Config) -> AsyncIterator[Database]:
    settings = PoolSettings(min_size=1, max_size=2, application_name="tria-subjects")
    async with Database(config.store.direct.reveal(), settings) as database:
        yield database


def _once(method: str, encode: Callable[[T], bytes]) -> Idempotency[T]:
    return Idempotency(f"tria {method}", str(uuid.uuid4()), b"", encode)


def _export_json(export: Export) -> bytes:
    content: dict[str, Any] = {"subject": export.person, "time": export.time.isoformat(), **export.data}
    return json.dumps(content, ensure_ascii=False, indent=2).encode()


def _receipt_note(receipt: Receipt) -> bytes:
    return receipt.note.encode()
