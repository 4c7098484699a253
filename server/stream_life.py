"""How long a stream may last, waiting for news within that time, and what every stream with a cursor says besides news.

Times are of `time.monotonic`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from server.caller import Caller
from server.waiting import within


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Seconds of silence before a heartbeat, and the age at which whoever follows must come back."""

    heartbeat: float
    max_age: float


@dataclass(frozen=True, slots=True)
class Alive:
    """Nothing happened."""

    cursor: str


@dataclass(frozen=True, slots=True)
class ComeBack:
    """The stream ends here; go on from the cursor after `delay` seconds."""

    cursor: str
    delay: float


def must_come_back_at(caller: Caller, max_age: float) -> float:
    """The stream's age limit (`max_age` seconds from now), or the end of the caller's credential."""
    end = time.monotonic() + max_age
    if caller.expires_at is not None:
        end = min(end, time.monotonic() + max(0.0, caller.expires_at - time.time()))
    return end


async def news_until(news: asyncio.Event, until: float, poll: float) -> None:
    """Returns with the news, at `until`, or after `poll` seconds."""
    await within(news, max(0.01, min(until - time.monotonic(), poll)))
