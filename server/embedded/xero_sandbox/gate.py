"""What every accounting call passes: token, tenant, limits, faults, idempotency, form; then its endpoint, whose effect
and remembered answer commit together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

from aiohttp import web
from pydantic import ValidationError

from server.embedded.xero_sandbox import trouble
from server.embedded.xero_sandbox.answers import error, json_text, not_understood, refusal
from server.embedded.xero_sandbox.contract import Contract
from server.embedded.xero_sandbox.endpoints import Endpoint, find
from server.embedded.xero_sandbox.faults import FaultIn, FaultKind, Faults
from server.embedded.xero_sandbox.journal import Journal
from server.embedded.xero_sandbox.ledger import Call, Ledger, Missing, Refused
from server.embedded.xero_sandbox.limits import Limiter, Over
from server.embedded.xero_sandbox.memory import Memory, fingerprint
from server.embedded.xero_sandbox.oauth import Identity
from server.embedded.xero_sandbox.settings import TENANT_ID
from server.embedded.xero_sandbox.wire import Document, Malformed, dumps, loads


class BadForm(Exception):
    """A body that is not in Xero's form."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Gate:
    """The handler of everything below /api.xro/2.0/."""

    ledger: Ledger
    identity: Identity
    limiter: Limiter
    memory: Memory
    faults: Faults
    journal: Journal
    contract: Contract | None
    latency: float

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One call, whatever comes of it; every answer says what is left of the limits."""
        found = find(request.method, request.match_info["path"])
        self.journal.call(found[0].name if found else f"{request.method} elsewhere")
        answer = self._unknown_caller(request)
        if answer is None:
            answer = error(404, "The resource you're looking for cannot be found")
            if found:
                answer = await self._admit(request, *found)
        answer.headers.update(self.limiter.headers())
        return answer

    async def spoilable(
        self, request: web.Request, do: Callable[[web.Request], Awaitable[web.Response]]
    ) -> web.Response:
        """A call outside of the API and its limits that a fault may meet: the token endpoint."""
        self.journal.call(f"{request.method} {request.path}")
        fault = self.faults.take(request.method, request.path)
        return await trouble.before(fault, request) or await trouble.after(fault, request, await do(request))

    def _unknown_caller(self, request: web.Request) -> web.Response | None:
        if not self.identity.knows(request):
            return error(401, "TokenInvalidSignature or TokenExpired")
        if request.headers.get("xero-tenant-id") != TENANT_ID or not self.identity.connected:
            return error(403, "AuthenticationUnsuccessful")
        return None

    async def _admit(self, request: web.Request, endpoint: Endpoint, id: str) -> web.Response:
        try:
            with self.limiter.admitted() as running:
                self.journal.admitted(running)
                if self.latency:
                    await asyncio.sleep(self.latency)
                fault = self.faults.take(request.method, request.path)
                raw = await request.read()
                spoiled = await trouble.before(fault, request)
                if spoiled is not None:
                    return spoiled
                answer = self._answer(request, endpoint, id, raw, fault)
                return await trouble.after(fault, request, answer)
        except Over as over:
            self.journal.refused[over.problem] += 1
            headers = {"X-Rate-Limit-Problem": over.problem}
            if over.retry_after is not None:
                headers["Retry-After"] = str(over.retry_after)
            return error(429, "rate limit exceeded", headers)

    def _answer(
        self, request: web.Request, endpoint: Endpoint, id: str, raw: bytes, fault: FaultIn | None
    ) -> web.Response:
        """Without an await: what is remembered by key and what is done cannot come apart."""
        key = request.headers.get("Idempotency-Key", "") if endpoint.model else ""
        mark = fingerprint(request.method, request.path_qs, raw)
        try:
            if key and (first := self.memory.recall(key, mark)):
                return json_text(first[1], first[0])
            status, text = self._perform(request, endpoint, id, raw, fault, key, mark)
        except (BadForm, Malformed) as wrong:
            problems = wrong.problems if isinstance(wrong, BadForm) else [str(wrong)]
            self.journal.violation("request", endpoint.name, problems)
            return json_text(dumps(not_understood(problems)), 400)
        except Missing:
            return error(404, "The resource you're looking for cannot be found")
        return json_text(text, status)

    def _perform(
        self, request: web.Request, endpoint: Endpoint, id: str, raw: bytes, fault: FaultIn | None, key: str, mark: str
    ) -> tuple[int, str]:
        """Status and text of the answer. Raises BadForm, Malformed, Missing."""
        body = self._body(request, endpoint, raw) if endpoint.model else {}
        wrong_by = fault.amount if fault and fault.kind is FaultKind.WRONG_TOTAL else Decimal(0)
        since = request.headers.get("If-Modified-Since", "")
        call = Call(self.ledger, request.method, request.query, body, id, since, wrong_by)
        try:
            with self.ledger.store.transaction():
                reply = endpoint.do(call)
                text = self._checked(endpoint.name, endpoint.schema, reply.body)
                if key:
                    self.memory.keep(key, mark, reply.status, text)
        except Refused as refused:
            text = self._checked(endpoint.name, "Error", refusal(refused.messages, refused.elements))
            if key:
                self.memory.keep(key, mark, 400, text)
            return 400, text
        return reply.status, text

    def _body(self, request: web.Request, endpoint: Endpoint, raw: bytes) -> Document:
        """What the client sent, by our models and by Xero's own file. Raises BadForm, Malformed."""
        if request.content_type != "application/json":
            raise Malformed(f"Content-Type must be application/json, not {request.content_type}")
        if endpoint.model is None:
            return {}
        parsed = loads(raw)
        problems = self.contract.problems(endpoint.schema, parsed) if self.contract else []
        try:
            model = endpoint.model.model_validate(parsed)
        except ValidationError as invalid:
            problems += [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in invalid.errors()[:5]]
        if problems:
            raise BadForm(problems)
        return model.sent()

    def _checked(self, name: str, schema: str, body: Document) -> str:
        """The answer's text; one that Xero's own file does not allow is our mistake, and answered 500."""
        text = dumps(body)
        problems = self.contract.problems(schema, loads(text)) if self.contract else []
        if problems:
            self.journal.violation("reply", name, problems)
            raise web.HTTPInternalServerError(text="; ".join(problems))
        return text
