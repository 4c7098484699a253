"""Which day an order can still be delivered on: cut-offs, the days of a zone, and holidays, in the supplier's time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_HORIZON = 400  # days that are looked at; a calendar without a delivery day within them is a mistake
_EVERY_DAY: Mapping[int, time | None] = dict.fromkeys(range(7))


@dataclass(frozen=True, slots=True)
class Calendar:
    """When orders are taken and delivered.

    `working_days` gives the cut-off of each weekday (0 is Monday) on which orders are packed; None means until
    midnight. `delivery_cutoffs` replaces the cut-off before deliveries of a weekday. `delivery_days` are weekdays.
    """

    zone: ZoneInfo
    working_days: Mapping[int, time | None] = field(default_factory=lambda: _EVERY_DAY)
    delivery_cutoffs: Mapping[int, time] = field(default_factory=dict)
    delivery_days: frozenset[int] = frozenset(range(7))
    holidays: frozenset[date] = frozenset()

    def today(self, now: datetime) -> date:
        """The supplier's day at the moment `now`."""
        return now.astimezone(self.zone).date()

    def deadline(self, day: date) -> datetime:
        """The moment by which an order for `day` must be confirmed: the cut-off of the last working day before it."""
        packing = day - timedelta(days=1)
        while not self._works(packing) and day - packing < timedelta(days=_HORIZON):
            packing -= timedelta(days=1)
        cutoff = self.delivery_cutoffs.get(day.weekday()) or self.working_days.get(packing.weekday())
        if cutoff is None:
            return datetime.combine(packing + timedelta(days=1), time(), self.zone)
        return datetime.combine(packing, cutoff, self.zone)

    def delivers(self, day: date, now: datetime) -> bool:
        """Whether an order confirmed `now` can come on `day`."""
        return day.weekday() in self.delivery_days and day not in self.holidays and now < self.deadline(day)

    def earliest(self, now: datetime) -> date:
        """The first day on which an order confirmed `now` can come. Raises ValueError when there is none."""
        return self.first_from(self.today(now), now)

    def first_from(self, day: date, now: datetime) -> date:
        """The first such day that is not before `day`. Raises ValueError when there is none."""
        for later in range(_HORIZON):
            if self.delivers(found := day + timedelta(days=later), now):
                return found
        raise ValueError("the calendar has no delivery day")

    def _works(self, day: date) -> bool:
        return day.weekday() in self.working_days and day not in self.holidays
