"""Xero's webhooks: proven by their signature, noted once, gaps filled, and what changed reaches the order."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime, timedelta
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from hypothesis import given
from hypothesis import strategies as st

from server.accounting.webhook import Delivery, read
from server.embedded.xero_sandbox.settings import TENANT_ID
from tests.support.accounting import WEBHOOK_KEY, Accounts
from tests.support.reading import reason
from tests.support.stores import eventually
from tria.accounting.v1 import accounting_service_pb2 as rpc

LATER = "2099-01-01T00:00:00.000"


def signature(body: bytes, key: str = WEBHOOK_KEY) -> str:
    return base64.b64encode(hmac.digest(key.encode(), body, hashlib.sha256)).decode()


def event(resource: str, date: str = "2026-03-02T10:00:00.000", **changes: str) -> dict[str, str]:
    return {
        "resourceUrl": f"https://api.xero.com/api.xro/2.0/Invoices/{resource}",
        "resourceId": resource,
        "eventDateUtc": date,
        "eventType": "UPDATE",
        "eventCategory": "INVOICE",
        "tenantId": TENANT_ID,
        "tenantType": "ORGANISATION",
        **changes,
    }


def payload(*events: dict[str, str], first: int = 1) -> bytes:
    tree = {
        "events": list(events),
        "firstEventSequence": first if events else 0,
        "lastEventSequence": first + len(events) - 1 if events else 0,
        "entropy": "S0m3r4nd0mt3xt",
    }
    return json.dumps(tree).encode()


async def send(accounts: Accounts, body: bytes, signed: str | None = None) -> None:
    request = rpc.ReceiveXeroWebhookRequest(body=HttpBody(content_type="application/json", data=body))
    metadata = (("x-xero-signature", signature(body) if signed is None else signed),)
    await accounts.accounting.ReceiveXeroWebhook(request, metadata=metadata)


async def jobs(accounts: Accounts) -> list[str]:
    async with accounts.database.connection() as connection:
        rows = await connection.fetch("select entrypoint, payload from pgqueuer order by id")
    return [f"{row['entrypoint']} {json.loads(row['payload']).get('id', '')}".strip() for row in rows]


@pytest.mark.parametrize("signed", ["", "bm8=", "not base64", signature(b"another body")])
async def test_a_wrong_signature_is_401_and_on_record(accounts: Accounts, signed: str) -> None:
    body = payload(event("a"))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await send(accounts, body, signed)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert reason(refused.value) == "WEBHOOK_SIGNATURE_INVALID"
    assert await jobs(accounts) == []
    assert await accounts.leaves("WEBHOOK_FORGED") == [{"bytes": len(body)}]


async def test_the_intent_to_receive_is_answered(accounts: Accounts) -> None:
    await send(accounts, payload())
    with pytest.raises(grpc.aio.AioRpcError):
        await send(accounts, payload(), signature(payload(), "another key"))


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"null", b'{"events": [1]}', b'{"events": [{}]}', b"\xff", b"[" * 5000]
)
async def test_a_signed_body_that_says_nothing_is_taken(accounts: Accounts, body: bytes) -> None:
    await send(accounts, body)
    assert await jobs(accounts) == []


async def test_an_event_is_noted_once_however_often_it_comes(accounts: Accounts) -> None:
    for _ in range(3):
        await send(accounts, payload(event("a"), event("b")))
    await send(accounts, payload(event("a", "2026-03-02T10:00:05.000"), first=3))
    assert await jobs(accounts) == ["fetch_invoice a", "fetch_invoice b", "fetch_invoice a"]


async def test_other_organisations_and_other_things_are_no_business_of_ours(accounts: Accounts) -> None:
    await send(accounts, payload(event("a", tenantId="somebody-else"), event("c", eventCategory="CONTACT")))
    assert await jobs(accounts) == []


async def test_a_gap_in_the_numbers_asks_for_reconciliation(accounts: Accounts) -> None:
    await send(accounts, payload(event("a"), first=7))
    await send(accounts, payload(event("b"), first=8))
    assert "reconcile_invoices" not in await jobs(accounts)
    await send(accounts, payload(event("d"), first=10))
    assert (await jobs(accounts)).count("reconcile_invoices") == 1
    await send(accounts, payload(event("c"), first=9))  # late
    await send(accounts, payload(event("e"), first=11))
    assert (await jobs(accounts)).count("reconcile_invoices") == 1


async def test_what_is_paid_or_voided_in_xero_reaches_the_order(accounts: Accounts) -> None:
    async with accounts.working():
        first, second = await accounts.many(2)
        for order in (first, second):
            await accounts.until(order.name, "AUTHORISED")
        accounts.sandbox.pay(first.invoice.number)
        accounts.sandbox.void(second.invoice.number)
        ids = {each["number"]: each["id"] for each in accounts.booked(alive=False)}
        await send(accounts, payload(event(ids[first.invoice.number], LATER), event(ids[second.invoice.number], LATER)))
        await accounts.until(first.name, "PAID")
        await accounts.until(second.name, "VOIDED")
    assert [leaf["state"] for leaf in await accounts.leaves("INVOICE_VOID")] == ["VOIDED"]


async def test_an_invoice_that_is_not_ours_costs_no_call(accounts: Accounts) -> None:
    before: dict[str, Any] = accounts.sandbox.state()["calls"]
    await send(accounts, payload(event("00000000-0000-4000-8000-000000000000")))
    async with accounts.working():
        while await jobs(accounts):
            await accounts.value("select 1")
    assert accounts.sandbox.state()["calls"] == before


async def test_the_echo_of_what_we_wrote_costs_no_call_and_reading_waits_for_sending(accounts: Accounts) -> None:
    async with accounts.working():
        placed = await accounts.placed()
        await accounts.until(placed.name, "AUTHORISED")
        await eventually(lambda: _no_jobs(accounts))
    [booked] = accounts.booked()
    [known] = [json.loads(row["booked"])["updated_at"] for row in await accounts.rows(placed.name)]
    echo = datetime.fromisoformat(known).replace(tzinfo=None).isoformat(timespec="milliseconds")
    before: dict[str, Any] = accounts.sandbox.state()["calls"]
    await send(accounts, payload(event(booked["id"], echo)))
    assert await accounts.value("select priority from pgqueuer") < 0
    async with accounts.working():
        await eventually(lambda: _no_jobs(accounts))
    assert accounts.sandbox.state()["calls"] == before
    later = (datetime.fromisoformat(echo) + timedelta(seconds=1)).isoformat(timespec="milliseconds")
    await send(accounts, payload(event(booked["id"], later), first=2))
    async with accounts.working():
        await eventually(lambda: _no_jobs(accounts))
    assert accounts.sandbox.state()["calls"] != before


async def _no_jobs(accounts: Accounts) -> bool:
    return not await jobs(accounts)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.binary()
    | _JSON.map(lambda tree: json.dumps(tree).encode())
    | st.fixed_dictionaries({"events": _JSON, "firstEventSequence": _JSON, "lastEventSequence": _JSON}).map(
        lambda tree: json.dumps(tree).encode()
    )
)
def test_whatever_is_signed_can_be_read(body: bytes) -> None:
    assert isinstance(read(body), Delivery)


def test_of_too_many_events_the_rest_counts_as_missing() -> None:
    delivery = read(payload(*(event(str(number)) for number in range(1200)), first=5))
    assert (len(delivery.events), delivery.first, delivery.last) == (1000, 5, 1004)


@pytest.mark.parametrize("number", ["1e400", "-1", "9223372036854775808", '"7"', "1.5"])
def test_a_number_that_is_none_makes_a_body_that_says_nothing(number: str) -> None:
    body = payload(event("a")).replace(b'"lastEventSequence": 1', f'"lastEventSequence": {number}'.encode())
    assert read(body) == Delivery((), 0, 0)


def test_ids_are_printable() -> None:
    assert read(payload(event("a\ud800"))) == Delivery((), 0, 0)
