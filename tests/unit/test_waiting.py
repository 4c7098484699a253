"""Waiting for an event, for so long."""

from __future__ import annotations

import asyncio

from server.waiting import within


async def test_it_says_whether_the_event_came() -> None:
    event = asyncio.Event()
    assert not await within(event, 0.01)
    event.set()
    assert await within(event, 0.0)


async def test_a_cancellation_that_comes_with_the_event_is_not_lost() -> None:
    """Or whoever ends a background task would wait for it for ever."""
    for pauses in range(4):
        event = asyncio.Event()
        waiting = asyncio.create_task(within(event, 60.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        event.set()
        for _ in range(pauses):
            await asyncio.sleep(0)
        ended = waiting.done()
        waiting.cancel()
        await asyncio.wait({waiting})
        assert ended or waiting.cancelled(), f"after {pauses} turns of the loop"
