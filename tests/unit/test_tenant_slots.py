"""A tenant whose jobs hang leaves slots to the others, and gets its own back."""

from __future__ import annotations

import asyncio
import json

import pytest

from server.accounting.tenant_slots import shared_by_tenants
from server.jobs import Postpone


def job(tenant: str) -> bytes:
    return json.dumps({"tenant": tenant}).encode()


async def test_hanging_jobs_of_one_tenant_keep_no_other_waiting() -> None:
    release, done = asyncio.Event(), list[str]()

    async def handler(payload: bytes) -> None:
        tenant = json.loads(payload)["tenant"]
        if tenant == "slow":
            await release.wait()
        done.append(tenant)

    shared = shared_by_tenants(handler, 2)
    hanging = [asyncio.ensure_future(shared(job("slow"))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Postpone) as postponed:
        await shared(job("slow"))
    assert 0 < postponed.value.delay < 5
    await shared(job("quick"))
    assert done == ["quick"]
    hanging.pop().cancel()
    await asyncio.sleep(0)
    release.set()
    await shared(job("slow"))
    await asyncio.gather(*hanging)
    assert done == ["quick", "slow", "slow"]


async def test_a_job_that_fails_gives_its_slot_back() -> None:
    async def handler(_: bytes) -> None:
        raise ValueError("whatever")

    shared = shared_by_tenants(handler, 1)
    for _ in range(3):
        with pytest.raises(ValueError, match="whatever"):
            await shared(job("a"))
