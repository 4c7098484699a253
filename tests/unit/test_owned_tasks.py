"""Owned tasks end when they are told to, also those that miss the first time."""

from __future__ import annotations

import asyncio

from server.owned_tasks import end


async def test_a_swallowed_cancellation_is_repeated() -> None:
    swallowed = 0

    async def deaf_once() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 1:
                    raise

    task = asyncio.create_task(deaf_once())
    await asyncio.sleep(0)
    await asyncio.wait_for(end([task]), 30)
    assert task.cancelled()
    assert swallowed == 2
