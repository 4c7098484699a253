"""Accounting through the gateway: Xero's webhooks to the order, and the routes that people use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest_asyncio

from server.caller import Role
from server.db.pool import Database, PoolSettings
from server.embedded.envoy import EmbeddedEnvoy
from server.embedded.loopback import free_ports
from tests.support import orders
from tests.support.accounting import Accounts, accounts_server
from tests.support.edge import edge_settings, until
from tests.support.orders import TENANT, new_key


@dataclass(frozen=True, slots=True)
class Front:
    """Accounts behind a gateway, which the sandbox's webhooks go through too."""

    accounts: Accounts
    url: str

    def client(self, role: Role | None = Role.STAFF) -> httpx.AsyncClient:
        token = self.accounts.desk.token(role, tenant=TENANT) if role else ""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=20)


@pytest_asyncio.fixture
async def front(dsn: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with Database(dsn, PoolSettings(min_size=1, max_size=2)) as database:
        await orders.fill(database)
    port = free_ports(1)[0]
    hook = f"http://127.0.0.1:{port}/webhooks/xero"
    async with accounts_server(tmp_path, dsn, redis_url, webhook_url=hook, webhook_retry=(0.2, 0.2)) as accounts:
        await accounts.connect()
        upstream = accounts.desk.application.servers.gateway_port
        settings = replace(edge_settings(tmp_path, accounts.desk.issuer, upstream), http_port=port)
        envoy = EmbeddedEnvoy(tmp_path / "envoy", settings, grace=1)
        await envoy.start()
        try:
            running = Front(accounts, f"http://127.0.0.1:{port}")
            async with running.client(None) as client:
                await until(lambda: _serves(client))
            yield running
        finally:
            await envoy.stop()


async def _serves(client: httpx.AsyncClient) -> bool:
    return (await client.get("/health")).is_success


async def test_xero_sees_200_for_its_own_signature_and_401_for_another(front: Front) -> None:
    assert await front.accounts.sandbox.webhooks.intent_to_receive() == {"right": 200, "wrong": 401}


async def test_what_is_paid_in_xero_is_paid_on_the_order_whatever_becomes_of_the_webhooks(front: Front) -> None:
    accounts, hooks = front.accounts, front.accounts.sandbox.webhooks
    async with accounts.working():
        placed = await accounts.many(4)
        for order in placed:
            await accounts.until(order.name, "AUTHORISED")
        await until(lambda: hooks.pending() == 0)
        for order, fate in zip(placed, ("once", "duplicated", "dropped", "once"), strict=True):
            hooks.script(fate)
            accounts.sandbox.pay(order.invoice.number)
        for order in placed:  # the dropped one by reconciliation, which the gap asked for
            await accounts.until(order.name, "PAID")
    assert hooks.given_up == 0


async def test_a_forged_webhook_changes_nothing(front: Front) -> None:
    accounts, hooks = front.accounts, front.accounts.sandbox.webhooks
    async with accounts.working():
        placed = await accounts.placed()
        await accounts.until(placed.name, "AUTHORISED")
        await until(lambda: hooks.pending() == 0)
        hooks.script("forged")
        accounts.sandbox.pay(placed.invoice.number)
        await until(lambda: hooks.given_up == 1)
    assert await accounts.leaves("WEBHOOK_FORGED")
    assert (await accounts.order(placed.name)).invoice.state == placed.invoice.AUTHORISED


async def test_the_routes_of_accounting(front: Front) -> None:
    accounts = front.accounts
    accounts.sandbox.faults.script("validation_error", method="PUT", path="Invoices", message="No such account")
    async with accounts.working(), front.client() as client:
        placed = await accounts.placed()
        await accounts.until(placed.name, "NEEDS_ATTENTION")
        connection = (await client.get("/v1/accounting/connection")).json()
        assert connection["state"] == "CONNECTED"
        budget = (await client.get("/v1/accounting/budget")).json()
        assert 0 < budget["minuteRemaining"] <= budget["minuteLimit"]
        [letter] = (await client.get("/v1/accounting/deadLetters")).json()["deadLetters"]
        assert (letter["order"], letter["reason"]) == (placed.name, "ACCOUNTING_REJECTED")
        assert letter["message"] == "No such account"
        body = {"requestId": new_key()}
        retried = await client.post(f"/v1/{placed.name}:retryInvoice", json=body)
        assert retried.json()["order"]["invoice"]["state"] == "QUEUED"
        order = await accounts.until(placed.name, "AUTHORISED")
        again = await client.post(f"/v1/{placed.name}:retryInvoice", json={"requestId": new_key()})
        assert again.status_code == 400
        assert again.json()["details"][0]["reason"] == "INVOICE_NOT_RETRYABLE"
        shown = (await client.get(f"/v1/{placed.name}")).json()["invoice"]
        assert (shown["state"], shown["number"]) == ("AUTHORISED", order.invoice.number)
    async with front.client(Role.CUSTOMER) as customer:
        assert (await customer.get("/v1/accounting/connection")).status_code == 403
    async with front.client(None) as stranger:
        assert (await stranger.get("/v1/accounting/budget")).status_code == 401
