"""A Xero for tests: the sandbox in this process, on a free port, in memory; its clock can be moved."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio

from server.embedded.xero_sandbox.sandbox import Sandbox, serving
from server.embedded.xero_sandbox.settings import TENANT_ID, SandboxSettings

CLIENT = (SandboxSettings().client_id, SandboxSettings().client_secret)


def openapi_file() -> Path | None:
    """Xero's own OpenAPI file, when XERO_OPENAPI_FILE names one."""
    named = os.environ.get("XERO_OPENAPI_FILE", "")
    return Path(named) if named else None


@dataclass
class MovableClock:
    """Seconds since 1970 that stand still until a test moves them."""

    now: float = field(default=1_790_000_000.0)

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def xero_sandbox(**settings: Any) -> AsyncIterator[Sandbox]:
    """A sandbox with `settings` (fields of SandboxSettings); checked by Xero's OpenAPI file when there is one."""
    async with serving(SandboxSettings(**{"openapi": openapi_file(), **settings})) as sandbox:
        yield sandbox


@pytest_asyncio.fixture(name="xero_sandbox")
async def fresh_xero_sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox for one test."""
    async with xero_sandbox() as sandbox:
        yield sandbox


@asynccontextmanager
async def xero_client(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    """Raw HTTP with a token and the tenant; paths are below the accounting API."""
    async with httpx.AsyncClient(timeout=10) as client:
        token = await fetch_token(client, sandbox)
        client.headers.update({"Authorization": f"Bearer {token}", "xero-tenant-id": TENANT_ID})
        client.base_url = httpx.URL(sandbox.api_url)
        yield client


async def fetch_token(client: httpx.AsyncClient, sandbox: Sandbox) -> str:
    form = {"grant_type": "client_credentials", "scope": "accounting.invoices"}
    answer = await client.post(f"{sandbox.url}/connect/token", data=form, auth=CLIENT)
    return str(answer.raise_for_status().json()["access_token"])


def invoice(number: str | None = "T-1", **changes: Any) -> dict[str, Any]:
    """An invoice in Xero's form, of one line of 100 boxes at 0.65 and 9 % of tax, approved; None leaves a field out."""
    line = {"Description": "Pizza box 12 inch", "Quantity": 100, "UnitAmount": 0.65, "AccountCode": "200"}
    whole = {
        "Type": "ACCREC",
        "InvoiceNumber": number,
        "Contact": {"ContactNumber": "outlet-1", "Name": "Corner Pizza"},
        "Date": "2026-03-02",
        "DueDate": "2026-04-01",
        "LineAmountTypes": "Exclusive",
        "Status": "AUTHORISED",
        "LineItems": [line | {"TaxType": "OUTPUT"}],
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


async def book(client: httpx.AsyncClient, *numbers: str, **changes: Any) -> list[dict[str, Any]]:
    """Invoices of these numbers, as the sandbox shows them."""
    body = {"Invoices": [invoice(number, **changes) for number in numbers or ("T-1",)]}
    booked: list[dict[str, Any]] = (await client.put("Invoices", json=body)).raise_for_status().json()["Invoices"]
    return booked


def money(value: float) -> Decimal:
    """An amount of a JSON answer, exactly."""
    return Decimal(repr(value))
