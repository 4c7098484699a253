"""One connection that listens for notifications of PostgreSQL, and comes back when PostgreSQL does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import asyncpg

from server.db.errors import AWAY

log = logging.getLogger(__name__)

_RETRY = 1.0  # seconds between attempts to listen
_PROBE = 15.0  # seconds of silence after which the connection is tried


class Listening:
    """Calls `heard` with each payload of the channel, `again` whenever it begins to listen (what was said before was
    missed), and `lost` whenever it does not listen any more."""

    def __init__(
        self,
        dsn: str,
        channel: str,
        heard: Callable[[str], None],
        again: Callable[[], None],
        *,
        name: str,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._dsn = dsn
        self._channel = channel
        self._heard = heard
        self._again = again
        self._lost = lost
        self._name = name

    async def keep_listening(self) -> None:
        """Root of the listening task."""
        while True:
            try:
                await self._listen()
                log.warning("not listening: the connection was lost", extra={"channel": self._channel})
            except (*AWAY, asyncpg.PostgresError, asyncpg.InterfaceError) as lost:
                log.warning("not listening: %s", type(lost).__name__, extra={"channel": self._channel})
            await asyncio.sleep(_RETRY)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=5.0, server_settings={"application_name": self._name})
        lost = asyncio.Event()

        def gone(_: object) -> None:
            self._lost()
            lost.set()

        connection.add_termination_listener(gone)
        try:
            await connection.add_listener(self._channel, self._received)
            self._again()
            while not lost.is_set():
                try:
                    await asyncio.wait_for(lost.wait(), _PROBE)
                except TimeoutError:
                    await connection.execute("select 1", timeout=5.0)
        finally:
            self._lost()
            connection.terminate()

    def _received(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._heard(str(payload))
