"""Hearing that somebody's keys were destroyed, here or in another process, so that nothing of theirs stays in memory.

Keys are remembered only while this process listens: from the moment the connection is lost, each is read again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import asyncpg

from server.audit.sealing import Vault
from server.db.errors import AWAY

log = logging.getLogger(__name__)

CHANNEL = "subject_erased"
_RETRY = 1.0  # seconds between attempts to listen
_PROBE = 5.0  # seconds of silence after which the listening connection is tried: how long a dead one can be believed

Forget = Callable[[str, str], None]


class ErasureFeed:
    """Tells the vault, and whoever else holds something of people in memory, whom to forget: (tenant, person)."""

    def __init__(self, dsn: str, vault: Vault, others: Sequence[Forget] = ()) -> None:
        self._dsn = dsn
        self._vault = vault
        self._forget = (vault.forget, *others)

    async def keep_listening(self) -> None:
        """Root of the listening task: listens, and comes back when PostgreSQL does."""
        while True:
            try:
                await self._listen()
                log.warning("not listening for erasures: the connection was lost")
            except (*AWAY, asyncpg.PostgresError, asyncpg.InterfaceError) as lost:
                log.warning("not listening for erasures: %s", type(lost).__name__)
            await asyncio.sleep(_RETRY)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(
            self._dsn, timeout=5.0, server_settings={"application_name": "tria-erasures"}
        )
        lost = asyncio.Event()

        def gone(_: object) -> None:
            self._vault.remember(keys=False)
            lost.set()

        connection.add_termination_listener(gone)
        try:
            await connection.add_listener(CHANNEL, self._heard)
            self._vault.remember(keys=True)
            while not lost.is_set():
                try:
                    await asyncio.wait_for(lost.wait(), _PROBE)
                except TimeoutError:
                    await connection.execute("select 1", timeout=2.0)
        finally:
            self._vault.remember(keys=False)
            connection.terminate()

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        tenant, _, person = str(payload).partition(" ")
        for forget in self._forget:
            forget(tenant, person)
