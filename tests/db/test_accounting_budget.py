"""The budget of calls: never exceeded by any number of processes, whatever dies and whatever is away."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import pytest
import pytest_asyncio
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.accounting.books import Throttled
from server.accounting.budget import Budget, BudgetLimits, Lane, Place, Spent
from server.embedded.valkey import EmbeddedValkey

_fresh = itertools.count()


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(redis_url, socket_timeout=1.0) as client:
        yield client


async def test_the_day_keeps_a_part_for_people(client: redis.asyncio.Redis) -> None:
    budget = Budget(client, BudgetLimits(day=5, people_reserve=2, processes=5))
    for _ in range(3):
        await budget.give_back(await budget.take("t", Lane.JOBS, 0), Spent())
    with pytest.raises(Throttled) as said:
        await budget.take("t", Lane.JOBS, 0)
    assert said.value.limit == "day"
    assert said.value.retry_after > 23 * 3600
    for _ in range(2):
        await budget.give_back(await budget.take("t", Lane.PEOPLE, 0), Spent())
    with pytest.raises(Throttled):
        await budget.take("t", Lane.PEOPLE, 0)
    await budget.take("another", Lane.JOBS, 0)  # tenants do not share


async def test_a_place_is_waited_for_a_while(client: redis.asyncio.Redis) -> None:
    budget = Budget(client, BudgetLimits(concurrency=1))
    place = await budget.take("t", Lane.PEOPLE, 0)
    with pytest.raises(Throttled) as said:
        await budget.take("t", Lane.PEOPLE, 0.05)
    assert said.value.limit == "concurrent"
    waiting = asyncio.create_task(budget.take("t", Lane.PEOPLE, 20))
    await budget.give_back(place, Spent())
    await waiting


async def test_the_place_of_the_dead_comes_free_with_its_lease(client: redis.asyncio.Redis) -> None:
    limits = BudgetLimits(concurrency=1, lease=0.5)
    await Budget(client, limits).take("t", Lane.PEOPLE, 0)
    await Budget(client, limits).take("t", Lane.PEOPLE, 20)


async def test_their_headers_correct_ours_downwards_only(client: redis.asyncio.Redis) -> None:
    limits = BudgetLimits(minute=60, day=1000, processes=5)  # five processes: nothing is set aside
    budget = Budget(client, limits)

    async def left_after(minute: int | None, day: int | None) -> tuple[int, int]:
        await budget.give_back(await budget.take("t", Lane.PEOPLE, 0), Spent(minute_left=minute, day_left=day))
        view = await budget.peek("t")
        return view.minute_left, view.day_left

    assert await left_after(None, None) == (59, 999)
    assert await left_after(20, 300) == (20, 300)  # somebody else uses the same organisation
    assert await left_after(58, 998) == (19, 299)  # an old answer gives nothing back
    assert await left_after(0, 0) == (0, 0)
    with pytest.raises(Throttled):
        await budget.take("t", Lane.PEOPLE, 0)


async def test_a_429_stops_every_process_for_as_long_as_it_says(client: redis.asyncio.Redis) -> None:
    one, two = Budget(client, BudgetLimits()), Budget(client, BudgetLimits())
    await one.give_back(await one.take("t", Lane.PEOPLE, 0), Spent(block=30.0, limit="day"))
    for budget in (one, two):
        with pytest.raises(Throttled) as said:
            await budget.take("t", Lane.PEOPLE, 1)
        assert said.value.limit == "day"
        assert 25 < said.value.retry_after < 30 * 1.25
    assert (await two.peek("t")).blocked_for > 25


async def test_what_was_not_sent_costs_nothing(client: redis.asyncio.Redis) -> None:
    budget = Budget(client, BudgetLimits())
    before = await budget.peek("t")
    await budget.give_back(await budget.take("t", Lane.PEOPLE, 0), Spent(sent=False))
    after = await budget.peek("t")
    assert (after.minute_left, after.day_left, after.running) == (before.minute_left, before.day_left, 0)


async def test_a_caller_that_is_cancelled_leaves_no_place_taken(client: redis.asyncio.Redis) -> None:
    budget = Budget(client, BudgetLimits(concurrency=1, lease=600.0))
    for delay in range(30):  # somewhere among these Redis has taken the place and the answer is on its way
        asking = asyncio.create_task(budget.take("t", Lane.PEOPLE, 0))
        for _ in range(delay):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait({asking})
        if not asking.cancelled():
            await budget.give_back(asking.result(), Spent())
    await budget.give_back(await budget.take("t", Lane.PEOPLE, 0), Spent())
    assert (await budget.peek("t")).running == 0


async def test_an_eta_grows_with_the_queue(client: redis.asyncio.Redis) -> None:
    budget = Budget(client, BudgetLimits(minute=10, day=100, people_reserve=10, processes=5))
    for _ in range(5):
        await budget.give_back(await budget.take("t", Lane.JOBS, 0), Spent())
    view = await budget.peek("t")
    assert (view.eta(0), view.eta(5)) == (0.0, 0.0)
    assert 0 < view.eta(6) <= 60
    assert view.eta(6) <= view.eta(25) <= view.eta(85) <= 20 * 60
    assert view.eta(86) > 3600, "not today"


async def test_without_redis_a_process_has_its_own_small_share(tmp_path: Path) -> None:
    nowhere = redis.asyncio.Redis.from_url(f"unix://{tmp_path}/none")
    budget = Budget(nowhere, BudgetLimits(minute=60, day=5000, concurrency=5, processes=2))
    for _ in range(3):
        place = await budget.take("t", Lane.PEOPLE, 0)
        with pytest.raises(Throttled) as said:
            await budget.take("t", Lane.PEOPLE, 0)
        assert said.value.limit == "concurrent"
        await budget.give_back(place, Spent())
    with pytest.raises(Throttled) as said:
        await budget.take("t", Lane.PEOPLE, 0)
    assert said.value.limit == "minute"
    view = await budget.peek("t")
    assert (view.degraded, view.minute_left, view.limits.minute) == (True, 0, 3)
    many = Budget(nowhere, BudgetLimits(concurrency=5, processes=5))
    with pytest.raises(Throttled):
        await many.take("t", Lane.PEOPLE, 0)
    await nowhere.aclose()


@pytest.mark.parametrize("processes", range(1, 12))
@pytest.mark.parametrize(("minute", "day", "concurrency"), [(60, 5000, 5), (60, 1000, 5), (3, 7, 2), (1, 1, 1)])
def test_all_shares_together_are_the_limit(minute: int, day: int, concurrency: int, processes: int) -> None:
    limits = BudgetLimits(minute, day, concurrency, 0, processes)
    for name in ("minute", "day", "concurrency"):
        whole, shared, local = (getattr(each, name) for each in (limits, limits.shared, limits.local))
        assert shared + processes * local == whole
        assert shared > 0
        assert local >= 0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.sampled_from(["take", "end", "unsent", "header"]), st.integers(0, 7)), max_size=60),
    minute=st.integers(1, 12),
    at_once=st.integers(1, 4),
)
def test_no_history_of_eight_clients_gets_more(
    valkey: str, steps: list[tuple[str, int]], minute: int, at_once: int
) -> None:
    async def run() -> None:
        async with redis.asyncio.Redis.from_url(valkey) as client:
            limits = BudgetLimits(minute=minute, concurrency=at_once, processes=8)
            budgets, tenant = [Budget(client, limits) for _ in range(8)], f"h{next(_fresh)}-{time.monotonic()}"
            held: list[tuple[int, Place]] = []
            sent = 0
            for what, who in steps:
                if what == "take":
                    try:
                        held.append((who, await budgets[who].take(tenant, Lane.PEOPLE, 0)))
                    except Throttled:
                        assert len(held) == limits.shared.concurrency or sent + len(held) >= limits.shared.minute
                elif held:
                    owner, place = held.pop(who % len(held))
                    sent += what != "unsent"
                    left = limits.minute - sent - len(held)
                    spent = Spent(what != "unsent", minute_left=left if what == "header" else None)
                    await budgets[owner].give_back(place, spent)
                assert len(held) <= limits.shared.concurrency
                assert sent + len(held) <= limits.shared.minute

    asyncio.run(run())


class Callers:
    """Processes that call as often as they may."""

    def __init__(self, url: str, limits: BudgetLimits, *, takes: float, lasts: float) -> None:
        self._count = limits.processes
        self._arguments = [url, json.dumps(asdict(limits)), str(takes), str(lasts)]
        self.processes: list[asyncio.subprocess.Process] = []
        self._lines: dict[asyncio.subprocess.Process, asyncio.Task[bytes]] = {}

    async def start(self) -> None:
        for _ in range(self._count):
            self.processes.append(
                await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.support.budget_caller", *self._arguments,
                    stdout=asyncio.subprocess.PIPE,
                )
            )  # fmt: skip

    async def first(self) -> asyncio.subprocess.Process:
        """The process that calls first; it holds a place now, or has just given it back."""
        for process in self.processes:
            assert process.stdout is not None
            self._lines[process] = asyncio.create_task(process.stdout.readline())
        done, _ = await asyncio.wait(self._lines.values(), return_when=asyncio.FIRST_COMPLETED)
        return next(process for process, line in self._lines.items() if line in done)

    async def calls(self) -> list[tuple[float, float]]:
        """Start and end of each call, of the killed ones without an end, once all processes have ended."""
        starts: dict[str, float] = {}
        ends: dict[str, float] = {}
        for process, line in self._lines.items():
            output = await line + (await process.communicate())[0]
            for each in output.decode().splitlines():
                what, id, at = each.split()
                (starts if what == "start" else ends)[id] = float(at)
        return [(at, ends.get(id, float("inf"))) for id, at in starts.items()]


def most_at_once(calls: list[tuple[float, float]]) -> int:
    moments = sorted([(at, 1) for at, _ in calls] + [(end, -1) for _, end in calls])
    return max(itertools.accumulate(change for _, change in moments), default=0)


async def test_eight_processes_of_which_two_are_killed_keep_the_limits(redis_url: str) -> None:
    limits = BudgetLimits(minute=60, concurrency=5, processes=8, lease=600.0)
    callers = Callers(redis_url, limits, takes=0.2, lasts=8)
    await callers.start()
    first = await callers.first()
    for process in (first, next(other for other in callers.processes if other is not first)):
        process.kill()
    calls = await callers.calls()
    assert most_at_once(calls) <= 5
    assert 0 < len(calls) <= 60, "the dead may hold all five places until their leases end"


@pytest.mark.parametrize("processes", [8, 4])
async def test_redis_going_away_and_coming_back_breaks_no_limit(tmp_path: Path, processes: int) -> None:
    store = EmbeddedValkey(tmp_path / "valkey")
    url = await store.start()
    # Four have a share of their own while Redis is away; eight have none and wait.
    limits = BudgetLimits(minute=60, concurrency=5, processes=processes, lease=600.0)
    callers = Callers(url, limits, takes=0.1, lasts=10)
    await callers.start()
    await callers.first()
    for _ in range(2):
        await store.stop()
        await store.start()
    calls = await callers.calls()
    await store.stop()
    assert most_at_once(calls) <= 5
    assert 5 < len(calls) <= 60
