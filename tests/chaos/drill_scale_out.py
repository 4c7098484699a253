"""Three servers, two workers, a Valkey Cluster, PgBouncer, Chroma and Envoy: any one is killed while orders and chats
run, and what was acknowledged is there. `make scale-out` runs it; `make test` does not.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import cast

import asyncpg
import grpc
import orjson
import pytest
import pytest_asyncio
import redis.asyncio

from server.db.pool import Database, PoolSettings
from tests.chaos.test_audit_kills import KEY, Load, _check_file, _compare, _orders, settled
from tests.support.audit_log import count, verified
from tests.support.killable import Killable
from tests.support.reading import TERMINALS, check_stream, kinds
from tests.support.scale_out import ScaleOut, scale_out
from tests.support.stores import eventually
from tria.chat.v1 import chat_event_pb2, chat_service_pb2
from tria_client.client import TriaClient
from tria_client.errors import TriaError

pytestmark = pytest.mark.timeout(1200)
TALKERS = 4
QUESTION = "When do you deliver, and what does it cost on Sentosa?"


@pytest_asyncio.fixture(scope="module")
async def system(stores_root: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScaleOut]:
    place = stores_root / "scale-out"
    place.mkdir(mode=0o711)
    folder: Path = tmp_path_factory.mktemp("scale-out")
    async with scale_out(place, folder, {"TRIA_POOL_MAX": "8"}) as running:
        yield running


def check_followed(events: list[chat_event_pb2.ChatEvent]) -> None:
    """No event is missing, told twice or out of order, and one terminal is last. Only a snapshot may stand for events
    that nobody holds any more: when the log's node and the owner's memory are gone, or out of reach, at once."""
    if not any(event.HasField("snapshot") for event in events):
        check_stream(events)
        return
    logged = [event for event in events if event.seq]
    for before, event in pairwise(logged):
        assert event.seq == before.seq + 1 or (event.HasField("snapshot") and event.seq > before.seq), told(events)
    assert [kind in TERMINALS for kind in kinds(logged)] == [False] * (len(logged) - 1) + [True], told(events)


def told(events: list[chat_event_pb2.ChatEvent]) -> str:
    return ", ".join(f"{event.epoch}/{event.seq} {event.WhichOneof('event')}" for event in events)


@dataclass
class Talk:
    """Customers that ask on and on through the gateway, with the client of TRIA, and what they were told."""

    system: ScaleOut
    answers: dict[tuple[int, str], list[str]] = field(default_factory=dict)  # talker, conversation: completed texts
    ends: Counter[str] = field(default_factory=Counter)
    snapshots: int = 0  # answers of which a part came as one piece
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        await asyncio.gather(*(self._customer(number) for number in range(TALKERS)))

    async def _customer(self, number: int) -> None:
        token = self.system.over.token(f"talker-{number}")
        async with TriaClient(f"127.0.0.1:{self.system.port}", token=token, tls=False) as client:
            while not self.stop.is_set():
                try:
                    await self._one(client, number)
                except (TriaError, grpc.aio.AioRpcError) as refused:
                    self.ends[f"refused: {type(refused).__name__}"] += 1
                    await asyncio.sleep(0.5)

    async def _one(self, client: TriaClient, number: int) -> None:
        made = await client.conversations.CreateConversation(chat_service_pb2.CreateConversationRequest())
        events = [event async for event in client.send(made.name, QUESTION)]
        self.snapshots += any(event.HasField("snapshot") for event in events)
        check_followed(events)
        end = kinds(events)[-1]
        self.ends[end] += 1
        if end == "completed":
            self.answers.setdefault((number, made.name), []).append(events[-1].completed.text)

    async def stored(self) -> int:
        """Every answer that a customer saw completed is in the conversation; how many there are."""
        left = dict(self.answers)
        for number in range(TALKERS):
            token = self.system.over.token(f"talker-{number}")
            async with TriaClient(f"127.0.0.1:{self.system.port}", token=token, tls=False) as client:
                for talker, name in [key for key in left if key[0] == number]:
                    listed = await _listed(client, name)
                    assert set(left.pop((talker, name))) <= listed, name
        assert not left
        return sum(map(len, self.answers.values()))


async def _listed(client: TriaClient, name: str) -> set[str]:
    """What is said in a conversation, as soon as the caller's limit lets it be read."""
    while True:
        try:
            listed = await client.conversations.ListMessages(chat_service_pb2.ListMessagesRequest(parent=name))
        except TriaError as refused:
            if refused.code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            await asyncio.sleep(1.0)
        else:
            return {message.text for message in listed.messages}


async def test_the_system_is_what_it_says(system: ScaleOut) -> None:
    """Calls reach all three servers, and runs lie on all nodes of the cluster."""
    talk = Talk(system)
    talking = asyncio.create_task(talk.run())
    await eventually(lambda: _ended(talk, 12), within=120)
    talk.stop.set()
    await talking
    assert talk.ends["completed"] >= 12
    logs = [server.folder / "server.log" for server in system.over.all]
    assert all(b"serving" in log.read_bytes() for log in logs)
    direct = await asyncpg.connect(system.dsn)
    owners = await direct.fetchval("select count(distinct owner) from run")
    await direct.close()
    assert owners == 3, "runs are owned by three processes"
    assert await _nodes_with_runs(system) == 3


async def _ended(talk: Talk, least: int) -> bool:
    return talk.ends.total() >= least


async def _nodes_with_runs(system: ScaleOut) -> int:
    used = 0
    for port in system.cluster.nodes:
        async with redis.asyncio.Redis(port=port, password=system.cluster.password) as node:
            used += bool([key async for key in node.scan_iter(match="run:*")])
    return used


async def test_nothing_acknowledged_is_lost_whoever_is_killed(system: ScaleOut) -> None:
    load, talk = Load(cast("Killable", system)), Talk(system)
    calling, talking = asyncio.create_task(load.run()), asyncio.create_task(talk.run())
    back: dict[str, float] = {}
    for victim in system.victims:
        await load.goes_on()
        await system.kill(victim)
        began = time.perf_counter()
        await asyncio.sleep(1.0)  # the others do without it for a while
        await system.revive(victim)
        await load.goes_on()
        back[victim] = round(time.perf_counter() - began, 1)
    talk.stop.set()
    calling.cancel()
    await asyncio.wait({calling, talking})
    talking.result()
    async with Database(system.dsn, PoolSettings(min_size=1, max_size=3)) as database:
        await settled(cast("Killable", system), database)
        logs = await verified(database, [KEY.public], sample=20)
        orders = await _orders(database)
        assert await count(database, "audit_quarantine") == 0
    _compare(load, {"": [orjson.loads(leaf) for log in logs.values() for leaf in log if b"lumen" in leaf]}, orders)
    _check_file(system.folder / "checkpoints.jsonl", logs)
    answers = await talk.stored()
    assert answers == talk.ends["completed"] > 0
    print(  # noqa: T201  # the figures of the drill
        f"\nkilled one after the other, s until 30 more calls were answered: {back};"
        f" {len(load.created)} orders acknowledged, all there; {dict(load.codes)};"
        f" {answers} answers completed, all stored, {talk.snapshots} with a snapshot; {dict(talk.ends)};"
        f" {sum(map(len, logs.values()))} audit records proven",
        end=" ",
    )
