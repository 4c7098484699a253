"""Why a conversation needs a person, how urgent that is, and by when somebody answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from server.chat.desk_hours import DeskHours


class HandOffReason(StrEnum):
    """Why a person is asked for or speaks."""

    ASKED = "ASKED"
    COMPLAINT = "COMPLAINT"
    FOOD_SAFETY = "FOOD_SAFETY"
    LOW_CONFIDENCE = "LOW_CONFIDENCE"
    MISUNDERSTOOD_THREE_TIMES = "MISUNDERSTOOD_THREE_TIMES"
    ORDER_HELD = "ORDER_HELD"
    STEPPED_IN = "STEPPED_IN"

    @property
    def level(self) -> int:
        return _LEVELS.get(self, 1)

    @property
    def told(self) -> str:
        """The closed word that the events of a change of controller carry."""
        return "misunderstood" if self is HandOffReason.MISUNDERSTOOD_THREE_TIMES else self.value.lower()


RETURNED = "returned"
"""The word for a conversation that the assistant has again."""

_LEVELS = {HandOffReason.COMPLAINT: 2, HandOffReason.FOOD_SAFETY: 3}
_URGENT = 3
_PATIENCE = {1: timedelta(hours=4), 2: timedelta(hours=2), _URGENT: timedelta(minutes=30)}


@dataclass(frozen=True, slots=True)
class HandOff:
    """An open hand-off. `place` in the tenant's queue counts from 1 and is 0 once somebody has taken over; `holder` is
    the reference of who has, shown to staff only; `order` and `proposal` are bare ids."""

    reason: HandOffReason
    place: int
    request_time: datetime
    due_time: datetime
    note: str = ""
    order: str = ""
    proposal: str = ""
    holder: str = ""
    level: int = 1
    opens_at: datetime | None = None

    @property
    def desk_open(self) -> bool:
        return self.opens_at is None


def due(level: int, since: datetime, hours: DeskHours) -> datetime:
    """By when somebody must have taken over. Only where health may be at stake the clock runs while the desk is
    closed."""
    patience = _PATIENCE[level]
    return since + patience if level == _URGENT else hours.after(since, patience)
