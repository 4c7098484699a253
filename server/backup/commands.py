"""`tria backup` and `tria restore`."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import asyncpg
import click
from rich.console import Console

from server.backup.fingerprints import STATE_SECRET, fingerprints
from server.backup.kept import BadKept, read_kept, together
from server.backup.manifest import BadBackup, Manifest, Mode
from server.backup.pgtools import ToolFailed, ToolMissing
from server.backup.progress import shown
from server.backup.proof import LogBroken
from server.backup.report import restored_json, restored_lines
from server.backup.restoring import Refused, Restored, Restoring
from server.backup.saving import NothingToSave, NotOurs, Saving
from server.db.migrate import MigrationError
from server.embedded.child import StartFailed
from server.embedded.pgfiles import installation
from server.envelope import MasterKeys
from server.errors import AppError
from server.settings import parse_audit_key, parse_master_keys, parse_public_keys
from server.signing import PublicKey, SigningKey
from server.state_dir import NotRunning, direct_database, environment
from server.state_option import STATE_DIR

_FAILURES = (
    BadBackup, BadKept, LogBroken, MigrationError, NothingToSave, NotOurs, NotRunning, Refused, ToolFailed, ToolMissing,
    AppError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError,
)  # fmt: skip

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")


@dataclass(frozen=True, slots=True)
class _System:
    """The database, the keys of its log (the one that signs comes first), the keys of what is sealed, and the
    fingerprints of what finds people."""

    dsn: str
    key: SigningKey
    keys: tuple[PublicKey, ...]
    masters: MasterKeys
    secrets: Mapping[str, str]


@click.command("backup")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--base", is_flag=True, help="Copy the server's files (pg_basebackup): what recovery to a time needs.")
@click.option(
    "--unless-empty", is_flag=True, help="Before a first release: no failure when the database holds nothing yet."
)
@STATE_DIR
@_AS_JSON
def backup(directory: Path, base: bool, unless_empty: bool, state_dir: Path | None, as_json: bool) -> None:
    """Back up the database into DIRECTORY, which must not be there yet.

    PostgreSQL is all there is to save: Chroma's vectors are made anew from it, and Redis holds nothing that must
    survive. The keys (TRIA_MASTER_KEYS, TRIA_AUDIT_KEY, TRIA_STATE_SECRET, TRIA_PSEUDONYM_KEYS) are not in it: without
    them it cannot be restored, and whoever has both can read everything.
    """
    began = time.perf_counter()
    try:
        system = _system(state_dir)
        with shown(Console(stderr=True)) as tell:
            saving = Saving(system.dsn, system.key, version("tria"), _homes(), tell, system.secrets)
            made = asyncio.run(saving.base(directory) if base else saving.dump(directory))
    except _FAILURES as error:
        if unless_empty and isinstance(error, NothingToSave):
            click.echo(json.dumps({"saved": False, "why": _said(error)}) if as_json else _said(error))
            return
        raise click.ClickException(_said(error)) from error
    seconds = time.perf_counter() - began
    if as_json:
        click.echo(json.dumps(json.loads(made.to_json()) | {"seconds": round(seconds, 3)}))
    else:
        _tell_backup(directory, made, seconds)


@click.command("restore")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--into", metavar="NAME", help="Make an empty database of this name on the same server and restore there."
)
@click.option(
    "--checkpoints", "kept_files", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Checkpoints that left the database (TRIA_AUDIT_CHECKPOINT_FILE, what the webhook kept): they prove the log, "
    "and say what is lost. May be given again.",
)  # fmt: skip
@click.option("--verify-only", is_flag=True, help="Restore nothing: prove the database as it is, after a recovery.")
@click.option(
    "--other-secrets",
    is_flag=True,
    help="Restore although TRIA_STATE_SECRET or TRIA_PSEUDONYM_KEYS are lost: people are not found again.",
)
@STATE_DIR
@_AS_JSON
def restore(
    directory: Path, into: str | None, kept_files: Sequence[Path], verify_only: bool, other_secrets: bool,
    state_dir: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Restore the backup in DIRECTORY into the database of TRIA_DATABASE_URL, which must be empty.

    Compares hashes, restores, migrates to this release, and proves every tenant's audit log. Says what is proven and
    what was lost. Exit status 1 when something is refused or not proven: a database that is full and not proven must be
    dropped. With --into that is done, and the database has its name only when it is proven.
    """
    if into and verify_only:
        raise click.UsageError("--into and --verify-only exclude each other")
    try:
        system = _system(state_dir)
        with shown(Console(stderr=True)) as tell:
            secrets = None if other_secrets else system.secrets
            restoring = Restoring(system.dsn, system.keys, system.masters, _homes(), tell, secrets)
            restored = asyncio.run(_restore(restoring, directory, into, kept_files, verify_only=verify_only))
    except _FAILURES as error:
        if as_json:
            click.echo(json.dumps({"restored": False, "error": _said(error)}, ensure_ascii=False))
            raise SystemExit(1) from error
        raise click.ClickException(_said(error)) from error
    click.echo(json.dumps(restored_json(restored)) if as_json else "\n".join(restored_lines(restored)))


