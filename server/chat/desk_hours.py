"""When the desk has people, from `tenant.settings`; every key of the object `desk` may be left out:

{"time_zone": "Asia/Singapore",                 IANA name
 "hours": {"MON": ["09:00", "18:00"]},          local; a weekday that is not named is closed; left out: always open
 "holidays": ["2026-12-25"]}                    closed
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Final, LiteralString
from zoneinfo import ZoneInfo

from server.db.pool import Connection

_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_KEYS = frozenset({"time_zone", "hours", "holidays"})
_FAR = 400  # days in which a desk that opens at all opens


@dataclass(frozen=True, slots=True)
class DeskHours:
    """Opening hours by weekday (0 is Monday); None means that the desk is always open."""

    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    week: Mapping[int, tuple[time, time]] | None = None
    holidays: frozenset[date] = field(default_factory=frozenset)

    def opens_at(self, now: datetime) -> datetime | None:
        """When the desk opens next; None while it is open, and where it never opens again."""
        for start, end in self._spans(now):
            if end > now:
                return start if start > now else None
        return None

    def after(self, since: datetime, patience: timedelta) -> datetime:
        """The time when `patience` of opening time has gone by."""
        left = patience
        for start, end in self._spans(since):
            begin = max(start, since)
            if end - begin >= left:
                return begin + left
            left -= max(timedelta(), end - begin)
        return since + left

    def _spans(self, since: datetime) -> list[tuple[datetime, datetime]]:
        """The hours of the days from `since` on, in UTC, one after the other."""
        if self.week is None:
            return [(since, since + timedelta(days=_FAR))]
        spans = []
        first = since.astimezone(self.zone).date()
        for offset in range(_FAR):
            day = first + timedelta(days=offset)
            hours = self.week.get(day.weekday())
            if hours is not None and day not in self.holidays:
                start, end = (datetime.combine(day, each, self.zone).astimezone(since.tzinfo) for each in hours)
                if end > since:
                    spans.append((start, end))
        return spans


SELECT_HOURS: Final[LiteralString] = "select coalesce(settings -> 'desk', '{}') as desk from tenant where id = $1"


async def load_hours(connection: Connection, tenant: str) -> DeskHours:
    """The tenant's hours. Raises ValueError for settings that say nothing: a misspelt key would be a rule that
    silently does not hold."""
    stored = await connection.fetchval(SELECT_HOURS, tenant)
    return read_hours(json.loads(stored) if stored else {}, tenant)


def read_hours(settings: Mapping[str, Any], tenant: str) -> DeskHours:
    """The hours that the settings say."""
    if unknown := settings.keys() - _KEYS:
        raise ValueError(f"settings of tenant {tenant}: desk has no {min(unknown)}")
    named = settings.get("hours")
    week = None
    if named is not None:
        week = {_WEEKDAYS.index(day): _span(tenant, day, *span) for day, span in named.items()}
    holidays = frozenset(date.fromisoformat(day) for day in settings.get("holidays", ()))
    return DeskHours(ZoneInfo(settings.get("time_zone", "Asia/Singapore")), week, holidays)


def _span(tenant: str, day: str, opens: str, closes: str) -> tuple[time, time]:
    start, end = time.fromisoformat(opens), time.fromisoformat(closes)
    if start >= end:
        raise ValueError(f"settings of tenant {tenant}: desk closes before it opens on {day}")
    return start, end
