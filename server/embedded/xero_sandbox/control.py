"""The page and /sandbox/…: what a person or a test does to a sandbox from outside of Xero's API."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from aiohttp import web
from pydantic import ValidationError

from server.embedded.xero_sandbox.answers import json_answer
from server.embedded.xero_sandbox.faults import FaultIn
from server.embedded.xero_sandbox.ledger import Missing, Refused
from server.embedded.xero_sandbox.page import HEADERS, page
from server.embedded.xero_sandbox.webhooks import DeliveryIn
from server.embedded.xero_sandbox.wire import Malformed, loads, web_address

if TYPE_CHECKING:
    from server.embedded.xero_sandbox.sandbox import Sandbox

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses other names for this host (a page that rebinds its own name to loopback) and posts of other sites."""
    place = web_address(f"http://{request.host}")
    if place is None or place.hostname not in _LOOPBACK:
        return web.Response(status=421, text="the sandbox answers to this machine's own names only")
    origin = request.headers.get("Origin")
    foreign = origin is not None and origin != f"{request.scheme}://{request.host}"
    if request.method != "GET" and (foreign or request.headers.get("Sec-Fetch-Site") == "cross-site"):
        return web.Response(status=403, text="posts of other sites are refused")
    return await handler(request)


class Control:
    """Handlers over one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.page),
            web.get("/sandbox/state", self.state),
            web.get("/sandbox/violations", self.violations),
            web.post("/sandbox/faults", self.add_fault),
            web.delete("/sandbox/faults", self.clear_faults),
            web.post("/sandbox/webhooks", self.script_webhooks),
            web.post("/sandbox/pay/{number}", self.pay),
            web.post("/sandbox/void/{number}", self.void),
            web.post("/sandbox/connect", self.connect),
            web.post("/sandbox/disconnect", self.disconnect),
            web.post("/sandbox/intent", self.intent),
        ]

    async def page(self, request: web.Request) -> web.Response:
        told = request.query.get("told", "")[:200]
        text = page(self._sandbox.state(), self._sandbox.settings.currency, told)
        return web.Response(text=text, content_type="text/html", headers=HEADERS)

    async def state(self, _request: web.Request) -> web.Response:
        return json_answer(self._sandbox.state())

    async def violations(self, _request: web.Request) -> web.Response:
        journal = self._sandbox.journal
        return json_answer({"count": journal.violation_count, "violations": journal.violations()})

    async def add_fault(self, request: web.Request) -> web.Response:
        """Body: a FaultIn."""
        try:
            fault = FaultIn.model_validate(loads(await request.read()))
        except (ValidationError, Malformed) as wrong:
            return web.Response(status=400, text=str(wrong))
        self._sandbox.faults.add(fault)
        return json_answer({"pending": self._sandbox.faults.pending()})

    async def clear_faults(self, _request: web.Request) -> web.Response:
        self._sandbox.faults.clear()
        return json_answer({"pending": 0})

    async def script_webhooks(self, request: web.Request) -> web.Response:
        """Body: a DeliveryIn."""
        try:
            wanted = DeliveryIn.model_validate(loads(await request.read()))
        except (ValidationError, Malformed) as wrong:
            return web.Response(status=400, text=str(wrong))
        self._sandbox.webhooks.script(wanted.delivery, wanted.times)
        return json_answer({})

    async def pay(self, request: web.Request) -> web.Response:
        return self._act(request, self._sandbox.pay, "paid")

    async def void(self, request: web.Request) -> web.Response:
        return self._act(request, self._sandbox.void, "taken out of the books")

    async def connect(self, request: web.Request) -> web.Response:
        self._sandbox.identity.connect()
        return _done(request, "The organisation is connected.")

    async def disconnect(self, request: web.Request) -> web.Response:
        self._sandbox.identity.disconnect()
        return _done(request, "The organisation is disconnected.")

    async def intent(self, request: web.Request) -> web.Response:
        if not self._sandbox.settings.webhook_url:
            return _done(request, "No webhook is configured.", 409)
        statuses = await self._sandbox.webhooks.intent_to_receive()
        good = statuses == {"right": 200, "wrong": 401}
        said = f"Intent to receive: {'good' if good else 'bad'}, {json.dumps(statuses)}"
        return _done(request, said, 200 if good else 502)

    def _act(self, request: web.Request, act: Callable[[str], None], done: str) -> web.Response:
        number = request.match_info["number"]
        try:
            act(number)
        except Missing:
            return _done(request, f"There is no invoice {number}.", 404)
        except Refused as refused:
            return _done(request, f"{number}: {'; '.join(refused.messages)}", 409)
        return _done(request, f"{number} is {done}.")


def _done(request: web.Request, said: str, status: int = 200) -> web.Response:
    """Back to the page for a browser's form, JSON for a program."""
    if "text/html" in request.headers.get("Accept", ""):
        return web.Response(status=303, headers={"Location": f"/?{urlencode({'told': said})}"})
    return json_answer({"said": said}, status)
