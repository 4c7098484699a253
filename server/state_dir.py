"""Where the system that `tria up` runs keeps its data, and how commands beside it find its stores."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

ENVIRONMENT = "environment.json"
"""File in the state directory: what the children of `tria up` are told, a JSON object of variables (mode 0600)."""


class NotRunning(Exception):
    """There is no system to be found; the message says where it was looked for."""


def default_state_dir(environ: Mapping[str, str], *, root: bool) -> Path:
    """`$TRIA_STATE_DIR`, else `$XDG_STATE_HOME/tria`, else `~/.local/state/tria`.

    Root gets /var/lib/tria when others may not enter that place (root's home is closed): PostgreSQL refuses to run as
    root, and its own user must be able to reach its data.
    """
    if named := environ.get("TRIA_STATE_DIR"):
        return Path(named)
    home = Path(environ.get("HOME") or "~").expanduser()
    place = Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "tria"
    return Path("/var/lib/tria") if root and not _others_may_enter(place) else place


def environment(environ: Mapping[str, str], state_dir: Path | None) -> dict[str, str]:
    """The variables that a command beside the server works with; those of `environ` win.

    `state_dir` names the system of a `tria up`; without it, TRIA_DATABASE_URL in `environ` is enough, and else the
    default place is looked at. Raises NotRunning.
    """
    if state_dir is None and environ.get("TRIA_DATABASE_URL"):
        return dict(environ)
    place = state_dir or default_state_dir(environ, root=os.geteuid() == 0)
    try:
        written = json.loads((place / ENVIRONMENT).read_bytes())
    except OSError as error:
        raise NotRunning(
            f"{place / ENVIRONMENT} is not there: is `tria up` running on that directory? (see --state-dir)"
        ) from error
    return {**written, **environ} if state_dir is None else {**environ, **written}


def direct_database(variables: Mapping[str, str]) -> str:
    """The database past a pooler, where there is one: a command's connection must stay the same. Raises KeyError."""
    return variables.get("TRIA_DATABASE_DIRECT_URL") or variables["TRIA_DATABASE_URL"]


def _others_may_enter(path: Path) -> bool:
    existing = (folder for folder in (path, *path.parents) if folder.exists())
    return all(folder.stat().st_mode & 0o001 for folder in existing)
