"""`tria accounting` and the books in `tria doctor`, as processes against the sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping

from server.db.pool import Database
from server.embedded.xero_sandbox.sandbox import Sandbox
from tests.support.books import consent, xero_variables

BY_CODE = {"XERO_GRANT": "authorization_code", "XERO_REDIRECT_URL": "http://localhost:9/connected"}


class Tria:
    """The command line, configured for these stores and this sandbox."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._environ = {**os.environ, **variables}

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "server", *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=self._environ
        )

    async def __call__(self, *arguments: str) -> tuple[int | None, str, str]:
        process = await self.start(*arguments)
        out, error = await process.communicate()
        return process.returncode, out.decode(), error.decode()


def tria(sandbox: Sandbox, dsn: str, redis_url: str, **changes: str) -> Tria:
    stores = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url}
    return Tria(xero_variables(sandbox.url, **stores, **changes))


async def test_a_custom_connection_is_made_shown_and_ended(xero_sandbox: Sandbox, dsn: str, redis_url: str) -> None:
    run = tria(xero_sandbox, dsn, redis_url)
    code, _, error = await run("accounting", "connect")
    assert (code, "name it by --tenant" in error) == (1, True)
    code, out, _ = await run("accounting", "connect", "--tenant", "demo")
    assert (code, out) == (0, "demo is connected to Sandbox Packaging Supplies\n")
    code, out, _ = await run("accounting", "status", "--json")
    told = json.loads(out)
    assert (told["tenant"], told["state"], told["day_left"] > 4000) == ("demo", "CONNECTED", True)
    code, out, _ = await run("doctor", "--json")
    assert json.loads(out)["parts"]["books"] == {"ok": True, "said": "Xero, demo: Sandbox Packaging Supplies"}
    code, out, _ = await run("accounting", "disconnect")
    assert (code, out) == (0, "demo is disconnected\n")
    assert not xero_sandbox.identity.connected
    code, out, _ = await run("doctor", "--json")
    books = json.loads(out)["parts"]["books"]
    assert not books["ok"]
    assert "tria accounting connect" in books["said"]


async def test_consent_is_given_in_a_browser(
    xero_sandbox: Sandbox, database: Database, dsn: str, redis_url: str
) -> None:
    process = await tria(xero_sandbox, dsn, redis_url, **BY_CODE).start("accounting", "connect", "--tenant", "demo")
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    out, _ = await process.communicate((await consent(url) + "\n").encode())
    assert (process.returncode, out) == (0, b"demo is connected to Sandbox Packaging Supplies\n")
    async with database.connection() as connection:
        assert await connection.fetchval("select state from accounting_connection") == "CONNECTED"


async def test_what_cannot_be_connected_says_why(xero_sandbox: Sandbox, dsn: str, redis_url: str) -> None:
    wrong = tria(xero_sandbox, dsn, redis_url, XERO_CLIENT_SECRET="wrong")
    code, _, error = await wrong("accounting", "connect", "--tenant", "demo")
    assert (code, "invalid_client" in error) == (1, True)
    nothing = tria(xero_sandbox, dsn, redis_url, TRIA_ACCOUNTING="none")
    code, _, error = await nothing("accounting", "connect", "--tenant", "demo")
    assert (code, "nothing to connect to" in error) == (1, True)
