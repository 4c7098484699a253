"""Three server processes are replaced one after another while people call them: whose call notices?"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import grpc
from rich.progress import Progress

from server.caller import Role
from server.db.migrate import migrate
from server.embedded import demo
from server.embedded.chroma import EmbeddedChroma
from server.embedded.issuer import Claims
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.valkey import EmbeddedValkey
from tests.suites.asking import OUTLETS
from tests.suites.questions import Talk
from tests.support.app import configuration, fill
from tests.support.reading import check_stream
from tests.support.replicas import Replicas, replicas
from tests.support.stores import eventually
from tria.chat.v1 import chat_service_pb2
from tria.order.v1 import order_service_pb2
from tria_client.client import TriaClient
from tria_client.errors import TriaError

PEOPLE = 30
PAUSE = 0.6  # seconds between the calls of one of them


@dataclass
class Calls:
    """What people were told."""

    ended: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    points: list[tuple[float, float]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def failed(self) -> int:
        return self.ended.total() - self.ended["fine"]

    def note(self, how: str, began: float) -> None:
        took = time.monotonic() - began
        self.ended[how] += 1
        self.slowest = max(self.slowest, took)
        self.points.append((round(time.monotonic() - self.began, 2), round(took, 4)))


@asynccontextmanager
async def three_replicas(folder: Path) -> AsyncIterator[Replicas]:
    """Three processes over stores of their own, with the demo data."""
    stores = (
        EmbeddedPostgres(folder / "postgres"),
        EmbeddedValkey(folder / "valkey"),
        EmbeddedChroma(folder / "chroma"),
    )
    async with AsyncExitStack() as stack:
        urls = []
        for store in stores:
            urls.append(await store.start())
            stack.push_async_callback(store.stop)
        await migrate(urls[0])
        variables = dict(zip(("TRIA_DATABASE_URL", "TRIA_REDIS_URL", "TRIA_CHROMA_URL"), urls, strict=True))
        own = folder / "replicas"
        own.mkdir()
        settings = {"TRIA_POOL_MAX": "10", "TRIA_DRAIN": "8"}
        over = await stack.enter_async_context(replicas(own, variables, settings, gateways=False))
        await fill(configuration(own, over.issuer, variables))
        yield over


async def deploys(over: Replicas, count: int, told: Progress) -> Calls:
    """Replaces every process `count` times while people call."""
    calls, stop = Calls(), asyncio.Event()
    task = told.add_task("rolling deploys", total=count * len(over.all))
    people = [asyncio.create_task(_person(over, number, calls, stop)) for number in range(PEOPLE)]
    try:
        await eventually(lambda: _reached(calls, 2 * PEOPLE), within=120)
        for _ in range(count):
            for replica in over.all:
                await replica.stop()
                await replica.start()
                await eventually(replica.serves, within=120)
                told.advance(task)
        wanted = calls.ended.total() + 2 * PEOPLE
        await eventually(lambda: _reached(calls, wanted), within=120)
    finally:
        stop.set()
        await asyncio.gather(*people)
    return calls


async def _reached(calls: Calls, wanted: int) -> bool:
    return calls.ended.total() >= wanted


async def _person(over: Replicas, number: int, calls: Calls, stop: asyncio.Event) -> None:
    """Reads, asks for whole answers, follows streams; as the client of TRIA does, which knows all three addresses."""
    claims = Claims(Role.CUSTOMER, demo.TENANT, f"caller-{number}", OUTLETS[number % len(OUTLETS)], timedelta(hours=4))
    first = number % len(over.all)  # a client stays with the first address that answers
    turned = [*over.all[first:], *over.all[:first]]
    target = "ipv4:" + ",".join(f"127.0.0.1:{replica.port}" for replica in turned)
    talk, dice = Talk(number), random.Random(number)
    async with TriaClient(target, token=over.issuer.mint(claims), tls=False) as client:
        while not stop.is_set():
            began = time.monotonic()
            try:
                await _one(client, dice.randrange(5), talk)
            except TriaError as error:
                calls.note(f"{error.code.name}:{error.reason}", began)
            except (grpc.aio.AioRpcError, AssertionError) as error:
                calls.note(f"{type(error).__name__}: {str(error)[:200]}", began)
            else:
                calls.note("fine", began)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), PAUSE)


async def _one(client: TriaClient, kind: int, talk: Talk) -> None:
    """One call; AssertionError when a stream has a gap or no proper end."""
    if kind < 2:
        await client.orders.ListProducts(order_service_pb2.ListProductsRequest(page_size=10))
    elif kind == 2:
        await client.conversations.ListConversations(chat_service_pb2.ListConversationsRequest())
    elif kind == 3:
        await client.chat(talk.next().text)
    else:
        events = [event async for event in client.stream_chat(talk.next().text)]
        check_stream(events)
        assert events[-1].HasField("completed"), events[-1].WhichOneof("event")
