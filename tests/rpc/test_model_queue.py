"""A model with a limit and more people than it allows: everybody waits in turn, sees how long, and is answered."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st
from llmock.pytest_plugin import LLMock

from server.chat.assistant import Answered, AnswerKind, Asker, Event, Turn, Waiting
from server.chat.completions import ModelCall, ModelError
from server.chat.fair_queue import FairQueue, Ticket
from server.chat.governing import Governor, GovernorLimits, Pace
from server.embedded.valkey import EmbeddedValkey
from server.errors import Reason
from tests.support.llmock import DeskTools, desk
from tests.support.stores import eventually

ANSWER = "You can order until 14:00 for the next delivery [1]."


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(redis_url, socket_timeout=1.0) as opened:
        yield opened


def call(tenant: str = "t", *, within: float = 60.0) -> ModelCall:
    return ModelCall((), asyncio.get_running_loop().time() + within, 16, tenant=tenant)


async def admitted(governor: Governor, tenant: str = "t", *, within: float = 60.0) -> list[Waiting]:
    """The places that were told until the call was let in."""
    return [waiting async for waiting in governor.admission(call(tenant, within=within))]


async def test_everybody_is_answered_and_sees_a_place(
    llmock: LLMock, client: redis.asyncio.Redis, pytestconfig: pytest.Config
) -> None:
    users, limit = int(pytestconfig.getoption("--queue-users")), int(pytestconfig.getoption("--queue-limit"))
    llmock.limits(rpm=limit)
    llmock.reply(ANSWER, times=None)
    governors = [Governor(client, "m", GovernorLimits(limit, processes=2)) for _ in range(2)]
    seen: dict[int, list[Waiting]] = {number: [] for number in range(users)}
    async with (
        desk(llmock.base_url(), governor=governors[0]) as one,
        desk(llmock.base_url(), governor=governors[1]) as two,
    ):

        async def use(number: int) -> list[Answered]:
            ends = []
            asker = Asker(f"tenant-{number % 5}")
            for question in range(3):
                turn = Turn(f"Until when can I order, user {number} question {question}?", asker=asker)
                events: list[Event] = [
                    event async for event in (one, two)[number % 2].assistant.reply(turn, DeskTools())
                ]
                seen[number] += [event for event in events if isinstance(event, Waiting)]
                ends += [event for event in events if isinstance(event, Answered)]
            return ends

        ends = [end for ends in await asyncio.gather(*map(use, range(users))) for end in ends]
    assert len(ends) == 3 * users
    assert {end.kind for end in ends} == {AnswerKind.ANSWERED}
    assert {end.usage.model for end in ends} == {"desk-test-model"}, "nobody was answered by another"
    assert all(seen.values()), "somebody saw no place"
    assert all(waiting.position >= 1 and waiting.eta >= 0 for places in seen.values() for waiting in places)
    assert len(llmock.requests) == 3 * users, "nothing was sent twice"
    assert {request.status for request in llmock.requests} == {200}
    llmock.assert_resilient(strict=True)


async def test_a_refusal_holds_everybody_back_and_is_kept(llmock: LLMock, client: redis.asyncio.Redis) -> None:
    llmock.rate_limit(retry_after=1.0)
    llmock.reply(ANSWER, times=None)
    governors = [Governor(client, "m", GovernorLimits(600)) for _ in range(2)]
    async with desk(llmock.base_url(), governor=governors[0]) as one:
        events = [event async for event in one.assistant.reply(Turn("Until when can I order?"), DeskTools())]
        first, second = llmock.requests
        assert second.started_at - first.ended_at >= 1.0
        assert any(isinstance(event, Waiting) for event in events), "the wait is seen"
        await governors[0].refused(0.8)
        started = time.monotonic()
        await admitted(governors[1])
        assert time.monotonic() - started >= 0.7, "the other process knows"
    llmock.assert_resilient(strict=True)


async def test_what_comes_too_late_is_refused_at_once_with_the_delay(client: redis.asyncio.Redis) -> None:
    governor = Governor(client, "m", GovernorLimits(1))
    await admitted(governor)
    with pytest.raises(ModelError) as refused:
        await admitted(governor, within=2.0)
    assert refused.value.reason is Reason.MODEL_RATE_LIMITED
    assert refused.value.retry_after is not None
    assert refused.value.retry_after > 2.0
    assert not refused.value.billed
    assert governor.waiting == 0


async def test_tokens_are_limited_too(client: redis.asyncio.Redis) -> None:
    governor = Governor(client, "m", GovernorLimits(6000, tokens=960))
    started = time.monotonic()
    await asyncio.gather(*(admitted(governor) for _ in range(20)))
    # 240 tokens are there at once, which is fifteen calls of 16; the five after them come at 12 tokens a second.
    assert time.monotonic() - started >= 5.0


async def test_who_goes_away_gives_the_place_to_the_next(client: redis.asyncio.Redis) -> None:
    governor = Governor(client, "m", GovernorLimits(60))
    await asyncio.gather(*(admitted(governor) for _ in range(6)))
    leaving = asyncio.create_task(admitted(governor))

    async def waits() -> bool:
        return governor.waiting == 1

    await eventually(waits)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert governor.waiting == 0
    assert await asyncio.wait_for(admitted(governor), 10)


async def test_one_tenant_cannot_starve_another(client: redis.asyncio.Redis) -> None:
    governor = Governor(client, "m", GovernorLimits(600))
    order: list[str] = []

    async def use(tenant: str) -> None:
        await admitted(governor, tenant)
        order.append(tenant)

    flood = [asyncio.create_task(use("loud")) for _ in range(90)]

    async def waits() -> bool:
        return governor.waiting > 10

    await eventually(waits)
    before = len(order)
    await use("quiet")
    assert len(order) - before <= 6, "the quiet tenant's turn came with the next"
    for task in flood:
        task.cancel()
    await asyncio.wait(flood)


async def test_with_redis_killed_in_the_middle_a_process_keeps_to_its_share(stores_root: Path) -> None:
    place = stores_root / f"queue-{os.getpid()}"
    place.mkdir(mode=0o711)
    valkey = EmbeddedValkey(place)
    try:
        async with redis.asyncio.Redis.from_url(await valkey.start(), socket_timeout=0.5) as opened:
            governor = Governor(opened, "m", GovernorLimits(240))
            await asyncio.gather(*(admitted(governor) for _ in range(24)))
            waiting = [asyncio.create_task(admitted(governor)) for _ in range(15)]
            assert valkey.pid is not None
            os.kill(valkey.pid, signal.SIGKILL)
            await valkey.wait_exit()
            started = time.monotonic()
            await asyncio.wait_for(asyncio.gather(*waiting), 30)
            # Half of 240 a minute: twelve at once, the others at 1.8 a second; some may have been let in before.
            assert time.monotonic() - started >= 0.2
    finally:
        await valkey.stop()


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.data())
def test_positions_are_the_order_in_which_tickets_leave(tenants: list[str], data: st.DataObject) -> None:
    queue = FairQueue()
    tickets = [Ticket(tenant, 1) for tenant in tenants]
    for ticket in tickets:
        queue.join(ticket)
    for ticket in data.draw(st.lists(st.sampled_from(tickets), unique_by=id, max_size=5)):
        queue.leave(ticket)
        assert queue.position(ticket) == 0
    places = {id(ticket): queue.position(ticket) for ticket in tickets if queue.position(ticket)}
    assert sorted(places.values()) == list(range(1, len(queue) + 1))
    left = 0
    while (leaving := queue.next()) is not None:
        left += 1
        assert places[id(leaving)] == left
    assert not queue
    assert queue.first() is None


@given(st.integers(1, 100_000), st.floats(0.01, 0.5))
def test_a_pace_never_allows_more_than_its_minute(per_minute: int, share: float) -> None:
    pace = Pace.of(per_minute, share)
    assert pace.burst >= 1
    assert pace.burst + 60.0 / pace.period <= max(per_minute, 2) + 1e-6
