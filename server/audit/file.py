"""The append-only audit file of one process: the leaves of its calls, one canonical JSON object a line.

A second place besides the database, for a log shipper or an operator with `jq`; the database is what counts, and has
also the leaves that commit with the changes they tell of. Its disk is not endless: the oldest files go. All methods do
file I/O: call them in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path


class AuditFile:
    """Appends to `path`; past `rotate_bytes` the file gets the time as a suffix and a new one is begun. Besides the
    new one the `keep` newest stay."""

    def __init__(self, path: Path, *, rotate_bytes: int = 64 * 1024 * 1024, keep: int = 8) -> None:
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._keep = keep
        self._descriptor: int | None = None

    def append(self, leaves: Sequence[bytes]) -> None:
        """Appends the leaves in one write; raises OSError when the disk refuses."""
        descriptor = self._open()
        os.write(descriptor, b"".join(leaf + b"\n" for leaf in leaves))
        if os.fstat(descriptor).st_size >= self._rotate_bytes:
            self.close()
            self._path.rename(self._path.with_name(f"{self._path.name}.{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"))
            for old in sorted(self._path.parent.glob(f"{self._path.name}.*Z"))[: -self._keep]:
                old.unlink(missing_ok=True)  # a shipper may have been quicker

    def close(self) -> None:
        """Closes the file; the next append opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o640)
        return self._descriptor
