"""The server and the worker as children of `tria up`: `python -m server …`, supervised like the stores."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from server.embedded.child import Child
from server.embedded.loopback import listens

_PROGRAM = (sys.executable, "-m", "server")


class PythonProcess:
    """`python -m server ARGUMENTS` with this process's environment; ready when it listens on `port` (None: at once).

    `drain` is how many seconds it may take to finish what runs after SIGTERM. Killed with its parent: an orphan would
    keep the ports and serve on without stores.
    """

    def __init__(
        self,
        name: str,
        state_dir: Path,
        arguments: Sequence[str],
        *,
        port: int | None,
        drain: float,
        ready_timeout: float,
    ) -> None:
        self.name = name
        self.state = state_dir.absolute()
        self._arguments = tuple(arguments)
        self._port = port
        self._ready_timeout = ready_timeout
        self._child = Child(name, self.state, parent_death=signal.SIGTERM, stop_signals=((signal.SIGTERM, drain),))

    @property
    def pid(self) -> int | None:
        return self._child.pid

    @property
    def log(self) -> Path:
        return self.state / f"{self.name}.log"

    async def start(self) -> None:
        """Start (again); raises StartFailed with the end of its log, or OwnedElsewhere."""
        argv = [*_PROGRAM, *self._arguments]
        await self._child.start(argv, self._is_ready, timeout=self._ready_timeout, log=self.log)

    async def stop(self) -> None:
        """SIGTERM, wait for its drain, release the state directory."""
        await self._child.stop()

    async def wait_exit(self) -> int:
        """Return the exit code once it has ended, however it ended."""
        return await self._child.wait_exit()

    async def _is_ready(self) -> bool:
        return self._child.pid is not None and (self._port is None or await listens(self._port))


def import_path() -> str:
    """PYTHONPATH for children: they start in `/` and must import what this process imports."""
    return os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
