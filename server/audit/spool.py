"""Where leaves wait while PostgreSQL is away: fsynced files that another process can take over.

A segment is one file of leaves, one line each (canonical leaves hold no line break). The process that writes it holds
its flock; when the process dies the kernel lets go, and whoever replays next finds the segment free. A torn last line
was never acknowledged (the fsync comes first) and is dropped. All methods do file I/O: call them in a thread.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

_SUFFIX = ".leaves"


class Spool:
    """The spool of one process in a directory that may be shared by the processes of one machine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: int | None = None
        self._path: Path | None = None

    def append(self, leaves: Sequence[bytes]) -> None:
        """Returns when the leaves are on disk. Raises OSError when they are not; then none of them counts."""
        descriptor = self._open()
        start = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, b"".join(leaf + b"\n" for leaf in leaves))
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, start)  # half a batch on a full disk must not come back as leaves
            raise

    def claim(self) -> list[Path]:
        """Closes the segment being written and returns all that nobody holds, oldest first, now held by the caller's
        process through `read`."""
        self.close()
        if not self._directory.is_dir():
            return []
        return sorted(self._directory.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)

    def read(self, path: Path) -> list[bytes] | None:
        """The leaves of a segment, or None when another process is still writing or replaying it."""
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:  # another process has replayed it meanwhile
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = path.read_bytes()
        except BlockingIOError:
            return None
        finally:
            os.close(descriptor)
        return content.split(b"\n")[:-1]

    def remove(self, path: Path) -> None:
        """Forgets a segment whose leaves are all in PostgreSQL."""
        path.unlink(missing_ok=True)

    def reject(self, leaf: bytes) -> None:
        """Sets a leaf aside that PostgreSQL refuses for its content: for a person to look at, never thrown away."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._directory / "rejected.jsonl").open("ab") as file:
            file.write(leaf + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Lets go of the segment being written."""
        if self._file is not None:
            os.close(self._file)
            self._file = self._path = None

    def _open(self) -> int:
        if self._file is None:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path = self._directory / f"{uuid4()}{_SUFFIX}"
            self._file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            directory = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(directory)  # the name of the new file must survive too
            finally:
                os.close(directory)
        return self._file


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
