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
from tests.support.reading import check_stream, kinds
from tests.support.replicas import Replicas, replicas
from tests.support.stores import eventually
from tria.chat.v1 import chat_service_pb2
from tria.order.v1 import order_service_pb2
from tria_client.client import TriaClient
from tria_client.errors import TriaError

PEOPLE = 30
STREAMS = {3, 4}  # of five kinds of call: more than a thousand streams in three deploys, or 99.9 % would mean none
PAUSE = 0.6  # seconds between the calls of one of them
ENOUGH = 2995  # calls: the fewest trials without a failure that show 99.9 % with 95 % confidence
MOST_DEPLOYS = 3  # times as many as were asked for, until there are enough calls


@dataclass
class Calls:
    """What people were told; `streams` are those of `ended` that were followed."""

    ended: Counter[str] = field(default_factory=Counter)
    streams: Counter[str] = field(default_factory=Counter)
    deploys: int = 0
    slowest: float = 0.0
    points: list[tuple[float, float]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def failed(self) -> int:
        return self.ended.total() - self.ended["fine"]

    def note(self, how: str, began: float, *, stream: bool) -> None:
        took = time.monotonic() - began
        self.ended[how] += 1
        self.streams[how] += stream
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


async def deploys(over: Replicas, count: int, told: Progress, enough: int = 0) -> Calls:
    """Replaces every process `count` times while people call, and more often until there were `enough` calls: only
    calls during deploys count."""
    calls, stop = Calls(), asyncio.Event()
    task = told.add_task("rolling deploys", total=count * len(over.all))
    people = [asyncio.create_task(_person(over, number, calls, stop)) for number in range(PEOPLE)]
    try:
        await eventually(lambda: _reached(calls, 2 * PEOPLE), within=120)
        while calls.deploys < count or (calls.ended.total() < enough and calls.deploys < MOST_DEPLOYS * count):
            for replica in over.all:
                await replica.stop()
                await replica.start()
                await eventually(replica.serves, within=120)
                told.advance(task)
            calls.deploys += 1
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
            began, kind = time.monotonic(), dice.randrange(5)
            try:
                await _one(client, kind, talk)
            except TriaError as error:
                how = f"{error.code.name}:{error.reason}"
            except (grpc.aio.AioRpcError, AssertionError) as error:
                how = f"{type(error).__name__}: {str(error)[:200]}"
            else:
                how = "fine"
            calls.note(how, began, stream=kind in STREAMS)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), PAUSE)


async def _one(client: TriaClient, kind: int, talk: Talk) -> None:
    """One call; AssertionError when a stream has a gap or no proper end."""
    if kind == 0:
        await client.orders.ListProducts(order_service_pb2.ListProductsRequest(page_size=10))
    elif kind == 1:
        await client.conversations.ListConversations(chat_service_pb2.ListConversationsRequest())
    elif kind == 2:
        await client.chat(talk.next().text)
    else:
        events = [event async for event in client.stream_chat(talk.next().text)]
        check_stream(events)
        assert events[-1].HasField("completed"), f"ended as {kinds(events)[-1]}"
