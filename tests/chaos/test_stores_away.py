"""Each store is killed and comes back: health tells, calls fail clearly or go on with less, and all recovers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from server.db.migrate import migrate
from server.embedded.chroma import EmbeddedChroma
from server.embedded.issuer import Issuer
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.valkey import EmbeddedValkey
from tests.support.app import Desk, configuration, fill, running_desk
from tests.support.reading import check_stream, reason
from tests.support.stores import eventually
from tria.chat.v1 import chat_event_pb2, chat_pb2
from tria.chat.v1 import chat_service_pb2 as chat
from tria.ops.v1 import ops_pb2, ops_service_pb2, ops_service_pb2_grpc

QUESTION = "When do you deliver, and what does it cost on Sentosa?"
Store = EmbeddedPostgres | EmbeddedValkey | EmbeddedChroma


@dataclass(frozen=True, slots=True)
class Own:
    """A server on stores of its own, which a test may kill."""

    desk: Desk
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    chroma: EmbeddedChroma

    async def health(self) -> ops_pb2.Health | None:
        """What the server says of itself; None when it says that it does not serve."""
        ops = ops_service_pb2_grpc.OpsServiceStub(self.desk.channel)
        try:
            found: ops_pb2.Health = await ops.CheckHealth(ops_service_pb2.CheckHealthRequest())
        except grpc.aio.AioRpcError as error:
            if (error.code(), reason(error)) != (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"):
                raise
            return None
        return found

    async def well(self) -> bool:
        health = await self.health()
        return health is not None and not health.degraded

    async def unwell(self) -> bool:
        return not await self.well()

    async def away(self) -> set[str]:
        health = await self.health()
        assert health is not None
        return {part.component for part in health.components if part.status == ops_pb2.Health.NOT_SERVING}


async def kill(store: Store) -> None:
    """As a crash would: no goodbye."""
    assert store.pid is not None
    os.kill(store.pid, signal.SIGKILL)
    await store.wait_exit()


@pytest_asyncio.fixture(scope="module")
async def own(stores_root: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Own]:
    place = stores_root / "away"
    place.mkdir(mode=0o711)
    postgres = EmbeddedPostgres(place / "postgres")
    valkey = EmbeddedValkey(place / "valkey")
    chroma = EmbeddedChroma(place / "chroma")
    dsn, redis_url, chroma_url = await postgres.start(), await valkey.start(), await chroma.start()
    await migrate(dsn)
    folder = tmp_path_factory.mktemp("away")
    issuer = Issuer(folder / "issuer")
    issuer.prepare()
    urls = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": chroma_url}
    await fill(configuration(folder, issuer, urls))
    try:
        async with running_desk(folder, dsn, redis_url, chroma_url) as desk:
            yield Own(desk, postgres, valkey, chroma)
    finally:
        for store in (chroma, valkey, postgres):
            await store.stop()


def warnings(events: list[chat_event_pb2.ChatEvent]) -> list[int]:
    return [event.warning.code for event in events if event.HasField("warning")]


async def test_without_redis_chat_goes_on(own: Own) -> None:
    await eventually(own.well)
    await kill(own.valkey)
    await eventually(own.unwell)
    assert await own.away() == {"redis"}
    events = await own.desk.say(QUESTION)
    check_stream(events)
    assert events[-1].completed.answer_kind == chat_pb2.ANSWERED
    await own.valkey.start()
    await eventually(own.well)


async def test_without_the_index_documents_are_searched_by_words_and_it_is_said(own: Own) -> None:
    await eventually(own.well)
    await kill(own.chroma)
    await eventually(own.unwell)
    assert await own.away() == {"knowledge_index"}
    events = await own.desk.say(QUESTION)
    check_stream(events)
    assert events[-1].completed.answer_kind == chat_pb2.ANSWERED
    assert warnings(events) == [chat_event_pb2.Warning.RETRIEVAL_DEGRADED]
    await own.chroma.start()
    await eventually(own.well)
    assert warnings(await own.desk.say(QUESTION)) == []


async def test_without_the_database_nothing_is_served_and_nothing_is_half_done(own: Own) -> None:
    await eventually(own.well)
    conversation = await own.desk.conversation()
    await kill(own.postgres)
    await eventually(own.unwell)
    assert await own.health() is None
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await own.desk.say(QUESTION, conversation)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason(caught.value) == "STORE_UNAVAILABLE"
    await own.postgres.start()
    await eventually(own.well)
    page = await own.desk.chat.ListMessages(chat.ListMessagesRequest(parent=conversation), metadata=own.desk.metadata())
    assert not page.messages
    events = await own.desk.say(QUESTION, conversation)
    check_stream(events)
    assert events[-1].completed.answer_kind == chat_pb2.ANSWERED


async def test_answers_given_while_the_database_restarts_are_stored_or_refused(own: Own) -> None:
    """Under a steady stream of questions, PostgreSQL is killed and started: every answer that was completed is there
    afterwards, every other call said what was wrong."""
    await eventually(own.well)
    conversations = [await own.desk.conversation() for _ in range(8)]
    completed: dict[str, str] = {}
    rounds = dict.fromkeys(conversations, 0)
    refused: set[grpc.StatusCode] = set()
    enough = asyncio.Event()

    async def ask(conversation: str) -> None:
        while not enough.is_set():
            try:
                events = await own.desk.say(QUESTION, conversation)
            except grpc.aio.AioRpcError as error:
                refused.add(error.code())
                await asyncio.sleep(0.05)
                continue
            check_stream(events)
            if events[-1].HasField("completed"):
                completed[events[-1].completed.message] = events[-1].completed.text
                rounds[conversation] += 1

    async def everybody_has(answers: int) -> bool:
        return min(rounds.values()) >= answers

    async def somebody_refused() -> bool:
        return bool(refused)

    asking = [asyncio.create_task(ask(conversation)) for conversation in conversations]
    await eventually(lambda: everybody_has(1))
    await kill(own.postgres)
    await eventually(somebody_refused)  # it can be back before anybody asks
    await own.postgres.start()
    before = max(rounds.values())
    await eventually(lambda: everybody_has(before + 1), within=60)
    enough.set()
    await asyncio.gather(*asking)
    assert refused == {grpc.StatusCode.UNAVAILABLE}
    await eventually(own.well)
    found: dict[str, str] = {}
    for conversation in conversations:
        page = await own.desk.chat.ListMessages(
            chat.ListMessagesRequest(parent=conversation, page_size=500),
            metadata=own.desk.metadata(subject=conversation),
        )
        found |= {message.name: message.text for message in page.messages}
    assert completed.items() <= found.items()
