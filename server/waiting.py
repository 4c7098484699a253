"""Waiting for events: for the first of several, or for so long."""

from __future__ import annotations

import asyncio


async def first_of(*events: asyncio.Event) -> None:
    """Returns when any of the events is set."""
    waits = {asyncio.create_task(event.wait()) for event in events}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Waits for the event at most so long; whether it came. Not by `asyncio.wait_for`: that of Python 3.11 may swallow
    a cancellation that comes with the event (python/cpython issue 86296)."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
