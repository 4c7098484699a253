"""What TRIA sends to Redis fits a cluster, and a node that is away takes its own keys with it and no others."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio
import redis.asyncio
from redis.exceptions import RedisError

from interceptors.buckets import Buckets
from interceptors.policy import Rate
from server.accounting.budget import Budget, BudgetLimits
from server.audit.elsewhere import forget_in_redis
from server.chat.cluster_reader import ClusterReader
from server.chat.shared_log import Batch, News, SharedLog, log_key
from server.redis_client import open_redis
from tests.support.stores import eventually
from tests.support.valkey_cluster import ValkeyCluster, valkey_cluster

RUNS = [f"run-{number}" for number in range(12)]


@pytest_asyncio.fixture(scope="module")
async def cluster(stores_root: Path) -> AsyncIterator[ValkeyCluster]:
    place = stores_root / "cluster"
    place.mkdir(mode=0o700)
    async with valkey_cluster(place) as running:
        yield running


@pytest_asyncio.fixture
async def client(cluster: ValkeyCluster) -> AsyncIterator[redis.asyncio.Redis]:
    opened = open_redis(cluster.url, cluster=True, timeout=2.0, patient=False)
    await opened.flushall()
    yield opened
    await opened.aclose()


def batch(run: str, first: int = 1, count: int = 2) -> Batch:
    return Batch("acme", run, 1, first, [(False, b"box %d" % number) for number in range(count)])


async def test_logs_of_runs_on_all_nodes(client: redis.asyncio.Redis) -> None:
    log, reader = SharedLog(client, 60), ClusterReader(client, wait=10.0)
    written = await log.append([batch(run) for run in RUNS])
    assert [last for _, last in written] == [2] * len(RUNS)
    after = {log_key("acme", run): "0-0" for run in RUNS}
    news = await reader.news(after)
    assert news.keys() == after.keys()
    assert [event.seq for event in news[log_key("acme", RUNS[0])].events] == [1, 2]
    after = {key: found.last for key, found in news.items()}
    waiting = asyncio.create_task(reader.news(after))
    await log.append([batch(RUNS[3], first=3, count=1)])
    assert list(await waiting) == [log_key("acme", RUNS[3])]
    assert (await log.read("acme", RUNS[3])) is not None
    assert await log.read("acme", "none") is None


async def test_waiting_ends_when_it_is_rung(client: redis.asyncio.Redis) -> None:
    reader = ClusterReader(client, wait=60.0)
    waiting = asyncio.create_task(reader.news({log_key("acme", "quiet"): "0-0"}))
    await asyncio.sleep(0)
    while not waiting.done():
        await reader.ring()
        await asyncio.sleep(0.01)
    assert await waiting == {}


async def test_limits_and_budgets(client: redis.asyncio.Redis) -> None:
    rate = Rate(per_minute=60, burst=3)
    async with Buckets(client) as buckets:
        taken = [await buckets.take(f"caller-{number}", "/m", rate, strict=False) for number in range(20) for _ in "ab"]
        assert not any(taken)
        waits = [await buckets.take("greedy", "/m", rate, strict=False) for _ in range(10)]
        assert any(waits), "one caller's burst ends"
    budget = Budget(client, BudgetLimits())
    for tenant in ("acme", "globex", "initech"):
        assert (await budget.peek(tenant)) is not None


async def test_keys_of_a_person_go_from_every_node(client: redis.asyncio.Redis) -> None:
    for number in range(50):
        await client.set(f"x:{number}:anna-0", "1")
        await client.set(f"x:{number}:bert-0", "1")
    assert await forget_in_redis(client, ["anna-0"]) == 50
    assert [key async for key in client.scan_iter(match="*anna*")] == []
    assert len([key async for key in client.scan_iter(match="*bert*")]) == 50


async def test_a_node_that_is_away_hides_its_own_keys_only(cluster: ValkeyCluster, client: redis.asyncio.Redis) -> None:
    log, reader = SharedLog(client, 60), ClusterReader(client, wait=0.0)
    await log.append([batch(run) for run in RUNS])
    victim = cluster.nodes[max(cluster.nodes)]
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    await victim.wait_exit()
    after = {log_key("acme", run): "0-0" for run in RUNS}
    news: dict[str, News] = {}

    async def the_others_answer() -> bool:
        """The look that finds the node gone may fail as a whole; those after it do not."""
        with suppress(RedisError, OSError):
            news.update(await reader.news(after))
        return bool(news)

    await eventually(the_others_answer)
    assert len(news) < len(RUNS)
    for key in after.keys() - news.keys():
        with pytest.raises((RedisError, OSError)):
            await client.xrange(key)
    await victim.start()

    async def all_back() -> bool:
        try:
            return len(await reader.news(after)) == len(RUNS)
        except (RedisError, OSError):
            return False

    await eventually(all_back, within=30)  # what the node had written to its append-only file


async def test_no_node_at_all_is_an_error_of_redis() -> None:
    client = open_redis("redis://127.0.0.1:1", cluster=True, timeout=0.5, patient=False)
    with pytest.raises((RedisError, OSError)):
        await client.get("a")
    with pytest.raises((RedisError, OSError)):
        await client.pipeline(transaction=False).get("a").execute()  # type: ignore[attr-defined]  # a pipeline answers itself
    with pytest.raises((RedisError, OSError)):
        await ClusterReader(client).news({"a": "0-0"})
    await client.aclose()
