"""One scripted server for all tests of the Python client; the script is new for each."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from tests.support.scripted import Script, scripted_server
from tria_client.backoff import Backoff
from tria_client.client import TriaClient

QUICK = Backoff(first=0.001, most=0.002, attempts=4)


@pytest.fixture(scope="package")
def shared_script() -> Script:
    return Script()


@pytest_asyncio.fixture(scope="package")
async def target(shared_script: Script) -> AsyncGenerator[str, None]:
    async with scripted_server(shared_script) as address:
        yield address


@pytest_asyncio.fixture(scope="package")
async def shared_client(target: str) -> AsyncGenerator[TriaClient, None]:
    async with TriaClient(target, token="t0", tls=False, backoff=QUICK, silence=5.0) as client:
        yield client


@pytest.fixture
def script(shared_script: Script) -> Script:
    shared_script.reset()
    return shared_script


@pytest.fixture
def client(shared_client: TriaClient, script: Script) -> TriaClient:
    return shared_client
