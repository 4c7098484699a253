"""The file that says how many percent of the calls the green version gets; Envoy reads it whenever it is replaced.

It is replaced by a move, so nobody ever reads half of one. In a cluster the same text is the ConfigMap `tria-split`.
"""

from __future__ import annotations

import os
from pathlib import Path

import yaml

NAME = "split"
KEY = "tria.green"
_RUNTIME = "type.googleapis.com/envoy.service.runtime.v3.Runtime"


class SplitUnreadable(Exception):
    """The file is not one that this module writes."""


def text(percent: int) -> str:
    """The file's content for 0 to 100 percent of the calls to green."""
    if not 0 <= percent <= 100:
        raise ValueError("a share is 0 to 100 percent")
    return yaml.safe_dump({"resources": [{"@type": _RUNTIME, "name": NAME, "layer": {KEY: percent}}]}, sort_keys=False)


def write(path: Path, percent: int) -> None:
    """Moves a new file into place; Envoy watches the directory for that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text(percent))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def read(path: Path) -> int:
    """The percent in force; raises SplitUnreadable."""
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        return int(loaded["resources"][0]["layer"][KEY])
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError, ValueError) as error:
        raise SplitUnreadable(f"{path} is not a split: {error}") from error
