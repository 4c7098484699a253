"""A directory that appears whole or not at all: written under a hidden name, forced to disk, renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """A draft beside `path` that becomes `path` at the end of the block, and vanishes when that fails. A draft that is
    left by a kill is called `.NAME.partial-…` and may be removed. Raises FileExistsError, OSError."""
    if path.exists():
        raise FileExistsError(f"{path} is there already: a backup goes into a directory of its own")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))  # 0700: it holds everything
    try:
        yield draft
        for folder, _, names in os.walk(draft):
            for name in names:
                _sync(Path(folder) / name)
            _sync(Path(folder))
        draft.rename(path)
    except BaseException:  # also when cancelled: nobody shall find half a backup
        shutil.rmtree(draft, ignore_errors=True)
        raise
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
