"""Provider limits as headers tell them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from server.chat.rate_headers import duration, rate_headers, retry_after


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20ms", 0.02), ("1s", 1.0), ("6m0s", 360.0), ("1m30.5s", 90.5), ("1h2m", 3720.0), ("7.5", 7.5),
     ("", None), (None, None), ("soon", None), ("1s later", None), ("-1", None)],
)  # fmt: skip
def test_durations(text: str | None, seconds: float | None) -> None:
    assert duration(text) == (pytest.approx(seconds) if seconds is not None else None)


def test_headers_of_a_server_without_limits_say_nothing() -> None:
    assert rate_headers({"content-type": "text/event-stream"}) is None


def test_all_six_are_read() -> None:
    headers = {
        f"x-ratelimit-{what}-{unit}": value
        for unit in ("requests", "tokens")
        for what, value in (("limit", "500"), ("remaining", "499"), ("reset", "120ms"))
    }
    found = rate_headers(headers)
    assert found is not None
    assert (found.limit_requests, found.remaining_tokens) == (500, 499)
    assert found.reset_tokens == pytest.approx(0.12)


def test_retry_after_in_every_form() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after({"retry-after-ms": "1500", "retry-after": "2"}) == 1.5
    assert retry_after({"retry-after": "2"}) == 2.0
    assert retry_after({"retry-after": later}) == pytest.approx(30, abs=2)
    assert retry_after({"retry-after": "tomorrow"}) is None
    assert retry_after({}) is None
