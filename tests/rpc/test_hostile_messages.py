"""One customer's text, whatever it repeats, does not keep everybody else waiting."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.app import Desk

PROSE = ("Good morning, we need 20 boxes of napkins and three cartons of pizza boxes by Friday, thanks. " * 90)[:8000]


async def longest_hold(desk: Desk, text: str) -> float:
    """The most CPU seconds for which the loop did nothing else while the message was answered."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)
            await asyncio.sleep(0.002)

    watching = asyncio.create_task(watch())
    try:
        events = await desk.say(text)
    finally:
        watching.cancel()
    assert events[-1].HasField("completed")
    return longest


@pytest.mark.parametrize("shape", ["12", "1", "a1b2", "a.a.", "\n", "不要", "hundred ", "crton "])
async def test_no_message_holds_the_loop(desk: Desk, shape: str) -> None:
    floor = max(await longest_hold(desk, PROSE), 0.02)
    assert await longest_hold(desk, "x" + (shape * 8000)[:7998] + "x") <= 5 * floor
