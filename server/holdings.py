"""What a feature holds about people, as the export and the erasure of a person see it.

A person is a reference (server/pii/people.py). Each feature says what it has and how it is erased; who may ask, and
what is recorded of it, is the business of server/audit/subjects.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from server.db.pool import Connection

Records: TypeAlias = Sequence[Mapping[str, Any]]
"""Records of one kind as JSON: text, whole numbers, lists and objects."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was done in one store: records erased, records kept without what is personal, and why those were kept."""

    store: str
    erased: int
    kept: int = 0
    legal_basis: str = ""


class Holding(Protocol):
    """What one feature holds. All of it runs in the caller's transaction."""

    async def count(self, connection: Connection, tenant: str, person: str) -> int:
        """Records that `export` would read; nothing of them is fetched."""

    async def export(self, connection: Connection, tenant: str, person: str) -> Mapping[str, Records]:
        """Everything that is the person's, by kind of record."""

    async def erase(self, connection: Connection, tenant: str, person: str, until: datetime) -> Sequence[Erased]:
        """Erases what the person had before that time, and what only a destroyed key opens; twice does nothing more."""

    async def remaining(self, connection: Connection, tenant: str, person: str, until: datetime) -> int:
        """Records that `erase` would still find."""


def affected(status: str) -> int:
    """The rows of a command's status, as in `UPDATE 3`."""
    return int(status.rpartition(" ")[2])


def when(time: datetime | None) -> str:
    """A time in an export; empty for none."""
    return time.isoformat() if time else ""
