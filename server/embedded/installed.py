"""Where the files beside the code are: the gateway's configuration, the page, the descriptor set."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import server


def root() -> Path:
    """The directory that holds the import package `server`: the repository, or site-packages."""
    return Path(server.__file__).resolve().parent.parent


def installed_file(name: str) -> Path:
    """The file or directory `name`, given by its path in the repository.

    A checkout and the image have it where it is; a wheel carries it as package data below `server/embedded/files/`
    (same relative path). FileNotFoundError when neither is there.
    """
    beside = root() / name
    packaged = Path(str(files("server.embedded").joinpath("files", name)))
    for candidate in (beside, packaged):
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"{name} is neither in {root()} nor in the installed package")
