"""News of what changed: signed, in order, sent again until taken, and the ways in which they can go wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from aiohttp import web

from server.embedded.xero_sandbox.sandbox import Sandbox
from server.embedded.xero_sandbox.settings import TENANT_ID
from server.embedded.xero_sandbox.wire import loads
from tests.support.edge import until
from tests.support.xero import book, xero_client, xero_sandbox

KEY = "hook-key"


@dataclass
class Listener:
    """Somebody who is told; `refuse` calls are answered 503 first."""

    url: str = ""
    refuse: int = 0
    taken: list[dict[str, Any]] = field(default_factory=list)
    forged: int = 0
    calls: int = 0

    async def hear(self, request: web.Request) -> web.Response:
        self.calls += 1
        raw = await request.read()
        right = base64.b64encode(hmac.digest(KEY.encode(), raw, hashlib.sha256)).decode()
        if not hmac.compare_digest(right, request.headers["x-xero-signature"]):
            self.forged += 1
            return web.Response(status=401)
        if self.refuse:
            self.refuse -= 1
            return web.Response(status=503)
        self.taken.append(loads(raw))
        return web.Response()

    def numbers(self) -> list[int]:
        return [one["firstEventSequence"] for one in self.taken]

    def kinds(self) -> list[str]:
        return [f"{event['eventCategory']} {event['eventType']}" for one in self.taken for event in one["events"]]


@asynccontextmanager
async def heard() -> AsyncIterator[tuple[Listener, Sandbox, httpx.AsyncClient]]:
    """A sandbox, a client of it, and a listener that it tells."""
    listener = Listener()
    app = web.Application()
    app.router.add_post("/webhooks/xero", listener.hear)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        listener.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks/xero"
        settings = {"webhook_url": listener.url, "webhook_key": KEY, "webhook_retry": (0.05, 0.05, 0.05)}
        async with xero_sandbox(**settings) as sandbox, xero_client(sandbox) as client:
            yield listener, sandbox, client
    finally:
        await runner.cleanup()


async def test_each_change_is_told_in_order() -> None:
    async with heard() as (listener, sandbox, client):
        (booked,) = await book(client)
        await client.post("Invoices/T-1", json={"Invoices": [{"Reference": "r"}]})
        sandbox.pay("T-1")
        await until(lambda: len(listener.taken) == 4, seconds=20)
        assert listener.kinds() == ["CONTACT CREATE", "INVOICE CREATE", "INVOICE UPDATE", "INVOICE UPDATE"]
        assert listener.numbers() == [1, 2, 3, 4]
        told = listener.taken[1]
        assert set(told) == {"events", "firstEventSequence", "lastEventSequence", "entropy"}
        (event,) = told["events"]
        assert set(event) == {
            "resourceUrl", "resourceId", "tenantId", "tenantType", "eventCategory", "eventType", "eventDateUtc",
        }  # fmt: skip
        assert event["resourceId"] == booked["InvoiceID"]
        assert event["resourceUrl"] == f"{sandbox.api_url}Invoices/{booked['InvoiceID']}"
        assert (event["tenantId"], event["tenantType"]) == (TENANT_ID, "ORGANISATION")
        assert (await client.get(event["resourceUrl"])).status_code == 200


async def test_what_is_refused_is_not_told() -> None:
    async with heard() as (listener, sandbox, client):
        await book(client, "A")
        assert (await client.post("Invoices/A", json={"Invoices": [{"Status": "DELETED"}]})).status_code == 400
        sandbox.void("A")
        await until(lambda: len(listener.taken) == 3, seconds=20)
        assert listener.numbers() == [1, 2, 3]


async def test_sent_again_until_taken() -> None:
    async with heard() as (listener, sandbox, client):
        listener.refuse = 3
        await book(client)
        await until(lambda: sandbox.webhooks.taken == 2, seconds=20)
        assert (listener.numbers(), listener.calls) == ([1, 2], 5)


async def test_given_up_in_the_end() -> None:
    async with heard() as (listener, sandbox, client):
        listener.refuse = 4
        await book(client)
        await until(lambda: sandbox.webhooks.taken == 1, seconds=20)
        assert (sandbox.webhooks.given_up, listener.numbers()) == (1, [2])


@pytest.mark.parametrize(
    ("delivery", "numbers", "forged"), [("duplicated", [1, 1, 2], 0), ("dropped", [2], 0), ("forged", [2], 1)]
)
async def test_scripted(delivery: str, numbers: list[int], forged: int) -> None:
    async with heard() as (listener, sandbox, client):
        await client.post(f"{sandbox.url}/sandbox/webhooks", json={"delivery": delivery})
        await book(client)
        await until(lambda: listener.numbers() == numbers and sandbox.webhooks.pending() == 0, seconds=20)
        assert listener.forged == forged


@pytest.mark.parametrize("body", ["{", "[]", "{}", '{"delivery": "late"}', '{"delivery": "dropped", "times": "x"}'])
async def test_a_script_that_does_not_exist(xero_sandbox: Sandbox, body: str) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.post(f"{xero_sandbox.url}/sandbox/webhooks", content=body)).status_code == 400


async def test_intent_to_receive() -> None:
    async with heard() as (listener, sandbox, client):
        answer = await client.post(f"{sandbox.url}/sandbox/intent")
        assert (answer.status_code, listener.forged, len(listener.taken)) == (200, 1, 1)
        assert listener.taken[0]["events"] == []
        listener.refuse = 1
        assert (await client.post(f"{sandbox.url}/sandbox/intent")).status_code == 502


async def test_without_a_target_nothing_waits(xero_sandbox: Sandbox) -> None:
    async with xero_client(xero_sandbox) as client:
        await book(client)
        assert (await client.post(f"{xero_sandbox.url}/sandbox/intent")).status_code == 409
    assert xero_sandbox.webhooks.pending() == 0
