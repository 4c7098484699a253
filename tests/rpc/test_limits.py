"""Limits per caller and method, shared by all processes; caps on what is in flight."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc
import pytest
import redis.asyncio

from interceptors.buckets import Buckets
from interceptors.limits import Caps
from interceptors.policy import Rate
from server.db.pool import Database
from tests.support import probe
from tests.support.calls import AccessLog, Keys, Served, finish, refusal, serving
from tests.support.stores import eventually


async def admitted(buckets: list[Buckets], rate: Rate, attempts: int, caller: str = "acme/ada") -> int:
    """How many of so many attempts, spread over the processes, find a token."""
    waits = [await buckets[number % len(buckets)].take(caller, "/m", rate, strict=False) for number in range(attempts)]
    return waits.count(0.0)


@pytest.mark.parametrize(("processes", "burst"), [(1, 20), (2, 20), (4, 30), (3, 1)])
async def test_the_sum_over_all_processes_keeps_the_limit(redis_url: str, processes: int, burst: int) -> None:
    rate = Rate(per_minute=60, burst=burst)
    client = redis.asyncio.Redis.from_url(redis_url)
    buckets = [Buckets(client) for _ in range(processes)]
    began = time.monotonic()
    for bucket in buckets:
        await bucket.start()
    found = await admitted(buckets, rate, 200)
    refilled = time.monotonic() - began
    for bucket in buckets:
        await bucket.close()
    await client.aclose()
    assert found <= burst + refilled + 1
    # Up to half of the burst may lie with a process that nobody asks any more; here all are asked until all refuse.
    assert found >= burst


async def test_the_bucket_refills_and_says_when(redis_url: str) -> None:
    rate = Rate(per_minute=600, burst=2)
    client = redis.asyncio.Redis.from_url(redis_url)
    async with Buckets(client) as buckets:
        assert await admitted([buckets], rate, 10) >= 2
        wait = await buckets.take("acme/ada", "/m", rate, strict=False)
        assert 0 < wait <= 0.1

        async def there() -> bool:
            return await buckets.take("acme/ada", "/m", rate, strict=False) == 0.0

        await eventually(there, within=5)
    await client.aclose()


async def test_unused_tokens_are_given_back(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rate = Rate(per_minute=1, burst=16)
    client = redis.asyncio.Redis.from_url(redis_url)
    monkeypatch.setattr("interceptors.buckets._KEEP", 0.0)
    async with Buckets(client) as buckets:
        assert await admitted([buckets], rate, 40) == 16
    await client.aclose()


async def test_most_calls_ask_redis_nothing(redis_url: str) -> None:
    rate = Rate(per_minute=6000, burst=200)
    client = redis.asyncio.Redis.from_url(redis_url)
    before = (await client.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0)
    async with Buckets(client) as buckets:
        assert await admitted([buckets], rate, 150) == 150
    after = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert after - before <= 20
    await client.aclose()


async def test_callers_and_methods_do_not_share(redis_url: str) -> None:
    rate = Rate(per_minute=1, burst=3)
    client = redis.asyncio.Redis.from_url(redis_url)
    async with Buckets(client) as buckets:
        assert await admitted([buckets], rate, 10, "acme/ada") == 3
        assert await admitted([buckets], rate, 10, "acme/grace") == 3
        assert await admitted([buckets], rate, 10, "other/ada") == 3
        assert await buckets.take("acme/ada", "/n", rate, strict=False) == 0.0
    await client.aclose()


async def test_a_flushed_redis_is_asked_anew(redis_url: str) -> None:
    client = redis.asyncio.Redis.from_url(redis_url)
    async with Buckets(client) as buckets:
        assert await admitted([buckets], Rate(1, 1), 1) == 1
        await client.script_flush()
        assert await admitted([buckets], Rate(1, 1), 1, "acme/grace") == 1
    await client.aclose()


async def test_over_the_limit_the_caller_is_told_when_to_come_back(served: Served) -> None:
    token = served.keys.token()
    errors = [(await finish(served.call("Unary", probe.Ask(), token=token)))[1] for _ in range(30)]
    refused = [refusal(error) for error in errors if error]
    assert 8 <= len(refused) <= 10
    found = refused[-1]
    assert (found.info.reason, found.info.metadata["limit"]) == ("RATE_LIMITED", "60/min")
    assert [dict(error.trailing_metadata() or ())["retry-after"] for error in errors if error] == ["1"] * len(refused)
    assert 0 < found.details["RetryInfo"].retry_delay.ToMilliseconds() <= 1000
    assert found.details["QuotaFailure"].violations[0].subject == probe.path("Unary")
    leaves = await served.leaves()
    assert sum(leaf.action.value == "RATE_LIMIT" for leaf in leaves) == len(refused)
    assert len(leaves) == 30


async def test_a_full_process_sheds_calls_but_answers_health_checks(
    keys: Keys, database: Database, redis_url: str, access_log: AccessLog, tmp_path: Path
) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    caps = Caps(unary=1, streams=2, streams_per_caller=1)
    async with serving(keys, database, redis_url, access_log, tmp_path, caps=caps) as served:
        hanging = asyncio.ensure_future(finish(served.call("Unary", probe.Ask(text="hang"), timeout=30)))
        await asyncio.wait_for(served.handlers.hanging.wait(), 10)
        _, error = await finish(served.call("Unary", probe.Ask()))
        assert error is not None
        assert (error.code(), refusal(error).info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER_BUSY")
        stub = health_pb2_grpc.HealthStub(served.channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)

        async def free() -> bool:
            return (await finish(served.call("Unary", probe.Ask())))[1] is None

        await eventually(free)


async def test_a_caller_holds_so_many_streams_and_gets_them_back(
    keys: Keys, database: Database, redis_url: str, access_log: AccessLog, tmp_path: Path
) -> None:
    caps = Caps(streams=2, streams_per_caller=1)
    async with serving(keys, database, redis_url, access_log, tmp_path, caps=caps) as served:
        open_streams = []
        for subject in ("ada", "grace"):
            served.handlers.hanging.clear()
            call = served.call("ServerStream", probe.Ask(text="hang"), token=keys.token(sub=subject))
            open_streams.append((call, asyncio.ensure_future(finish(call))))
            await asyncio.wait_for(served.handlers.hanging.wait(), 10)
            _, error = await finish(served.call("Bidi", probe.Ask(), token=keys.token(sub=subject)))
            expected = "TOO_MANY_STREAMS" if subject == "ada" else "SERVER_BUSY"
            assert refusal(error).info.reason == expected
        for call, waiting in open_streams:
            call.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

        async def free() -> bool:
            return (await finish(served.call("Bidi", probe.Ask(), token=keys.token(sub="ada"))))[1] is None

        await eventually(free)
