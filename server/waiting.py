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


async def within(event: asyncio.Event, seconds: float) -> None:
    """Waits for the event, but no longer."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
