"""Three replicas while they are replaced, killed, and lose their stores: nobody's answer is lost or told twice.

CHAOS_STREAMS says how many live streams there are (`CHAOS_STREAMS=200` for a full round).
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from llmock.pytest_plugin import LLMock

from server.db.migrate import migrate
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.valkey import EmbeddedValkey
from tests.chaos.test_stores_away import kill
from tests.support.app import configuration, fill
from tests.support.llmock import model_variables
from tests.support.reading import TERMINALS, check_stream, kinds, text_of
from tests.support.replicas import Replicas, replicas
from tests.support.stores import eventually
from tria.chat.v1 import chat_event_pb2, chat_service_pb2
from tria_client.client import TriaClient

STREAMS = int(os.environ.get("CHAOS_STREAMS", "16"))
QUESTION = "When do you deliver, and what does it cost on Sentosa?"
ANSWER = "word " * 60
LEASE = 9.0

pytestmark = pytest.mark.timeout(600)


@dataclass
class Stores:
    """Stores that a test may kill."""

    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    over: Replicas
    llmock: LLMock


@pytest_asyncio.fixture
async def stores(stores_root: Path, tmp_path: Path, llmock: LLMock, chroma_url: str) -> AsyncIterator[Stores]:
    place = stores_root / tmp_path.name
    place.mkdir(mode=0o711)
    postgres, valkey = EmbeddedPostgres(place / "postgres"), EmbeddedValkey(place / "valkey")
    dsn = await postgres.start()
    await migrate(dsn)
    urls = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": await valkey.start(), "TRIA_CHROMA_URL": chroma_url}
    model = {
        **model_variables(llmock.base_url()),
        "TRIA_RUN_LEASE": str(LEASE),
        "TRIA_DRAIN": str(8 + STREAMS // 5),  # two cores carry so many answers at once, as a deployment would not
    }
    llmock.reply(ANSWER, times=None).pace(60)
    try:
        async with replicas(tmp_path, urls, model, gateways=False) as over:
            await fill(configuration(tmp_path, over.issuer, urls))
            yield Stores(postgres, valkey, over, llmock)
    finally:
        await valkey.stop()
        await postgres.stop()


@dataclass
class Reader:
    """Follows one run to its end, wherever it can, as the clients of TRIA do."""

    over: Replicas
    number: int
    events: list[chat_event_pb2.ChatEvent] = field(default_factory=list)
    reconnects: int = 0

    @property
    def ended(self) -> bool:
        return bool(self.events) and self.events[-1].WhichOneof("event") in TERMINALS

    async def follow(self) -> None:
        token = self.over.token(f"reader-{self.number}")
        who, dice = (("authorization", f"Bearer {token}"),), random.Random(self.number)  # not a secret
        stub = self.over.stub(self.over.all[self.number % len(self.over.all)])
        made = await stub.CreateConversation(chat_service_pb2.CreateConversationRequest(), metadata=who)
        request = chat_service_pb2.SendMessageRequest(
            conversation=made.name, text=QUESTION, client_message_id=f"m-{self.number}"
        )
        while not self.ended:
            try:
                if self.events:
                    replica = dice.choice(self.over.all)
                    await self._read(self.over.by_grpc(replica, self.events[0].run, self.events[-1].seq, token))
                else:
                    await self._read(self.over.stub(dice.choice(self.over.all)).SendMessage(request, metadata=who))
            except grpc.aio.AioRpcError as lost:
                assert lost.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL}, lost  # noqa: PT017
                await asyncio.sleep(0.2)
            self.reconnects += 1
        check_stream(self.events)

    async def _read(self, events: AsyncIterable[chat_event_pb2.ChatEvent]) -> None:
        async for event in events:
            if event.HasField("reconnect"):
                await asyncio.sleep(event.reconnect.delay.ToMilliseconds() / 1000)
                return
            if event.seq:
                expected = self.events[-1].seq + 1 if self.events else 1
                assert event.seq == expected or event.HasField("snapshot"), f"{event.seq} instead of {expected}"
                self.events.append(event)


async def under_way(readers: list[Reader], share: float = 0.5) -> bool:
    return sum(bool(text_of(reader.events)) for reader in readers) >= share * len(readers)


def begin(stores: Stores, count: int = STREAMS) -> tuple[list[Reader], list[asyncio.Task[None]]]:
    readers = [Reader(stores.over, number) for number in range(count)]
    return readers, [asyncio.create_task(reader.follow()) for reader in readers]


def ends(readers: list[Reader]) -> Counter[str]:
    """How the runs ended; with its reason for one that failed."""
    lasts = [reader.events[-1] for reader in readers]
    return Counter(end.failed.info.reason or str(end.WhichOneof("event")) for end in lasts)


async def by_the_python_client(over: Replicas) -> None:
    """Messages one after the other, as the client of TRIA sends them: whoever uses it notices nothing."""
    target = "ipv4:" + ",".join(f"127.0.0.1:{replica.port}" for replica in over.all)
    async with TriaClient(target, token=over.token("client"), tls=False) as client:
        conversation = await client.conversations.CreateConversation(chat_service_pb2.CreateConversationRequest())
        for _ in range(3):
            events = [event async for event in client.send(conversation.name, QUESTION)]
            check_stream(events)
            assert kinds(events)[-1] == "completed"


async def test_a_rolling_restart_loses_no_event(stores: Stores) -> None:
    readers, tasks = begin(stores)
    tasks.append(asyncio.create_task(by_the_python_client(stores.over)))
    await eventually(lambda: under_way(readers, 0.3), within=90)
    for replica in stores.over.all:
        await replica.stop()
        await replica.start()
        await eventually(replica.serves, within=90)
    await asyncio.wait_for(asyncio.gather(*tasks), 180)
    print(f"{STREAMS} streams, {sum(reader.reconnects for reader in readers)} connections: {ends(readers)}")  # noqa: T201
    assert ends(readers) == {"completed": STREAMS}
    assert all(text_of(reader.events) == ANSWER.strip() or text_of(reader.events) == ANSWER for reader in readers)


async def test_the_runs_of_a_killed_replica_end_once_and_are_not_made_twice(stores: Stores) -> None:
    stores.llmock.slow_first_token(3.0, times=STREAMS // 2)
    readers, tasks = begin(stores)
    await eventually(lambda: under_way(readers, 0.2), within=90)
    victim = stores.over.all[0]
    await victim.kill()
    await asyncio.sleep(1)
    await victim.start()
    await asyncio.wait_for(asyncio.gather(*tasks), 240)
    found = ends(readers)
    print(f"{STREAMS} streams: {found}, epochs {Counter(reader.events[-1].epoch for reader in readers)}")  # noqa: T201
    assert set(found) <= {"completed", "interrupted"}
    for reader in readers:
        end = reader.events[-1]
        if end.HasField("interrupted"):
            assert end.interrupted.retryable
            assert text_of(reader.events), "what had said nothing was to be answered by another"
        elif end.epoch > 1:
            first = next(event for event in reader.events if event.HasField("text_delta"))
            assert first.epoch == end.epoch, "no answer is told in two halves by two owners"


async def test_redis_killed_and_back(stores: Stores) -> None:
    readers, tasks = begin(stores, 6)
    await eventually(lambda: under_way(readers), within=60)
    await kill(stores.valkey)
    await asyncio.sleep(1.5)
    await stores.valkey.start()
    await asyncio.wait_for(asyncio.gather(*tasks), 120)
    assert ends(readers) == {"completed": 6}
    warned = [kinds(reader.events).count("warning") for reader in readers]
    assert max(warned) <= 1
    again = Reader(stores.over, 100)
    await asyncio.wait_for(again.follow(), 60)
    for replica in stores.over.all:
        token = stores.over.token("reader-100")
        seen = [event async for event in stores.over.by_grpc(replica, again.events[0].run, 0, token)]
        assert seen == again.events, "later runs are shared again"


async def test_postgres_killed_and_back(stores: Stores) -> None:
    readers, tasks = begin(stores, 6)
    await eventually(lambda: under_way(readers, 1.0), within=60)  # one that still had to look things up fails
    await kill(stores.postgres)
    await asyncio.sleep(1)
    await stores.postgres.start()
    await asyncio.wait_for(asyncio.gather(*tasks), 120)
    found = ends(readers)
    assert set(found) <= {"completed", "interrupted"}
    assert found["completed"], found  # all of them where PostgreSQL is back within two thirds of a lease
