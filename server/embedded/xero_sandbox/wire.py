"""JSON as Xero writes it: amounts are numbers with their own decimals, times are `/Date(milliseconds+0000)/`."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

Document = dict[str, Any]  # one resource in Xero's shape, with Decimal amounts

_MS_DATE = re.compile(r"/Date\((-?\d{1,14})(?:[+-]\d{4})?\)/")


class Malformed(ValueError):
    """Text that is not what it should be: JSON, a date, a query value."""


def loads(text: str | bytes) -> Any:
    """Parsed strictly: amounts become Decimal, NaN and Infinity are refused."""
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Malformed("not JSON") from error


def dumps(value: object) -> str:
    """The inverse: a Decimal is written with the digits that it has, which json.dumps cannot do."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(str(key))}:{dumps(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(dumps(item) for item in value) + "]"
    return json.dumps(value)


def ms_date(seconds: float) -> str:
    """A moment, in milliseconds since 1970."""
    return f"/Date({round(seconds * 1000)}+0000)/"


def ms_day(day: date) -> str:
    """A day: its midnight in UTC."""
    return ms_date(datetime.combine(day, time(), UTC).timestamp())


def read_day(text: str) -> date:
    """A day as clients send it: 2026-03-31, 2026-03-31T00:00:00 or /Date(ms)/. Raises Malformed."""
    found = _MS_DATE.fullmatch(text)
    try:
        if found:
            return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(found[1]))).date()
        return datetime.fromisoformat(text).date()
    except (ValueError, OverflowError) as error:
        raise Malformed(f"{text[:40]!r} is not a date") from error


def read_since(text: str) -> float:
    """The moment of an If-Modified-Since header: ISO without zone (it means UTC) or an HTTP date. Raises Malformed."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text)
        except ValueError:
            continue
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    raise Malformed(f"If-Modified-Since {text[:40]!r} is not a moment")


def moment_of(text: str) -> float:
    """Seconds since 1970 of a time that `ms_date` wrote."""
    found = _MS_DATE.fullmatch(text)
    if found is None:
        raise Malformed(f"{text[:40]!r} is not a moment")
    return int(found[1]) / 1000


def web_address(text: str) -> SplitResult | None:
    """The parts of an absolute http or https address; None for anything else."""
    try:
        parts = urlsplit(text)
    except ValueError:  # http://[
        return None
    return parts if parts.scheme in {"http", "https"} and parts.hostname else None


def _refuse(name: str) -> None:
    raise ValueError(name)
