"""What the commands of an operator need to know of the log: its database, and the keys that sign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from server.settings import parse_audit_key, parse_public_keys
from server.signing import PublicKey
from server.state_dir import NotRunning, direct_database, environment


@dataclass(frozen=True, slots=True)
class OfLog:
    """Where the log is; the key that signs comes first."""

    database_url: str
    keys: tuple[PublicKey, ...]


def log_of(environ: Mapping[str, str], state_dir: Path | None) -> OfLog:
    """Of the system that is configured, or that `tria up` runs. Raises ClickException that says what is missing."""
    try:
        variables = environment(environ, state_dir)
        keys = (
            parse_audit_key(variables["TRIA_AUDIT_KEY"]).public,
            *parse_public_keys(variables.get("TRIA_AUDIT_KEYS_OLD", "")),
        )
        return OfLog(direct_database(variables), keys)
    except NotRunning as error:
        raise click.ClickException(str(error)) from error
    except KeyError as error:
        raise click.ClickException(f"{error.args[0]} is not set") from error
    except ValueError as error:
        raise click.ClickException(f"the keys of the audit log: {error}") from error
