"""Hearing that somebody's keys were destroyed, here or in another process, so that nothing of theirs stays in memory.

Keys are remembered only while this process listens: from the moment the connection is lost, each is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from server.audit.sealing import Vault
from server.db.listening import Listening

CHANNEL = "subject_erased"
"""Notified with tenant and person, by the transaction that destroys the keys."""

Forget = Callable[[str, str], None]


class ErasureFeed:
    """Tells the vault, and whoever else holds something of people in memory, whom to forget: (tenant, person)."""

    def __init__(self, dsn: str, vault: Vault, others: Sequence[Forget] = ()) -> None:
        self._forget = (vault.forget, *others)
        self._listening = Listening(
            dsn,
            CHANNEL,
            self._heard,
            partial(vault.remember, keys=True),
            name="tria-erasures",
            lost=partial(vault.remember, keys=False),
        )

    async def keep_listening(self) -> None:
        """Root of the listening task."""
        await self._listening.keep_listening()

    def _heard(self, payload: str) -> None:
        tenant, _, person = payload.partition(" ")
        for forget in self._forget:
            forget(tenant, person)
