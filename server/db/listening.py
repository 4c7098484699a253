"""One connection that listens for notifications of PostgreSQL, and comes back when PostgreSQL does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import asyncpg

from server.db.errors import AWAY
from server.waiting import within

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
        settings = {"application_name": self._name}
        connection = await asyncpg.connect(self._dsn, timeout=5.0, command_timeout=5.0, server_settings=settings)
        lost = asyncio.Event()

        def gone(_: object) -> None:
            self._lost()
            lost.set()

        connection.add_termination_listener(gone)
        try:
            await connection.add_listener(self._channel, self._received)
            self._again()
            while not await within(lost, _PROBE):
                await connection.execute("select 1")
        finally:
            self._lost()
            connection.terminate()

    def _received(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._heard(str(payload))


class Bell:
    """Wakes those of this process who wait for news of a channel, said here or elsewhere. A payload is a tenant, or a
    tenant and a part of it with a blank between."""

    def __init__(self, dsn: str, channel: str, *, name: str) -> None:
        self._listening = Listening(dsn, channel, self._heard, self.ring_all, name=name)
        self._waiting: dict[asyncio.Event, tuple[str, str]] = {}

    def join(self, tenant: str, part: str = "") -> asyncio.Event:
        """An event that is set whenever there is news of the part ('': of any of the tenant's). Give it back with
        `leave`."""
        event = asyncio.Event()
        self._waiting[event] = (tenant, part)
        return event

    def leave(self, event: asyncio.Event) -> None:
        del self._waiting[event]

    def ring_all(self) -> None:
        """Wakes everybody: something may have been missed, or the process is about to stop."""
        for event in self._waiting:
            event.set()

    async def keep_listening(self) -> None:
        """Root of the listening task, which the application owns: comes back when PostgreSQL does."""
        await self._listening.keep_listening()

    def _heard(self, payload: str) -> None:
        tenant, _, part = payload.partition(" ")
        for event, (of_tenant, of_part) in self._waiting.items():
            if of_tenant == tenant and of_part in {"", part}:
                event.set()
