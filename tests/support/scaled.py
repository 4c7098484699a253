"""With `--scaled` the servers of the tests stand on a pooler and a cluster: PgBouncer gives each transaction another
connection, and Redis is three nodes. What tests look up by themselves goes to the stores directly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import redis

from tests.support.pooler import Pooler
from tests.support.valkey_cluster import ValkeyCluster, valkey_cluster


@dataclass(frozen=True, slots=True)
class Scaled:
    """The stores in front of the session's own."""

    pooler: Pooler
    cluster: ValkeyCluster
    server: str

    def variables(self, urls: Mapping[str, str]) -> dict[str, str]:
        """The same stores by their other addresses; those of another server stay as they are."""
        found = dict(urls)
        if _place(urls["TRIA_DATABASE_URL"]) == _place(self.server):
            found["TRIA_DATABASE_DIRECT_URL"] = urls["TRIA_DATABASE_URL"]
            found["TRIA_DATABASE_URL"] = self.pooler.dsn(urls["TRIA_DATABASE_URL"])
        if urls["TRIA_REDIS_URL"].startswith("unix:"):  # the session's, and not one that is meant to be away
            found |= {"TRIA_REDIS_URL": self.cluster.url, "TRIA_REDIS_CLUSTER": "true"}
        return found


_running: list[Scaled] = []


def scaled(urls: Mapping[str, str]) -> dict[str, str]:
    """The addresses that a server of a test is given."""
    return _running[0].variables(urls) if _running else dict(urls)


@pytest.fixture(autouse=True)
def nodes_emptied(request: pytest.FixtureRequest) -> None:
    """The cluster is emptied for whoever asked for an empty Redis."""
    if _running and "redis_url" in request.fixturenames:
        for port in _running[0].cluster.nodes:
            with redis.Redis(port=port, password=_running[0].cluster.password) as node:
                node.flushall()


def _place(dsn: str) -> str:
    return parse_qs(urlsplit(dsn).query).get("host", [""])[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--scaled", action="store_true", help="servers stand on PgBouncer and a Valkey Cluster")


@pytest.fixture(scope="session", autouse=True)
def stores_in_front(request: pytest.FixtureRequest) -> Iterator[None]:
    """Starts them when they are asked for."""
    if not request.config.getoption("--scaled"):
        yield
        return
    postgres: str = request.getfixturevalue("postgres")
    place: Path = request.getfixturevalue("stores_root") / "in-front"
    place.mkdir(mode=0o711)
    stack = AsyncExitStack()

    async def start() -> None:
        cluster = await stack.enter_async_context(valkey_cluster(place))
        pooler = Pooler(place / "pooler", postgres)
        await pooler.start()
        stack.push_async_callback(pooler.stop)
        _running.append(Scaled(pooler, cluster, postgres))

    with asyncio.Runner() as runner:
        runner.run(start())
        yield
        _running.clear()
        runner.run(stack.aclose())
