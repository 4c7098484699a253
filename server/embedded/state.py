"""The state directory of an embedded system, made ready."""

from __future__ import annotations

import os
from pathlib import Path

from server.embedded.child import StartFailed


def prepare_state_dir(path: Path) -> Path:
    """Make `path` and return it, absolute: closed (0700); root's lets PostgreSQL's user pass through (0711)."""
    path = path.expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)
    except OSError as error:
        raise StartFailed(f"{path} cannot be used as the state directory: {error.strerror}.") from error
    return path
