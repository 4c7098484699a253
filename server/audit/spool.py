"""Where leaves wait while PostgreSQL is away: fsynced files that another process can take over.

A segment is one file of leaves, one line each (canonical leaves hold no line break). The process that writes it holds
its flock; when the process dies the kernel lets go, and whoever replays next finds the segment free. A torn last line
was never acknowledged (the fsync comes first) and is dropped. All methods do file I/O: call them in a thread.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

log = logging.getLogger(__name__)

_SUFFIX = ".leaves"


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of leaves, held (flock) until it is removed or released."""

    path: Path
    descriptor: int
    leaves: tuple[bytes, ...]

    def remove(self) -> None:
        """Forgets the segment: its leaves are all in PostgreSQL."""
        self.path.unlink()
        os.close(self.descriptor)

    def release(self) -> None:
        """Lets go of the segment, to be claimed again."""
        os.close(self.descriptor)


class Spool:
    """The spool of one process in a directory that may be shared by the processes of one machine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: int | None = None

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

    def claim(self) -> Segment | None:
        """The oldest segment that no living process holds, with its leaves; the caller removes or releases it.

        The segment that this process is writing is closed first, so that it is found too.
        """
        self.close()
        if not self._directory.is_dir():
            return None
        for path in sorted(self._directory.glob(f"*{_SUFFIX}"), key=_age):
            if segment := _held(path):
                return segment
        return None

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
            self._file = None

    def _open(self) -> int:
        while self._file is None:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self._directory / f"{uuid4()}{_SUFFIX}"
            created = os.open(path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600)
            fcntl.flock(created, fcntl.LOCK_EX)
            if not os.fstat(created).st_nlink:  # another process replayed the empty file before it was ours
                os.close(created)
                continue
            self._file = created
            directory = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(directory)  # the name of the new file must survive too
            finally:
                os.close(directory)
        return self._file


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process has just replayed it
        return 0.0


def _held(path: Path) -> Segment | None:
    """The segment under our lock, or None when another process holds it or has removed it meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            return Segment(path, descriptor, tuple(path.read_bytes().split(b"\n")[:-1]))
    except BlockingIOError:
        log.debug("another process holds the segment %s", path.name)
    os.close(descriptor)
    return None


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
