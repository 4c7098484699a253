"""How calls are admitted and answered: tokens, limits, idempotency keys, and every fault that can be scripted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import httpx
import pytest
import pytest_asyncio

from server.embedded.xero_sandbox.faults import FaultKind
from server.embedded.xero_sandbox.sandbox import Sandbox
from server.embedded.xero_sandbox.settings import TENANT_ID, Limits
from tests.support.edge import until
from tests.support.xero import MovableClock, book, fetch_token, invoice, money, xero_client, xero_sandbox

BODY = {"Invoices": [invoice()]}
LOST = (httpx.RemoteProtocolError, httpx.ReadError)


@pytest_asyncio.fixture
async def client(xero_sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with xero_client(xero_sandbox) as made:
        yield made


def numbers(sandbox: Sandbox) -> list[str]:
    return [one["number"] for one in sandbox.state()["invoices"]]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"xero-tenant-id": ""}, 403),
        ({"xero-tenant-id": "5c3a1f0e-0000-4d0b-9a57-2f6f3f8a1d10"}, 403),
    ],
)
async def test_who_is_not_let_in(
    client: httpx.AsyncClient, xero_sandbox: Sandbox, headers: dict[str, str], status: int
) -> None:
    assert (await client.put("Invoices", json=BODY, headers=headers)).status_code == status
    assert numbers(xero_sandbox) == []


async def test_a_token_ends() -> None:
    clock = MovableClock()
    async with xero_sandbox(clock=clock) as sandbox, xero_client(sandbox) as client:
        assert (await client.get("Organisation")).status_code == 200
        clock.now += 1_801
        assert (await client.get("Organisation")).status_code == 401


async def test_the_minute_is_counted_and_begins_again() -> None:
    clock = MovableClock()
    limits = Limits(minute=3, day=5)
    async with xero_sandbox(clock=clock, limits=limits, token_life=1e6) as sandbox, xero_client(sandbox) as client:
        for left in ("2", "1", "0"):
            answer = await client.get("Organisation")
            assert (answer.status_code, answer.headers["X-MinLimit-Remaining"]) == (200, left)
        clock.now += 20
        over = await client.get("Organisation")
        assert over.status_code == 429
        assert (over.headers["X-Rate-Limit-Problem"], over.headers["Retry-After"]) == ("minute", "40")
        clock.now += 40
        answer = await client.get("Organisation")
        assert (answer.headers["X-MinLimit-Remaining"], answer.headers["X-DayLimit-Remaining"]) == ("2", "1")
        await client.get("Organisation")
        over = await client.get("Organisation")
        assert (over.headers["X-Rate-Limit-Problem"], over.headers["Retry-After"]) == ("day", str(86_400 - 60))
        assert sandbox.state()["refused"] == {"minute": 1, "day": 1}
        assert sandbox.state()["peak_minute"] == 3


async def test_only_so_many_at_a_time() -> None:
    limits = Limits(concurrent=2)
    async with xero_sandbox(latency=0.3, limits=limits) as sandbox, xero_client(sandbox) as client:
        answers = await asyncio.gather(*(client.get("Organisation") for _ in range(6)))
        over = [answer for answer in answers if answer.status_code == 429]
        assert 1 <= len(over) <= 4
        assert {answer.headers["X-Rate-Limit-Problem"] for answer in over} == {"concurrent"}
        state = sandbox.state()
        assert (state["peak_concurrency"], state["refused"]) == (2, {"concurrent": len(over)})
        assert (await client.get("Organisation")).status_code == 200, "places are given back"


async def test_the_same_key_has_one_effect_for_six_minutes() -> None:
    clock = MovableClock()
    async with xero_sandbox(clock=clock) as sandbox, xero_client(sandbox) as client:
        body = {"Invoices": [invoice(None)]}  # numbered by Xero: only the key protects it
        first = await client.put("Invoices", json=body, headers={"Idempotency-Key": "k"})
        clock.now += 359
        again = await client.put("Invoices", json=body, headers={"Idempotency-Key": "k"})
        assert again.content == first.content
        assert again.headers["X-MinLimit-Remaining"] == "59", "counted like any call"
        assert len(numbers(sandbox)) == 1
        clock.now += 1
        await client.put("Invoices", json=body, headers={"Idempotency-Key": "k"})
        assert len(numbers(sandbox)) == 2, "six minutes after the first call it is forgotten"


@pytest.mark.parametrize("change", ["body", "address", "method"])
async def test_a_key_is_for_one_call(client: httpx.AsyncClient, xero_sandbox: Sandbox, change: str) -> None:
    headers = {"Idempotency-Key": "k" * 128}
    assert (await client.put("Invoices", json=BODY, headers=headers)).status_code == 200
    method = "POST" if change == "method" else "PUT"
    path = "Invoices?unitdp=4" if change == "address" else "Invoices"
    body = {"Invoices": [invoice("OTHER")]} if change == "body" else BODY
    refused = await client.request(method, path, json=body, headers=headers)
    assert (refused.status_code, "Idempotency-Key" in refused.text) == (400, True)
    assert numbers(xero_sandbox) == ["T-1"]


async def test_a_key_has_at_most_128_characters(client: httpx.AsyncClient, xero_sandbox: Sandbox) -> None:
    refused = await client.put("Invoices", json=BODY, headers={"Idempotency-Key": "k" * 129})
    assert refused.status_code == 400
    assert numbers(xero_sandbox) == []


async def test_a_refusal_is_remembered_too(client: httpx.AsyncClient, xero_sandbox: Sandbox) -> None:
    headers = {"Idempotency-Key": "k"}
    body = {"Invoices": [invoice(LineItems=[{"Description": "x", "AccountCode": "200", "ItemCode": "PB"}])]}
    assert (await client.put("Invoices", json=body, headers=headers)).status_code == 400
    await client.put("Items", json={"Items": [{"Code": "PB"}]})
    assert (await client.put("Invoices", json=body, headers=headers)).status_code == 400
    assert (await client.put("Invoices", json=body)).status_code == 200


async def test_over_the_limit_comes_before_the_key() -> None:
    async with xero_sandbox(limits=Limits(minute=1)) as sandbox, xero_client(sandbox) as client:
        headers = {"Idempotency-Key": "k"}
        assert (await client.put("Invoices", json=BODY, headers=headers)).status_code == 200
        assert (await client.put("Invoices", json=BODY, headers=headers)).status_code == 429


@pytest.mark.parametrize(("kind", "booked"), [(FaultKind.RESET, []), (FaultKind.REPLY_LOST, ["T-1"])])
async def test_a_cut_connection(
    client: httpx.AsyncClient, xero_sandbox: Sandbox, kind: FaultKind, booked: list[str]
) -> None:
    xero_sandbox.faults.script(kind, method="PUT", path="Invoices")
    with pytest.raises(LOST):
        await client.put("Invoices", json=BODY, headers={"Idempotency-Key": "k"})
    assert numbers(xero_sandbox) == booked
    again = await client.put("Invoices", json=BODY, headers={"Idempotency-Key": "k"})
    assert again.status_code == 200
    assert numbers(xero_sandbox) == ["T-1"]


@pytest.mark.parametrize(
    ("kind", "status", "problem"),
    [
        (FaultKind.MINUTE_LIMIT, 429, "minute"),
        (FaultKind.DAY_LIMIT, 429, "day"),
        (FaultKind.CONCURRENT_LIMIT, 429, "concurrent"),
        (FaultKind.SERVER_ERROR, 500, None),
        (FaultKind.UNAVAILABLE, 503, None),
        (FaultKind.UNAUTHORISED, 401, None),
        (FaultKind.VALIDATION_ERROR, 400, None),
        (FaultKind.REDIRECT, 302, None),
    ],
)
async def test_a_refusal_without_effect(
    client: httpx.AsyncClient, xero_sandbox: Sandbox, kind: FaultKind, status: int, problem: str | None
) -> None:
    xero_sandbox.faults.script(kind, seconds=17, message="Organisation is locked")
    answer = await client.put("Invoices", json=BODY)
    assert (answer.status_code, answer.headers.get("X-Rate-Limit-Problem")) == (status, problem)
    assert answer.headers.get("Retry-After") == ("17" if problem else None)
    if kind is FaultKind.VALIDATION_ERROR:
        assert answer.json()["Elements"][0]["ValidationErrors"][0]["Message"] == "Organisation is locked"
    assert numbers(xero_sandbox) == []
    assert (await client.put("Invoices", json=BODY)).status_code == 200, "one call only"


@pytest.mark.parametrize(("kind", "booked"), [(FaultKind.SLOW_BEFORE, []), (FaultKind.SLOW_AFTER, ["T-1"])])
async def test_slowness(client: httpx.AsyncClient, xero_sandbox: Sandbox, kind: FaultKind, booked: list[str]) -> None:
    xero_sandbox.faults.script(kind, seconds=30)
    calling = asyncio.create_task(client.put("Invoices", json=BODY))
    await until(lambda: xero_sandbox.faults.met == 1 and numbers(xero_sandbox) == booked, seconds=20)
    assert not calling.done()
    calling.cancel()
    await asyncio.wait({calling})


async def test_a_client_that_waits_no_longer_has_booked_all_the_same(
    client: httpx.AsyncClient, xero_sandbox: Sandbox
) -> None:
    """The outcome is unknown to it; the same key again finds the one invoice, also while the first call runs."""
    xero_sandbox.faults.script(FaultKind.SLOW_BEFORE, seconds=Decimal("0.5"))
    headers = {"Idempotency-Key": "k"}
    with pytest.raises(httpx.ReadTimeout):
        await client.put("Invoices", json=BODY, headers=headers, timeout=httpx.Timeout(5, read=0.1))
    again = await client.put("Invoices", json=BODY, headers=headers)
    assert again.status_code == 200
    await until(lambda: xero_sandbox.state()["faults"]["met"] == 1, seconds=5)
    late = await client.put("Invoices", json=BODY, headers=headers)
    assert late.json() == again.json()
    assert numbers(xero_sandbox) == ["T-1"]


async def test_a_wrong_total(client: httpx.AsyncClient, xero_sandbox: Sandbox) -> None:
    xero_sandbox.faults.script(FaultKind.WRONG_TOTAL)
    (booked,) = await book(client)
    assert money(booked["Total"]) == Decimal("70.86")
    assert xero_sandbox.state()["invoices"][0]["total"] == "70.86"


async def test_garbage_after_the_deed(client: httpx.AsyncClient, xero_sandbox: Sandbox) -> None:
    xero_sandbox.faults.script(FaultKind.GARBAGE)
    answer = await client.put("Invoices", json=BODY)
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()
    assert numbers(xero_sandbox) == ["T-1"]


async def test_invalid_grant_and_lost_tokens(xero_sandbox: Sandbox) -> None:
    async with httpx.AsyncClient() as client:
        xero_sandbox.faults.script(FaultKind.INVALID_GRANT, path="/connect/token")
        with pytest.raises(httpx.HTTPStatusError, match="400"):
            await fetch_token(client, xero_sandbox)
        xero_sandbox.faults.script(FaultKind.REPLY_LOST, path="/connect/token")
        with pytest.raises(LOST):
            await fetch_token(client, xero_sandbox)
        assert await fetch_token(client, xero_sandbox)


async def test_which_calls_meet_a_fault(client: httpx.AsyncClient, xero_sandbox: Sandbox) -> None:
    """Scripted over HTTP: the third and fourth PUT below Invoices."""
    fault = {"kind": "unavailable", "method": "PUT", "path": "Invoices", "skip": 2, "times": 2}
    answer = await client.post(f"{xero_sandbox.url}/sandbox/faults", json=fault)
    assert answer.json() == {"pending": 2}
    assert (await client.get("Invoices")).status_code == 200
    found = [(await client.put("Invoices", json={"Invoices": [invoice(f"N-{n}")]})).status_code for n in range(6)]
    assert found == [200, 200, 503, 503, 200, 200]
    assert xero_sandbox.state()["faults"] == {"met": 2, "pending": 0}


async def test_chance_repeats_itself(client: httpx.AsyncClient, xero_sandbox: Sandbox) -> None:
    runs = []
    for _ in range(2):
        xero_sandbox.faults.script(FaultKind.SERVER_ERROR, times=1_000, probability=Decimal("0.5"), seed=7)
        runs.append([(await client.get("Organisation")).status_code for _ in range(12)])
        assert (await client.delete(f"{xero_sandbox.url}/sandbox/faults")).json() == {"pending": 0}
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 500}


@pytest.mark.parametrize("body", ["{", "{}", '{"kind": "storm"}', '{"kind": "reset", "times": 0}', '{"kind": 7}', "[]"])
async def test_a_fault_that_does_not_exist(client: httpx.AsyncClient, xero_sandbox: Sandbox, body: str) -> None:
    answer = await client.post(f"{xero_sandbox.url}/sandbox/faults", content=body)
    assert answer.status_code == 400
    assert xero_sandbox.faults.pending() == 0


async def test_calls_are_counted_by_name(client: httpx.AsyncClient, xero_sandbox: Sandbox) -> None:
    await book(client)
    await client.get("Invoices/T-1")
    await client.get("Invoices/T-1", headers={"xero-tenant-id": TENANT_ID})
    await client.get("Quotes")
    state = (await client.get(f"{xero_sandbox.url}/sandbox/state")).json()
    assert state["calls"] == {
        "POST /connect/token": 1, "PUT Invoices": 1, "GET Invoices/{id}": 2, "GET elsewhere": 1,
    }  # fmt: skip
