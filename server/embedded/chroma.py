"""Embedded *real* Chroma: the server behind `chroma run`, as our child on a loopback port.

Never PersistentClient inside an asyncio process: its writes hold the GIL for as long as they take (up to 0.8 s was
measured for 2,000 documents), and a second process on the same path does not see its vectors.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from server.embedded.child import Child, StartFailed, private_directory

# The console script imports the whole client first (3 s, 110 MB); its entry point alone takes 0.1 s and 35 MB.
_SERVER = "import sys, chromadb_rust_bindings as b; b.cli(['chroma', *sys.argv[1:]])"
_HOST = "127.0.0.1"  # Chroma 1.x has no authentication: whoever reaches the port owns the data
_ATTEMPTS = 3  # a free port can be taken by someone else between our look and Chroma's bind


class EmbeddedChroma:
    """One Chroma server in `state_dir`. Its port is kept in the directory, so clients find it again after a restart."""

    name = "chroma"

    def __init__(self, state_dir: str | os.PathLike[str], *, ready_timeout: float = 60.0) -> None:
        self.state = Path(state_dir).absolute()
        self._ready_timeout = ready_timeout
        self._port: int | None = None
        self._child = Child(self.name, self.state, parent_death=signal.SIGTERM, stop_signals=((signal.SIGTERM, 15.0),))

    @property
    def pid(self) -> int | None:
        return self._child.pid

    async def start(self) -> str:
        """Start (again) and return `http://127.0.0.1:PORT`; raises StartFailed or OwnedElsewhere.

        The port changes only when the remembered one is taken at this object's first start. Afterwards clients hold it,
        so a restart waits for that same port.
        """
        private_directory(self.state)
        await self._child.own()
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._child.stop)
            if self._port is None:
                self._port = await self._first_start()
            elif self._child.pid is None:
                await self._launch(self._port)
            undo.pop_all()
        return f"http://{_HOST}:{self._port}"

    async def stop(self) -> None:
        """Shut down cleanly and release the state directory."""
        await self._child.stop()

    async def wait_exit(self) -> int:
        """Return the exit code once the server has ended, however it ended."""
        return await self._child.wait_exit()

    async def _first_start(self) -> int:
        remembered = _read_port(self.state / "port")
        for attempt in range(1, _ATTEMPTS + 1):
            port = remembered if attempt == 1 and remembered and _is_free(remembered) else _free_port()
            try:
                await self._launch(port)
            except StartFailed:
                if attempt == _ATTEMPTS or self._child.pid is not None or _is_free(port):
                    raise
                continue
            (self.state / "port").write_text(str(port))
            return port
        raise AssertionError("the last attempt returns or raises")

    async def _launch(self, port: int) -> None:
        log = self.state / "chroma.log"
        # fmt: off
        self._child.spawn(
            [sys.executable, "-c", _SERVER, "run",
             "--path", self.state / "data", "--host", _HOST, "--port", str(port)],
            log=log,
        )
        # fmt: on

        async def answers() -> bool:
            return self._child.pid is not None and await asyncio.to_thread(_heartbeat, port)

        await self._child.until_ready(answers, timeout=self._ready_timeout, log=log)


def _heartbeat(port: int) -> bool:
    connection = http.client.HTTPConnection(_HOST, port, timeout=2)
    try:
        connection.request("GET", "/api/v2/heartbeat")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):  # not listening yet
        return False
    finally:
        connection.close()


def _read_port(path: Path) -> int | None:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() else None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Chroma does: TIME_WAIT is not "taken"
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
    return port
