"""Where an embedded system keeps its data, and what `tria up` and `tria token` find there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from server.embedded.child import StartFailed


def default_state_dir(environ: Mapping[str, str], *, root: bool) -> Path:
    """`$XDG_STATE_HOME/tria`, else `~/.local/state/tria`.

    Root gets /var/lib/tria when others may not enter that place (root's home is closed): PostgreSQL refuses to run as
    root, and its own user must be able to reach its data.
    """
    home = Path(environ.get("HOME") or "~").expanduser()
    place = Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "tria"
    return Path("/var/lib/tria") if root and not _others_may_enter(place) else place


def prepare_state_dir(path: Path) -> Path:
    """Make `path` and return it, absolute: closed (0700); root's lets PostgreSQL's user pass through (0711)."""
    path = path.expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)
    except OSError as error:
        raise StartFailed(f"{path} cannot be used as the state directory: {error.strerror}.") from error
    return path


def _others_may_enter(path: Path) -> bool:
    existing = (folder for folder in (path, *path.parents) if folder.exists())
    return all(folder.stat().st_mode & 0o001 for folder in existing)
