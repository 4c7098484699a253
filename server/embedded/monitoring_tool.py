"""A program of the monitoring as our child: Prometheus, Alertmanager, an exporter."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from server.embedded.child import Child, StartFailed
from server.embedded.installed import root
from server.embedded.loopback import HOST, ask

_PATIENCE = 10.0  # seconds from SIGTERM to the end: Prometheus writes its head block
_READY = 30.0


class Tool:
    """`arguments` follow the program's name; ready when `http://127.0.0.1:PORT/PATH` gives 200."""

    def __init__(self, name: str, state: Path, arguments: Sequence[str], *, port: int, path: str) -> None:
        self.name = name
        self.state = state / name
        self._arguments = tuple(arguments)
        self._port = port
        self._path = path
        self._child = Child(name, self.state, parent_death=signal.SIGTERM, stop_signals=((signal.SIGTERM, _PATIENCE),))

    @property
    def pid(self) -> int | None:
        return self._child.pid

    async def start(self) -> str:
        """Start (again) and return host:port; raises StartFailed with the end of its log, or OwnedElsewhere."""
        argv, log = [program(self.name), *self._arguments], self.state / f"{self.name}.log"
        await self._child.start(argv, self._is_ready, timeout=_READY, log=log)
        return f"{HOST}:{self._port}"

    async def stop(self) -> None:
        await self._child.stop()

    async def wait_exit(self) -> int:
        return await self._child.wait_exit()

    async def _is_ready(self) -> bool:
        answer = await ask(self._port, self._path)
        return answer is not None and answer.status == 200


def program(name: str) -> str:
    """Where Debian's program of this name is: what `make monitor` unpacked, else on the PATH. Raises StartFailed."""
    unpacked = root() / ".tools" / "prometheus" / "bin" / name
    if unpacked.exists():
        return str(unpacked)
    if found := shutil.which(name):
        return found
    raise StartFailed(f"no {name} here: `sh .ci/find-prometheus` in the repository fetches it, or install Debian's.")
