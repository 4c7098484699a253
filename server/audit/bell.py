"""Wakes this process's readers of the log when something was appended, here or elsewhere."""

from __future__ import annotations

import asyncio

from server.db.listening import Listening

CHANNEL = "audit_event"
"""Notified by the sequencer with the tenant, in the transaction that appends."""


class AuditBell:
    """`keep_listening()` is a task that the application owns."""

    def __init__(self, dsn: str) -> None:
        self._listening = Listening(dsn, CHANNEL, self._heard, self.ring_all, name="tria-audit-bell")
        self._waiting: dict[asyncio.Event, str] = {}

    def join(self, tenant: str) -> asyncio.Event:
        """An event that is set whenever the tenant's log has grown. Give it back with `leave`."""
        event = asyncio.Event()
        self._waiting[event] = tenant
        return event

    def leave(self, event: asyncio.Event) -> None:
        del self._waiting[event]

    def ring_all(self) -> None:
        """Wakes everybody: something may have been missed, or the process is about to stop."""
        for event in self._waiting:
            event.set()

    async def keep_listening(self) -> None:
        """Root of the listening task."""
        await self._listening.keep_listening()

    def _heard(self, tenant: str) -> None:
        for event, of_tenant in self._waiting.items():
            if of_tenant == tenant:
                event.set()
