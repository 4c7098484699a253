"""The sandbox put together: one organisation, its API, its identity server, its page."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web

from server.embedded.xero_sandbox import invoices, organisation
from server.embedded.xero_sandbox.contract import Contract
from server.embedded.xero_sandbox.control import Control, guard
from server.embedded.xero_sandbox.faults import Faults
from server.embedded.xero_sandbox.gate import Gate
from server.embedded.xero_sandbox.journal import Journal
from server.embedded.xero_sandbox.ledger import Ledger
from server.embedded.xero_sandbox.limits import Limiter
from server.embedded.xero_sandbox.memory import Memory
from server.embedded.xero_sandbox.oauth import Identity
from server.embedded.xero_sandbox.payments import pay_in_full
from server.embedded.xero_sandbox.settings import SandboxSettings
from server.embedded.xero_sandbox.state_report import report
from server.embedded.xero_sandbox.store import Store
from server.embedded.xero_sandbox.webhooks import Webhooks

API_PATH = "/api.xro/2.0/"
_BIGGEST_BODY = 4 << 20  # Xero takes 3.5 MB


class Sandbox:
    """One running sandbox. `url` is where it listens; tests script it by `faults` and `webhooks`."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.url = ""
        self._store = Store(settings.state)
        self.faults = Faults()
        self.journal = Journal(settings.clock)
        self.identity = Identity(self._store, settings)
        self.webhooks = Webhooks(self._store, settings, lambda: self.api_url)
        self.ledger = Ledger(
            store=self._store,
            clock=settings.clock,
            currency=settings.currency,
            rates=organisation.rates(),
            accounts=organisation.accounts(),
            announce=self.webhooks.announce,
        )
        self._gate = Gate(
            ledger=self.ledger,
            identity=self.identity,
            limiter=Limiter(settings.limits, settings.clock),
            memory=Memory(self._store, settings.clock, settings.idempotency_life),
            faults=self.faults,
            journal=self.journal,
            contract=Contract(settings.openapi) if settings.openapi else None,
            latency=settings.latency,
        )

    @property
    def api_url(self) -> str:
        """With a slash at its end."""
        return self.url + API_PATH

    def state(self) -> dict[str, Any]:
        """What was booked, and how the sandbox was treated."""
        return report(self._store, self.journal, self.faults, self.webhooks, self.identity)

    def pay(self, number: str) -> None:
        """As a person does in Xero: the whole of what is due. Raises Missing, Refused."""
        with self._store.transaction():
            pay_in_full(self.ledger, invoices.named(self.ledger, number))

    def void(self, number: str) -> None:
        """As a person does in Xero. Raises Missing, Refused."""
        with self._store.transaction():
            invoices.void(self.ledger, invoices.named(self.ledger, number))

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_BIGGEST_BODY, middlewares=[guard])
        app.router.add_post("/connect/token", self._token)
        app.router.add_get("/identity/connect/authorize", self.identity.authorize)
        for spelling in ("connections", "Connections"):  # Xero takes both; its SDK sends the second
            app.router.add_get(f"/{spelling}", self.identity.connections)
            app.router.add_delete(f"/{spelling}/{{id}}", self.identity.delete_connection)
        app.router.add_route("*", API_PATH + "{path:.*}", self._gate.handle)
        app.add_routes(Control(self).routes())
        return app

    def close(self) -> None:
        self._store.close()

    async def _token(self, request: web.Request) -> web.StreamResponse:
        return await self._gate.spoilable(request, self.identity.token)


@asynccontextmanager
async def serving(settings: SandboxSettings, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Sandbox]:
    """A sandbox that listens (on any free port for 0) and sends its webhooks until the body ends."""
    sandbox = Sandbox(settings)
    runner = web.AppRunner(sandbox.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    used = runner.addresses[0][1]
    sandbox.url = f"http://{host}:{used}"
    sending = asyncio.create_task(sandbox.webhooks.run(), name="xero sandbox webhooks")
    try:
        yield sandbox
    finally:
        sending.cancel()
        await asyncio.wait({sending})
        await runner.cleanup()
        sandbox.close()


def settings_from_environment(settings: SandboxSettings) -> SandboxSettings:
    """Secrets and the OpenAPI file are never on a command line: XERO_CLIENT_ID, XERO_CLIENT_SECRET, XERO_WEBHOOK_KEY
    and XERO_OPENAPI_FILE."""
    openapi = os.environ.get("XERO_OPENAPI_FILE", "")
    return replace(
        settings,
        client_id=os.environ.get("XERO_CLIENT_ID") or settings.client_id,
        client_secret=os.environ.get("XERO_CLIENT_SECRET") or settings.client_secret,
        webhook_key=os.environ.get("XERO_WEBHOOK_KEY") or settings.webhook_key,
        openapi=Path(openapi) if openapi else None,
    )
