"""The gateway over time: it follows the server's health, drains without cutting streams, limits each person alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from server.embedded.child import StartFailed
from server.embedded.envoy import EmbeddedEnvoy, config_file
from server.embedded.issuer import Issuer
from server.embedded.loopback import free_ports
from server.rollout.draining import drain
from tests.edge.conftest import Edge
from tests.edge.test_requests import error
from tests.edge.test_streams import frames
from tests.support.edge import Tokens, edge_settings, process_exists, start_upstream, until


@pytest_asyncio.fixture
async def own_edge(issuer: Issuer, tmp_path: Path) -> AsyncIterator[Edge]:
    """A gateway of the test's own, to be stopped, killed and starved; three calls a minute for each person."""
    template = tmp_path / "envoy.yaml"
    text = config_file().read_text()
    limited = text.replace(
        "max_tokens: 1000, tokens_per_fill: 300, fill_interval: 1s", "max_tokens: 3, fill_interval: 60s"
    )
    assert limited != text
    template.write_text(limited)
    upstream, server = await start_upstream(free_ports(1)[0])
    settings = edge_settings(tmp_path, issuer, upstream.port)
    envoy = EmbeddedEnvoy(tmp_path / "envoy", settings, template=template, grace=10)
    await envoy.start()
    edge = Edge(envoy, settings, upstream)
    try:
        await until(lambda: health(edge, 200))
        yield edge
    finally:
        await envoy.stop()
        await server.stop(0)


async def health(edge: Edge, status: int) -> bool:
    """Whether /health answers `status` on a connection of its own."""
    async with httpx.AsyncClient(base_url=edge.url) as client:
        try:
            return (await client.get("/health")).status_code == status
        except httpx.TransportError:
            return status == 0


async def test_health_follows_the_server(own_edge: Edge, tokens: Tokens) -> None:
    await own_edge.upstream.set_serving(False)
    await until(lambda: health(own_edge, 503), seconds=10)
    async with httpx.AsyncClient(base_url=own_edge.url) as client:
        body = error(await client.get("/health"), 503, 14, "SERVER_BUSY")
    assert body["message"] == "the service is not available, try again", "nothing of the inside"

    await own_edge.upstream.set_serving(True)
    await until(lambda: health(own_edge, 200), seconds=10)
    headers = {"authorization": f"Bearer {tokens.good()}"}
    async with httpx.AsyncClient(base_url=own_edge.url, headers=headers) as client:
        answer = await client.get("/v1/conversations/c1")
    assert answer.status_code == 200, "who waits for /health may call at once"


async def test_draining_server_keeps_its_streams(own_edge: Edge, tokens: Tokens) -> None:
    headers = {"authorization": f"Bearer {tokens.good()}"}
    async with (
        httpx.AsyncClient(base_url=own_edge.url, headers=headers, timeout=30) as client,
        client.stream("POST", "/v1/conversations/c1:send", json={"text": "paced"}) as response,
    ):
        arriving = frames(response)
        await anext(arriving)
        await own_edge.upstream.set_serving(False)
        await until(lambda: health(own_edge, 503), seconds=10)
        seen = await _rest(own_edge, arriving)
    assert "completed" in json.loads(seen[-1].removeprefix("data: "))


async def test_stop_lets_a_stream_finish_and_takes_no_new_connections(own_edge: Edge, tokens: Tokens) -> None:
    pid = own_edge.envoy.pid
    assert pid is not None
    headers = {"authorization": f"Bearer {tokens.good()}"}
    async with (
        httpx.AsyncClient(base_url=own_edge.url, headers=headers, timeout=30) as client,
        client.stream("POST", "/v1/conversations/c1:send", json={"text": "paced"}) as response,
    ):
        arriving = frames(response)
        await anext(arriving)
        stopping = asyncio.create_task(own_edge.envoy.stop())
        await until(lambda: health(own_edge, 0), seconds=10)  # the listener is closed, the stream is not
        assert process_exists(pid)
        seen = await _rest(own_edge, arriving)
    await stopping
    assert "completed" in json.loads(seen[-1].removeprefix("data: "))
    assert not process_exists(pid)


async def test_drain_command_lets_a_stream_finish(own_edge: Edge, tokens: Tokens) -> None:
    """As the pod of a gateway runs it before Envoy is told to end."""
    headers = {"authorization": f"Bearer {tokens.good()}"}
    async with (
        httpx.AsyncClient(base_url=own_edge.url, headers=headers, timeout=30) as client,
        client.stream("POST", "/v1/conversations/c1:send", json={"text": "paced"}) as response,
    ):
        arriving = frames(response)
        await anext(arriving)
        draining = asyncio.create_task(drain(f"http://127.0.0.1:{own_edge.settings.admin_port}", 30))
        await until(lambda: health(own_edge, 0), seconds=10)
        assert not draining.done()
        seen = await _rest(own_edge, arriving)
    assert await draining == 0
    assert "completed" in json.loads(seen[-1].removeprefix("data: "))


async def test_killed_gateway_comes_back_on_its_ports(own_edge: Edge) -> None:
    pid = own_edge.envoy.pid
    assert pid is not None
    process = await asyncio.create_subprocess_exec("kill", "-9", str(pid))
    await process.wait()
    assert await own_edge.envoy.wait_exit() == -9
    await own_edge.envoy.start()
    await until(lambda: health(own_edge, 200), seconds=10)


async def test_rate_limit_is_of_each_person_alone(own_edge: Edge, tokens: Tokens) -> None:
    async def statuses(subject: str, count: int) -> list[int]:
        headers = {"authorization": f"Bearer {tokens.good(subject)}"}
        async with httpx.AsyncClient(base_url=own_edge.url, headers=headers) as client:
            return [(await client.get("/v1/conversations/c1")).status_code for _ in range(count)]

    assert await statuses("ann", 5) == [200, 200, 200, 429, 429]
    assert await statuses("bob", 3) == [200, 200, 200]
    async with httpx.AsyncClient(base_url=own_edge.url, headers={"x-api-key": "key"}) as service:
        assert (await service.get("/v1/conversations/c1")).status_code == 200

    headers = {"authorization": f"Bearer {tokens.good('ann')}", "x-tria-subject": "bob", "x-tria-tenant": "other"}
    async with httpx.AsyncClient(base_url=own_edge.url, headers=headers) as client:
        refused = await client.get("/v1/conversations/c1")
    error(refused, 429, 8, "RATE_LIMITED")
    assert int(refused.headers["retry-after"]) > 0


async def _rest(edge: Edge, arriving: AsyncIterator[str]) -> list[str]:
    seen = []
    edge.upstream.go_on.set()
    async for frame in arriving:
        seen.append(frame)
        edge.upstream.go_on.set()
    return seen


async def test_two_gateways_never_share_a_port(own_edge: Edge, issuer: Issuer, tmp_path: Path) -> None:
    """Envoy listens with SO_REUSEPORT by default: the kernel would deal callers out to both, each with its own keys."""
    folder = tmp_path / "second"
    folder.mkdir()
    settings = replace(edge_settings(folder, issuer, own_edge.upstream.port), http_port=own_edge.settings.http_port)
    second = EmbeddedEnvoy(folder / "envoy", settings, grace=0)
    with pytest.raises(StartFailed):
        await second.start()
    assert await health(own_edge, 200)
