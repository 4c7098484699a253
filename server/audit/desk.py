"""The parts that reading the trail is made of, put together for one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.audit.exporting import Exporting
from server.audit.log_store import CHANNEL
from server.audit.proving import Proving
from server.audit.reading import AuditReading
from server.audit.recording import Recording
from server.audit.tailing import Tailing
from server.db.listening import Bell
from server.db.pool import Database
from server.paging import PageTokens
from server.signing import PublicKey
from server.stream_life import StreamLimits


@dataclass(frozen=True, slots=True)
class AuditDesk:
    """The use cases of the trail. `bell.keep_listening()` is a task that the application owns; `drain()` belongs to its
    drain."""

    reading: AuditReading
    tailing: Tailing
    proving: Proving
    exporting: Exporting
    recording: Recording
    bell: Bell

    def drain(self) -> None:
        """Sends every open stream elsewhere."""
        self.tailing.drain()
        self.exporting.drain()


def audit_desk(
    database: Database, dsn: str, keys: Sequence[PublicKey], tokens: PageTokens, limits: StreamLimits
) -> AuditDesk:
    """The use cases over one database; `dsn` is the same database's, for the connection that listens; `keys` are those
    that sign its checkpoints."""
    bell = Bell(dsn, CHANNEL, name="tria-audit-bell")
    return AuditDesk(
        reading=AuditReading(database, tokens),
        tailing=Tailing(database, bell, limits),
        proving=Proving(database),
        exporting=Exporting(database, keys, limits.max_age),
        recording=Recording(database),
        bell=bell,
    )
