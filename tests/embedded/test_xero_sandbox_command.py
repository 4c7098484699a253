"""`tria xero-sandbox` as a process: what it booked, and whom it knows, outlive a kill."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.embedded.xero_sandbox.settings import TENANT_ID
from tests.support.xero import invoice

SECRETS = {"XERO_CLIENT_ID": "me", "XERO_CLIENT_SECRET": "mine", "XERO_WEBHOOK_KEY": "key", "XERO_OPENAPI_FILE": ""}


async def start(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", "xero-sandbox", *arguments,
        env=os.environ | SECRETS | environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@asynccontextmanager
async def running(state: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    process = await start("--state", str(state), "--json")
    try:
        assert process.stdout is not None
        yield process, json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(), 30)


async def test_killed_and_started_again(tmp_path: Path) -> None:
    state = tmp_path / "books.db"
    async with httpx.AsyncClient() as client:
        async with running(state) as (process, ready):
            assert ready["checked_by_openapi"] is False
            form = {"grant_type": "client_credentials"}
            token = (await client.post(f"{ready['url']}/connect/token", data=form, auth=("me", "mine"))).json()
            client.headers.update({"Authorization": f"Bearer {token['access_token']}", "xero-tenant-id": TENANT_ID})
            body, key = {"Invoices": [invoice("K-1")]}, {"Idempotency-Key": "k"}
            first = await client.put(f"{ready['api']}Invoices", json=body, headers=key)
            assert first.status_code == 200
            process.kill()
            await process.wait()
        assert state.stat().st_mode & 0o077 == 0
        async with running(state) as (process, ready):
            again = await client.put(f"{ready['api']}Invoices", json=body, headers=key)
            assert again.json() == first.json(), "the key is remembered, the token is known"
            kept = (await client.get(f"{ready['url']}/sandbox/state")).json()["invoices"]
            assert [(one["number"], one["status"]) for one in kept] == [("K-1", "AUTHORISED")]
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 30) == 0


@pytest.mark.parametrize("listen", ["0.0.0.0:8099", "127.0.0.1", "127.0.0.1:99999", "example.org:80", "127.0.0.1:x"])
async def test_wrong_use(listen: str) -> None:
    process = await start("--listen", listen)
    output, complaint = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, output) == (2, b"")
    assert b"--listen" in complaint


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    process = await start(XERO_OPENAPI_FILE=str(tmp_path / "none.yaml"))
    _, complaint = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert b"XERO_OPENAPI_FILE" in complaint
    assert b"Traceback" not in complaint
