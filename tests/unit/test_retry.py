"""Retries of a model call: what is tried again, how long it waits, and that the deadline wins."""

from __future__ import annotations

import asyncio
import time

import pytest

from server.chat.completions import ModelError
from server.chat.retry import RetryPolicy, retries
from server.errors import Reason

POLICY = RetryPolicy(attempts=3, base=0.04, cap=1.0)


class Upstream:
    """Fails as scripted, then works."""

    def __init__(self, *failures: ModelError) -> None:
        self._failures = list(failures)
        self.at: list[float] = []
        self.asked = asyncio.Event()

    async def __call__(self) -> str:
        self.at.append(time.monotonic())
        self.asked.set()
        if self._failures:
            raise self._failures.pop(0)
        return "ok"


def down(*, retryable: bool = True, retry_after: float | None = None) -> ModelError:
    return ModelError(Reason.MODEL_UNAVAILABLE, "down", retryable=retryable, retry_after=retry_after)


async def retrying(upstream: Upstream, policy: RetryPolicy, deadline: float) -> str:
    """The first success, as callers write it."""
    said = ""
    async for attempt in retries(policy, deadline):
        with attempt:
            said = await upstream()
    return said


def in_seconds(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_waits_grow() -> None:
    upstream = Upstream(down(), down())
    assert await retrying(upstream, POLICY, in_seconds(10)) == "ok"
    first, second, third = upstream.at
    assert second - first >= POLICY.base
    assert third - second >= 2 * POLICY.base


async def test_attempts_are_bounded_and_the_last_error_is_told() -> None:
    last = down()
    with pytest.raises(ModelError) as failed:
        await retrying(Upstream(down(), down(), last, down()), POLICY, in_seconds(10))
    assert failed.value is last


async def test_what_cannot_get_better_is_not_tried_again() -> None:
    upstream = Upstream(down(retryable=False))
    with pytest.raises(ModelError):
        await retrying(upstream, POLICY, in_seconds(10))
    assert len(upstream.at) == 1


async def test_a_retry_after_takes_the_place_of_the_wait() -> None:
    upstream = Upstream(down(retry_after=0.3))
    await retrying(upstream, POLICY, in_seconds(10))
    assert upstream.at[1] - upstream.at[0] >= 0.3


async def test_a_wait_that_would_reach_the_deadline_is_not_begun() -> None:
    started = time.monotonic()
    with pytest.raises(ModelError) as failed:
        await retrying(Upstream(down(retry_after=5.0)), POLICY, in_seconds(2.0))
    assert failed.value.retry_after == 5.0
    assert time.monotonic() - started < 1.0


async def test_a_cancelled_wait_ends_at_once() -> None:
    upstream = Upstream(down(retry_after=60.0))
    task = asyncio.create_task(retrying(upstream, POLICY, in_seconds(600)))
    await asyncio.wait_for(upstream.asked.wait(), 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 1)
