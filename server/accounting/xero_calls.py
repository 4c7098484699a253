"""One call to Xero: token, circuit breaker, place in the budget, a thread for the SDK, and what the answer means.

xero-python is synchronous, so it runs in a few threads of its own. Its hidden retries are off: urllib3 would send a PUT
up to four times and sleep through a day limit. A call that its caller gave up keeps its thread and its place until it
has ended, because Xero counts it until then too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import urllib3
import urllib3.exceptions as http
from xero_python.accounting import AccountingApi
from xero_python.api_client import ApiClient
from xero_python.api_client.configuration import Configuration
from xero_python.exceptions import ApiSSLException, HTTPStatusException

from server.accounting.books import BooksError, Leave, NotSent, OutcomeUnknown, Rejected
from server.accounting.budget import Budget, Lane, Place, Spent
from server.accounting.connection import Access, Connections
from server.accounting.identity import IdentityAway
from server.accounting.xero_errors import Reply, Unanswered, messages_of, refused, unanswered
from server.accounting.xero_wire import Unreadable, read_json
from server.breaker import BreakerState, CircuitBreakers, CircuitOpenError
from server.errors import AppError

# Whole numbers, because the SDK takes a float for no timeout at all.
_TIMEOUTS = (3, 20)  # seconds to connect, and of silence
_TOTAL = 45.0  # seconds for the whole call, a thread included; below the lease of a place
_MOST_BYTES = 20_000_000
_WAITS = {Lane.PEOPLE: 5.0, Lane.JOBS: 2.0}  # seconds for a place; a job gives up its worker rather than wait longer


_T = TypeVar("_T")
_KEPT: ContextVar[tuple[str, list[Place]]] = ContextVar("kept", default=("", []))  # the default is never added to


@dataclass(frozen=True, slots=True)
class Call:
    """A method of the SDK's AccountingApi and what it gets after the organisation. `write` may change something."""

    method: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    write: bool = False


class _Client(ApiClient):  # type: ignore[misc]  # the SDK has no types
    """An SDK client for one call: the SDK keeps token and last answer on the client, where threads would mix them."""

    def __init__(self, shared: ApiClient, token: str) -> None:
        self.configuration = shared.configuration
        self.rest_client = shared.rest_client
        self.default_headers = dict(shared.default_headers)
        self.cookie = None
        self._token = token

    def update_params_for_auth(self, headers: dict[str, str], querys: object, auth_settings: object) -> None:  # noqa: ARG002  # the SDK's
        headers["Authorization"] = f"Bearer {self._token}"


