"""A network that breaks the connection itself, at any byte of what the server sends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import pytest

from tests.support.scripted import Script
from tria_client.backoff import Backoff
from tria_client.client import TriaClient

PATIENT = Backoff(first=0.1, most=1.0, attempts=12)  # gRPC itself waits up to a second before it connects again


@asynccontextmanager
async def breaking_network(target: str, budgets: Iterable[int]) -> AsyncGenerator[str, None]:
    """A relay to `target` whose first connections break after so many bytes of the server's."""
    host, _, port = target.rpartition(":")
    left = deque(budgets)

    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        budget = left.popleft() if left else None
        both = {asyncio.create_task(pump(reader, up_writer)), asyncio.create_task(pump(up_reader, writer, budget))}
        tasks.update(both)
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()
        writer.transport.abort()
        up_writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: int | None = None) -> None:
    """Copies up to `budget` bytes, or up to the end."""
    while budget is None or budget > 0:
        try:
            data = await reader.read(4096 if budget is None else budget)
        except ConnectionError:
            return
        if not data:
            return
        writer.write(data)
        if budget is not None:
            budget -= len(data)


@pytest.mark.parametrize("budget", [0, 30, 120, 200, 250, 300, 350, 400, 450, 520])
async def test_a_run_survives_connections_that_break(target: str, script: Script, budget: int) -> None:
    script.reset(["a", "b", "c", "d"])
    async with (
        breaking_network(target, [budget, budget + 17]) as address,
        TriaClient(address, tls=False, backoff=PATIENT) as client,
    ):
        assert [event async for event in client.send("conversations/c1", "hello", timeout=60)] == script.log
    assert len(script.calls) > 1 or budget < 100, "the network did not break the stream"
