"""What every call goes through: credentials, ids, the contract's deadline, safe retries of writes, typed errors."""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from tria_client.backoff import Backoff
from tria_client.errors import TriaError, from_rpc
from tria_client.policy import ATTEMPTS, Method

Token = str | Callable[[], str | Awaitable[str]]
Details = grpc.aio.ClientCallDetails
_Request = TypeVar("_Request", bound=Message)

# A caller's own ids; each makes a repeat of the call the same call. A new session_id is a new conversation, as an
# empty one is, but one that a repeat finds again.
_OWN_IDS = ("request_id", "client_message_id", "session_id")


def with_ids(request: _Request) -> _Request:
    """The request with each of its caller's ids set; a copy when one had to be made."""
    known = request.DESCRIPTOR.fields_by_name
    missing = {name: str(uuid.uuid4()) for name in _OWN_IDS if name in known and not getattr(request, name)}
    if not missing:
        return request
    filled = type(request)()
    filled.CopyFrom(request)
    for name, value in missing.items():
        setattr(filled, name, value)
    return filled


def is_outcome(error: TriaError) -> bool:
    """Whether the error is how a run ended: repeating the message attaches to that same end."""
    return error.reason == "RUN_OWNER_LOST" or error.reason.startswith("MODEL_")


class Preparation:
    """Fills in what a call lacks. `token` may be a function, asked for each call, so that it can be renewed."""

    def __init__(self, methods: Mapping[str, Method], token: Token | None, api_key: str | None) -> None:
        self.methods = methods
        self._token = token
        self._api_key = api_key

    async def details(self, details: Details) -> tuple[Details, str]:
        """The call's details with credentials, x-request-id and deadline, and that request id."""
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        request_id = str(metadata.get("x-request-id") or uuid.uuid4())
        metadata["x-request-id"] = request_id
        if self._token is not None:
            metadata.add("authorization", f"Bearer {await self._current_token(self._token)}")
        if self._api_key is not None:
            metadata.add("x-api-key", self._api_key)
        timeout = details.timeout if details.timeout is not None else self.method(details).deadline
        return _changed(details, metadata, timeout), request_id

    def method(self, details: Details) -> Method:
        return self.methods[path_of(details)]

    @staticmethod
    async def _current_token(token: Token) -> str:
        if isinstance(token, str):
            return token
        given = token()
        return await given if inspect.isawaitable(given) else given


def path_of(details: Details) -> str:
    """`/package.Service/Method`; gRPC gives it as bytes."""
    method: bytes | str = details.method
    return method.decode() if isinstance(method, bytes) else method


class UnaryCalls(grpc.aio.UnaryUnaryClientInterceptor):
    """One request, one answer. A write is repeated on UNAVAILABLE with the ids of its first attempt."""

    def __init__(self, preparation: Preparation, backoff: Backoff) -> None:
        self._preparation = preparation
        self._backoff = backoff

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Details, request: Any) -> Any:
        details, request_id = await self._preparation.details(client_call_details)
        method = self._preparation.method(details)
        request = with_ids(request) if method.mutates else request
        ends = asyncio.get_running_loop().time() + details.timeout if details.timeout is not None else None
        for attempt in range(1, ATTEMPTS + 1):
            call = await continuation(_with_time_left(details, ends), request)
            try:
                await call
            except grpc.aio.AioRpcError as failure:
                error = from_rpc(failure, request_id)
                wait = self._backoff.delay(attempt, error.retry_after or 0.0)
                if attempt == ATTEMPTS or not _may_repeat(method, request, error) or _too_late(ends, wait):
                    raise error from failure
                await asyncio.sleep(wait)
            else:
                break
        return call


class ServerStreams(grpc.aio.UnaryStreamClientInterceptor):
    """One request, many answers. Nothing is repeated here: following.py resumes runs by their sequence numbers."""

    def __init__(self, preparation: Preparation) -> None:
        self._preparation = preparation

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Details, request: Any) -> Any:
        details, request_id = await self._preparation.details(client_call_details)
        return _answers(await continuation(details, request), request_id)


class ClientStreams(grpc.aio.StreamUnaryClientInterceptor):
    """Many requests, one answer."""

    def __init__(self, preparation: Preparation) -> None:
        self._preparation = preparation

    async def intercept_stream_unary(
        self, continuation: Any, client_call_details: Details, request_iterator: Any
    ) -> Any:
        details, request_id = await self._preparation.details(client_call_details)
        return _Answer(await continuation(details, request_iterator), request_id)


class _Answer:
    """A client-streaming call whose failure is a TriaError.

    It cannot be awaited in the interceptor, as a unary call is: with `write()` the requests only flow once the
    interceptor has returned.
    """

    def __init__(self, call: Any, request_id: str) -> None:
        self._call = call
        self._request_id = request_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __await__(self) -> Any:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        try:
            return await self._call
        except grpc.aio.AioRpcError as failure:
            raise from_rpc(failure, self._request_id) from failure


async def _answers(call: Any, request_id: str) -> AsyncGenerator[Any, None]:
    try:
        async for answer in call:
            yield answer
    except grpc.aio.AioRpcError as failure:
        raise from_rpc(failure, request_id) from failure


def _may_repeat(method: Method, request: Message, error: TriaError) -> bool:
    if error.code is not grpc.StatusCode.UNAVAILABLE or not method.mutates or is_outcome(error):
        return False  # what changes nothing is repeated by gRPC itself, by the service config
    return any(name in request.DESCRIPTOR.fields_by_name for name in ("request_id", "client_message_id"))


def _with_time_left(details: Details, ends: float | None) -> Details:
    if ends is None:
        return details
    return _changed(details, details.metadata, max(0.0, ends - asyncio.get_running_loop().time()))


def _changed(details: Details, metadata: grpc.aio.Metadata | None, timeout: float | None) -> Details:
    return Details(details.method, timeout, metadata, details.credentials, details.wait_for_ready)


def _too_late(ends: float | None, wait: float) -> bool:
    return ends is not None and asyncio.get_running_loop().time() + wait >= ends
