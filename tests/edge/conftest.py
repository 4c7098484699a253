"""One Envoy and one upstream for all edge tests that do not stop or change them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from server.embedded.envoy import EdgeSettings, EmbeddedEnvoy
from server.embedded.issuer import Issuer
from server.embedded.loopback import free_ports
from tests.support.edge import Tokens, Upstream, edge_settings, start_upstream, until


@dataclass(frozen=True, slots=True)
class Edge:
    """A running gateway."""

    envoy: EmbeddedEnvoy
    settings: EdgeSettings
    upstream: Upstream

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.http_port}"

    @property
    def tls_url(self) -> str:
        return f"https://localhost:{self.settings.https_port}"

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.settings.http_port}"

    async def stat(self, name: str) -> int:
        """A counter or gauge of Envoy by its full name, 0 when it is not there yet."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.settings.admin_port}") as admin:
            text = (await admin.get("/stats", params={"filter": f"^{re.escape(name)}$"})).text
        found = re.search(r": (\d+)$", text, re.MULTILINE)
        return int(found[1]) if found else 0


@pytest.fixture(scope="package")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("edge")


@pytest.fixture(scope="package")
def issuer(directory: Path) -> Issuer:
    issuer = Issuer(directory / "issuer")
    issuer.prepare()
    return issuer


@pytest.fixture(scope="package")
def tokens(issuer: Issuer, directory: Path) -> Tokens:
    return Tokens(issuer, directory)


@pytest_asyncio.fixture(scope="package")
async def shared_edge(issuer: Issuer, directory: Path) -> AsyncIterator[Edge]:
    upstream, server = await start_upstream(free_ports(1)[0])
    settings = edge_settings(directory, issuer, upstream.port)
    envoy = EmbeddedEnvoy(directory / "envoy", settings, grace=1)
    await envoy.start()
    try:
        edge = Edge(envoy, settings, upstream)
        async with httpx.AsyncClient(base_url=edge.url) as client:
            await until(lambda: _serves(client))
        yield edge
    finally:
        await envoy.stop()
        await server.stop(0)


@pytest.fixture
def edge(shared_edge: Edge) -> Edge:
    """The shared gateway, with what the upstream remembers wiped."""
    shared_edge.upstream.calls.clear()
    shared_edge.upstream.go_on.clear()
    shared_edge.upstream.cancelled.clear()
    return shared_edge


@pytest_asyncio.fixture
async def http(edge: Edge, tokens: Tokens) -> AsyncIterator[httpx.AsyncClient]:
    """A client that is signed in."""
    headers = {"authorization": f"Bearer {tokens.good()}"}
    async with httpx.AsyncClient(base_url=edge.url, headers=headers, timeout=20) as client:
        yield client


@pytest_asyncio.fixture
async def anonymous(edge: Edge) -> AsyncIterator[httpx.AsyncClient]:
    """A client without credentials."""
    async with httpx.AsyncClient(base_url=edge.url, timeout=20) as client:
        yield client


async def _serves(client: httpx.AsyncClient) -> bool:
    return (await client.get("/health")).is_success