async def _restore(
    restoring: Restoring, folder: Path, into: str | None, kept_files: Sequence[Path], *, verify_only: bool
) -> Restored:
    kept = together(read_kept(path, restoring.keys) for path in kept_files)
    if verify_only:
        return await restoring.only_verify(folder, kept)
    if into is not None:
        return await restoring.restore_into(into, folder, kept)
    return await restoring.restore(folder, kept)


def _system(state_dir: Path | None) -> _System:
    variables = environment(os.environ, state_dir)
    try:
        key = parse_audit_key(variables["TRIA_AUDIT_KEY"])
        keys = (key.public, *parse_public_keys(variables.get("TRIA_AUDIT_KEYS_OLD", "")))
        masters = MasterKeys(parse_master_keys(variables["TRIA_MASTER_KEYS"]))
        return _System(direct_database(variables), key, keys, masters, fingerprints(variables))
    except KeyError as error:
        raise click.ClickException(f"{error.args[0]} is not set") from error
    except ValueError as error:
        raise click.ClickException(
            "one of TRIA_AUDIT_KEY, TRIA_AUDIT_KEYS_OLD, TRIA_MASTER_KEYS, TRIA_STATE_SECRET and TRIA_PSEUDONYM_KEYS "
            f"{error}"
        ) from error


def _homes() -> list[Path]:
    """The wheel's PostgreSQL, where it is installed."""
    try:
        return [installation()]
    except StartFailed:
        return []


def _said(error: BaseException) -> str:
    text = error.message if isinstance(error, AppError) else str(error) or type(error).__name__
    return "".join([text, *getattr(error, "__notes__", ())])


def _tell_backup(directory: Path, made: Manifest, seconds: float) -> None:
    records = sum(log.size for log in made.logs.values())
    size = sum(file.bytes for file in made.files.values())
    copied = f"{sum(made.tables.values())} rows of {len(made.tables)} tables in {size} bytes"
    what = copied if made.mode is Mode.DUMP else f"the server's files ({made.database_bytes} bytes in this database)"
    click.echo(f"{directory}: {what}, {seconds:.1f} s")
    click.echo(f"of {made.created_at.isoformat()}, PostgreSQL {made.server}, migration {made.migration}")
    if made.mode is Mode.BASE:
        click.echo(
            f"verified by {made.verified}" if made.verified else "NOT verified: no pg_verifybackup of this version"
        )
    click.echo(f"{len(made.logs)} audit logs with {records} records; {made.pending} more wait for their place")
    for tenant, log in made.logs.items():
        click.echo(f"  {tenant}: {log.size} records, {log.signed} of them under a checkpoint")
    if STATE_SECRET not in made.secrets:
        click.echo(f"{STATE_SECRET} is not set here: a restore cannot compare it")
    click.echo("not in it: Chroma (made anew from the documents), Redis (nothing there must survive), the keys")