class XeroCalls:
    """Calls of one process, for all tenants. Made on a running loop; `close()` waits for calls on their way."""

    def __init__(
        self, api_url: str, connections: Connections, budget: Budget, breakers: CircuitBreakers, *, threads: int
    ) -> None:
        self._base_url = f"{api_url}/api.xro/2.0"
        self._connections = connections
        self._budget = budget
        self._breakers = breakers
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="xero")
        self._running: set[asyncio.Task[Reply]] = set()
        configuration = Configuration()
        configuration.connection_pool_maxsize = threads
        self._shared = ApiClient(configuration)
        self._shared.rest_client.pool_manager.connection_pool_kw["retries"] = False

    async def close(self) -> None:
        """No call of this object may be made any more."""
        if self._running:
            await asyncio.wait(self._running)
        self._threads.shutdown(wait=False)
        self._shared.rest_client.pool_manager.clear()

    @asynccontextmanager
    async def leave(self, tenant: str, lane: Lane) -> AsyncIterator[Leave]:
        """As `Books.leave`. The place is found by the calls of this task and of those that it starts."""
        place = await self._reported(tenant, self._admitted(tenant, lane))
        kept = [place]
        token = _KEPT.set((tenant, kept))
        try:
            yield Leave(probe=self._breakers.of(tenant).state is not BreakerState.CLOSED)
        finally:
            _KEPT.reset(token)
            for unused in kept:
                await self._budget.give_back(unused, Spent(sent=False))

    async def call(self, tenant: str, lane: Lane, call: Call) -> Any:
        """The JSON of the answer; None when what is read is not there. Raises BooksError."""
        told = await self._reported(tenant, self._judged(tenant, lane, call))
        await self._connections.report(tenant)
        return told

    async def _reported(self, tenant: str, asked: Coroutine[Any, Any, _T]) -> _T:
        try:
            return await asked
        except BooksError as error:
            if not isinstance(error, Rejected):  # a refused invoice says nothing about the connection
                await self._connections.report(tenant, str(error))
            raise
        except AppError as away:
            raise NotSent(away.message) from away  # only the token is stored, and it is needed before anything is sent

    async def _admitted(self, tenant: str, lane: Lane) -> Place:
        if (refusal := self._breakers.of(tenant).refusal()) is not None:
            raise _left_alone(refusal) from refusal
        await self._connections.access(tenant)
        return await self._budget.take(tenant, lane, _WAITS[lane])

    async def _judged(self, tenant: str, lane: Lane, call: Call) -> Any:
        access = await self._connections.access(tenant)
        reply = await self._answered(tenant, lane, access, call)
        if reply.status == 401:  # a token may end early; once is enough to know
            access = await self._connections.access(tenant, refused=access)
            reply = await self._answered(tenant, lane, access, call)
        if reply.status == 401:
            raise await self._connections.lost(tenant, access, "Xero does not take the token; connect again")
        if reply.status == 403:
            raise await self._forbidden(tenant, access, reply)
        if reply.status == 404 and not call.write:
            return None
        if not 200 <= reply.status < 300:
            raise refused(reply, write=call.write)
        try:
            return read_json(reply.body)
        except Unreadable as unreadable:
            raise unread(unreadable, write=call.write) from unreadable

    async def _forbidden(self, tenant: str, access: Access, reply: Reply) -> BooksError:
        """403 is said of an organisation that was disconnected, and of things the app may not do."""
        try:
            there = await self._connections.still_there(access)
        except IdentityAway as away:
            return NotSent(f"Xero forbids the call, and does not say whether it is still connected: {away}")
        if not there:
            return await self._connections.lost(tenant, access, "the organisation was disconnected in Xero")
        return Rejected(messages_of(reply) or ["Xero does not allow this app to do that"])

    async def _answered(self, tenant: str, lane: Lane, access: Access, call: Call) -> Reply:
        try:
            with self._breakers.of(tenant).attempt(_is_outage):
                place = _kept(tenant) or await self._budget.take(tenant, lane, _WAITS[lane])
                reply = await self._in_thread(place, access, call)
                if reply.status >= 500:
                    raise refused(reply, write=call.write)
                return reply
        except CircuitOpenError as is_open:
            raise _left_alone(is_open) from is_open

    async def _in_thread(self, place: Place, access: Access, call: Call) -> Reply:
        sending = self._threads.submit(self._send, access, call)
        task = asyncio.create_task(self._ended(place, sending), name="xero-call")
        self._running.add(task)
        task.add_done_callback(self._forget)
        try:
            async with asyncio.timeout(_TOTAL):
                return await asyncio.shield(task)
        except Unanswered as silence:
            raise silence.judged(write=call.write) from silence
        except TimeoutError as late:
            raise Unanswered("Xero gave no answer in time", sent=not sending.cancel()).judged(
                write=call.write
            ) from late

    async def _ended(self, place: Place, sending: Future[Reply]) -> Reply:
        """Waits for the thread, whoever else has given up, and gives the place back with what was learned."""
        spent = Spent(sent=False)
        try:
            reply = await asyncio.wrap_future(sending)
            spent = reply.spent
        except Unanswered as silence:
            spent = Spent(sent=silence.sent)
            raise
        else:
            return reply
        finally:
            await self._budget.give_back(place, spent)

    def _forget(self, task: asyncio.Task[Reply]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # seen: whoever waited for it has gone

    def _send(self, access: Access, call: Call) -> Reply:
        """In a thread. Raises Unanswered."""
        client = _Client(self._shared, access.token)
        send: Callable[..., urllib3.BaseHTTPResponse] = getattr(AccountingApi(client, self._base_url), call.method)
        try:
            response = send(
                access.organisation_id,
                *call.arguments,
                **call.options,
                _preload_content=False,
                _request_timeout=_TIMEOUTS,
            )
            return Reply(response.status, _lower(response.headers), _body(response))
        except HTTPStatusException as status:
            answer = status.http_resp
            return Reply(answer.status, _lower(answer.getheaders()), answer.data)
        except (http.HTTPError, ApiSSLException) as error:
            raise unanswered(error) from error


def unread(unreadable: Unreadable, *, write: bool) -> BooksError:
    """For a success that cannot be read: the write may have been done."""
    said = f"Xero's answer was not understood: {unreadable}"
    return OutcomeUnknown(said) if write else NotSent(said)


def _kept(tenant: str) -> Place | None:
    """The place that was taken beforehand, once."""
    whose, kept = _KEPT.get()
    return kept.pop() if whose == tenant and kept else None


def _left_alone(refusal: CircuitOpenError) -> NotSent:
    return NotSent("Xero has been failing and is left alone for a moment", refusal.retry_after)


def _is_outage(error: Exception) -> bool:
    return isinstance(error, NotSent | OutcomeUnknown)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _body(response: urllib3.BaseHTTPResponse) -> bytes:
    """Piece by piece, so that an answer that trickles ends too: the SDK's timeout is for silence only."""
    pieces, size, deadline = [], 0, time.monotonic() + _TOTAL
    while piece := response.read1(65536):
        pieces.append(piece)
        size += len(piece)
        if size > _MOST_BYTES or time.monotonic() > deadline:
            response.close()
            raise http.ProtocolError("the answer does not end")
    response.release_conn()
    return b"".join(pieces)
