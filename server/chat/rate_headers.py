"""What a provider says about its limits in response headers (`x-ratelimit-*`, `retry-after`)."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class RateHeaders:
    """The provider's view of our budget after one response; None where it said nothing. Resets are seconds."""

    limit_requests: int | None
    remaining_requests: int | None
    reset_requests: float | None
    limit_tokens: int | None
    remaining_tokens: int | None
    reset_tokens: float | None


def rate_headers(headers: Mapping[str, str]) -> RateHeaders | None:
    """The rate headers of one response, or None when there are none (many compatible servers send none)."""
    found = RateHeaders(
        limit_requests=_count(headers.get("x-ratelimit-limit-requests")),
        remaining_requests=_count(headers.get("x-ratelimit-remaining-requests")),
        reset_requests=duration(headers.get("x-ratelimit-reset-requests")),
        limit_tokens=_count(headers.get("x-ratelimit-limit-tokens")),
        remaining_tokens=_count(headers.get("x-ratelimit-remaining-tokens")),
        reset_tokens=duration(headers.get("x-ratelimit-reset-tokens")),
    )
    if found.remaining_requests is None and found.remaining_tokens is None:
        return None
    return found


def duration(text: str | None) -> float | None:
    """Seconds of "20ms", "1m30.5s", "6h" or a bare number; None for anything else."""
    if not text:
        return None
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """How long to wait, in seconds: `retry-after-ms`, else `retry-after` as seconds or as an HTTP date (RFC 9110)."""
    millis = duration(headers.get("retry-after-ms"))
    if millis is not None:
        return millis / 1000
    text = headers.get("retry-after", "").strip()
    seconds = duration(text)
    if seconds is not None or not text:
        return seconds
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
