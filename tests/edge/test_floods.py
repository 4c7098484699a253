"""Calls that never come to their end: whoever opens them, a caller with a token finds its place."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio

from server.embedded.envoy import EmbeddedEnvoy, config_file
from server.embedded.issuer import Issuer
from server.embedded.loopback import free_ports
from tests.edge.conftest import Edge
from tests.edge.test_requests import error
from tests.support.edge import Tokens, edge_settings, start_upstream, until

PLACES = 40  # of the pool of verified tokens, instead of thousands, so that a small flood would fill it
STREAMS = 300
PER_CONNECTION = 90  # below the gateway's max_concurrent_streams, which would hold the rest back


@pytest_asyncio.fixture(scope="module")
async def small_edge(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    """A gateway with few places upstream and short patience with bodies."""
    directory: Path = tmp_path_factory.mktemp("floods")
    text = config_file().read_text()
    small = text.replace("max_requests: 10000", f"max_requests: {PLACES}")
    small = small.replace("timeout: 20s, idle_timeout: 20s", "timeout: 20s, idle_timeout: 2s")
    assert small.count("idle_timeout: 2s,") == 2
    assert f"max_requests: {PLACES}" in small
    template = directory / "envoy.yaml"
    template.write_text(small)
    upstream, server = await start_upstream(free_ports(1)[0])
    settings = edge_settings(directory, issuer, upstream.port)
    envoy = EmbeddedEnvoy(directory / "envoy", settings, template=template, grace=1)
    await envoy.start()
    try:
        edge = Edge(envoy, settings, upstream)
        async with httpx.AsyncClient(base_url=edge.url) as client:
            await until(lambda: _serves(client))
        yield edge
    finally:
        await envoy.stop()
        await server.stop(0)


@pytest.mark.parametrize("key", [None, "made-up"])
@pytest.mark.parametrize(
    "method",
    [
        "/tria.knowledge.v1.KnowledgeService/ImportDocument",
        "/tria.order.v1.OrderService/ImportProducts",
        "/tria.chat.v1.ChatService/SendMessage",
        "/tria.chat.v1.ChatService/StreamRunSse",
        "/tria.chat.v1.ChatService/GetConversation",
        "/tria.ops.v1.OpsService/CheckHealth",
        "/tria.accounting.v1.AccountingService/ReceiveXeroWebhook",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
    ],
)
async def test_idle_streams_cannot_hurt_a_caller_with_a_token(
    small_edge: Edge, tokens: Tokens, method: str, key: str | None
) -> None:
    async with idle_streams(small_edge, method, [("x-api-key", key)] if key else []):
        headers = {"authorization": f"Bearer {tokens.good('canary')}"}
        async with httpx.AsyncClient(base_url=small_edge.url, headers=headers, timeout=20) as canary:
            answers = await asyncio.gather(*(canary.get("/v1/conversations/c1") for _ in range(20)))
        assert Counter(answer.status_code for answer in answers) == {200: 20}


async def test_incomplete_call_holds_no_place_upstream(small_edge: Edge, tokens: Tokens) -> None:
    """Not even with a token: the gateway waits for the whole message of a unary call or a server stream."""
    mine = [("authorization", f"Bearer {tokens.good('idle')}")]
    async with idle_streams(small_edge, "/tria.knowledge.v1.KnowledgeService/ImportDocument", mine):
        assert await small_edge.stat("http.edge.downstream_rq_active") > PLACES
        assert await small_edge.stat("cluster.server.upstream_rq_active") == 0


async def test_body_that_never_comes_is_cut(small_edge: Edge) -> None:
    async with grpc.aio.insecure_channel(small_edge.target) as channel:
        open_call: Any = channel.stream_stream("/tria.chat.v1.ChatService/GetConversation")
        call = open_call(metadata=[("x-api-key", "key")], timeout=15)
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "time" in (await call.details() or "")

    reader, writer = await asyncio.open_connection("127.0.0.1", small_edge.settings.http_port)
    try:
        path = b"/webhooks/xero"
        writer.write(b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        answer = await asyncio.wait_for(reader.read(), 15)
    finally:
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert b"DEADLINE_EXCEEDED" in answer


async def test_health_has_a_limit_of_its_own(small_edge: Edge, tokens: Tokens) -> None:
    async with httpx.AsyncClient(base_url=small_edge.url, timeout=20) as client:

        async def refused() -> httpx.Response | None:
            answers = await asyncio.gather(*(client.get("/health") for _ in range(40)))
            return next((answer for answer in answers if answer.status_code == 429), None)

        found = [answer async for answer in _rounds(refused) if answer is not None]
        error(found[0], 429, 8, "RATE_LIMITED")
        headers = {"authorization": f"Bearer {tokens.good('canary')}"}
        assert (await client.get("/v1/conversations/c1", headers=headers)).status_code == 200


@asynccontextmanager
async def idle_streams(edge: Edge, method: str, metadata: list[tuple[str, str]]) -> AsyncIterator[None]:
    """`STREAMS` calls of which only the headers are sent; entered once each is answered or waits at the gateway."""
    begun = await edge.stat("http.edge.downstream_rq_http2_total")
    async with AsyncExitStack() as stack:
        calls: list[Any] = []
        while len(calls) < STREAMS:
            options = [("grpc.use_local_subchannel_pool", 1)]  # else all channels share one connection
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(edge.target, options=options))
            open_call: Any = channel.stream_stream(method)
            calls += [open_call(metadata=metadata) for _ in range(min(PER_CONNECTION, STREAMS - len(calls)))]
        stack.callback(lambda: [call.cancel() for call in calls])

        async def all_arrived() -> bool:
            return await edge.stat("http.edge.downstream_rq_http2_total") - begun >= STREAMS

        await until(all_arrived)
        yield
    await until(lambda: _nothing_active(edge))


async def _nothing_active(edge: Edge) -> bool:
    return await edge.stat("http.edge.downstream_rq_active") == 0


async def _rounds(attempt: Any) -> AsyncIterator[httpx.Response | None]:
    for _ in range(5):
        yield await attempt()


async def _serves(client: httpx.AsyncClient) -> bool:
    return (await client.get("/health")).is_success
