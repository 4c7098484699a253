"""Opening hours: when the desk opens, and by when somebody answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.chat.desk_hours import DeskHours, read_hours
from server.chat.hand_off import HandOffReason, due

SHOP = read_hours(
    {
        "time_zone": "Asia/Singapore",
        "hours": {"MON": ["09:00", "18:00"], "TUE": ["09:00", "18:00"], "SAT": ["09:00", "13:00"]},
        "holidays": ["2026-06-02"],
    },
    "demo",
)
ALWAYS = read_hours({}, "demo")
TIMES = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001  # naive by design of the strategy


def at(text: str) -> datetime:
    """A time of Singapore, in UTC."""
    return datetime.fromisoformat(f"2026-{text}+08:00").astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("06-01T10:00", None),  # Monday
        ("06-01T08:59", "06-01T09:00"),
        ("06-01T18:00", "06-06T09:00"),  # Tuesday is a holiday
        ("06-06T13:00", "06-08T09:00"),
        ("06-07T12:00", "06-08T09:00"),
    ],
)
def test_when_the_desk_opens(now: str, opens: str | None) -> None:
    assert SHOP.opens_at(at(now)) == (at(opens) if opens else None)
    assert ALWAYS.opens_at(at(now)) is None


@pytest.mark.parametrize(
    ("reason", "since", "until"),
    [
        (HandOffReason.ASKED, "06-01T10:00", "06-01T14:00"),
        (HandOffReason.ASKED, "06-01T16:00", "06-06T11:00"),
        (HandOffReason.COMPLAINT, "06-01T17:00", "06-06T10:00"),
        (HandOffReason.ORDER_HELD, "06-06T12:00", "06-08T12:00"),
        (HandOffReason.FOOD_SAFETY, "06-01T23:00", "06-01T23:30"),
        (HandOffReason.FOOD_SAFETY, "06-07T10:00", "06-07T10:30"),
    ],
)
def test_by_when_somebody_answers(reason: HandOffReason, since: str, until: str) -> None:
    assert due(reason.level, at(since), SHOP) == at(until)


@given(TIMES, st.sampled_from(HandOffReason))
def test_nobody_waits_for_less_than_promised_and_the_end_is_in_opening_hours(now: datetime, why: HandOffReason) -> None:
    until = due(why.level, now, SHOP)
    assert until - now >= due(why.level, now, ALWAYS) - now
    if why.level < 3:
        assert SHOP.opens_at(until - timedelta(microseconds=1)) is None


@given(TIMES, TIMES)
def test_who_asks_later_is_not_promised_sooner(one: datetime, other: datetime) -> None:
    first, second = sorted((one, other))
    assert due(1, first, SHOP) <= due(1, second, SHOP)


def test_a_desk_that_never_opens_still_answers() -> None:
    never = DeskHours(week={})
    assert never.opens_at(at("06-01T10:00")) is None
    assert due(1, at("06-01T10:00"), never) == at("06-01T14:00")


@pytest.mark.parametrize(
    "settings", [{"huors": {}}, {"hours": {"MON": ["18:00", "09:00"]}}, {"hours": {"LUN": ["1", "2"]}}]
)
def test_settings_that_say_nothing_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"desk|tuple"):
        read_hours(settings, "demo")
