"""Runs of a process that stops: another goes on with those that have said nothing, whenever they came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from llmock.pytest_plugin import LLMock

from server.chat import leases
from server.chat.access import run_ids
from server.chat.leases import Leased
from server.chat.runs import RunState
from tests.support.app import Desk, running_desk
from tests.support.llmock import model_variables
from tests.support.reading import check_stream
from tests.support.run_processes import CALLER, Process, process, said
from tests.support.stores import eventually
from tria.chat.v1 import chat_pb2
from tria.chat.v1 import chat_service_pb2 as chat

NOWHERE = "redis://127.0.0.1:1"
LONG = 600.0  # seconds of a lease that nobody can mistake for one that ran out
ANSWER = "word " * 40


def lease_of(run: str) -> Leased:
    return Leased(CALLER.tenant, *run_ids(run), 1)


async def owner_of(one: Process, run: str) -> str:
    async with one.database.connection() as connection:
        return str(await connection.fetchval("select owner from run where id = $1", run_ids(run)[1]))


@asynccontextmanager
async def locked(dsn: str, sql: str, name: str) -> AsyncIterator[None]:
    """Somebody else holds the row for as long as this lasts."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            assert await connection.fetchval(sql, name.rsplit("/", maxsplit=1)[-1])
            yield
    finally:
        await connection.close()


async def test_who_gave_a_run_away_has_it_no_more(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with process(dsn, tmp_path, redis_url) as one:
        one.assistant.begin.clear()
        run = await one.send(await one.conversation(), "hello")
        await eventually(lambda: one.is_in(run, RunState.RUNNING))
        lease, owner = lease_of(run), one.chats.runner.owner
        async with one.database.connection() as connection:
            changing = connection.transaction()
            await changing.start()
            assert await leases.release(connection, owner, [lease]) == [lease]
            assert await leases.renew(connection, owner, LONG, [lease]) == []
            assert not await leases.tell(connection, lease, owner, 1)
            [taken] = await leases.take_over(connection, "two", LONG, 20, orphans=False)
            assert (taken.id, taken.epoch) == (lease.id, 2)
            await changing.rollback()
        one.assistant.begin.set()
        one.assistant.go.set()
        await one.chats.runner.finish(10.0)
        assert await one.is_in(run, RunState.COMPLETED)


async def test_a_run_is_not_taken_from_a_process_that_could_not_renew(dsn: str, redis_url: str, tmp_path: Path) -> None:
    """Its lease has run out, but whoever asks was away itself until now; what was given away may be had."""
    async with process(dsn, tmp_path, redis_url) as one:
        one.assistant.begin.clear()
        run = await one.send(await one.conversation(), "hello")
        async with one.database.connection() as connection:
            changing = connection.transaction()
            await changing.start()
            await connection.execute("update run set lease_until = now() - interval '1 second'")
            assert await leases.take_over(connection, "two", LONG, 20, orphans=False) == []
            assert [lease.name for lease in await leases.take_over(connection, "two", LONG, 20, orphans=True)] == [run]
            await changing.rollback()


async def test_what_was_said_lies_where_others_find_it_before_the_run_is_given_away(
    dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with process(dsn, tmp_path, redis_url) as one:
        one.assistant.begin.clear()
        run = await one.send(await one.conversation(), "hello")
        await eventually(lambda: one.is_in(run, RunState.RUNNING))
        seen = []

        async def shared() -> None:
            seen.append((await owner_of(one, run), await said(one, run, "Accepted")))

        one.chats.runner.draining = True
        await one.chats.runner.give_away(shared)
        assert seen == [(one.chats.runner.owner, True)]
        assert await owner_of(one, run) == ""


async def test_another_process_goes_on_at_once_and_nobody_sees_a_seam(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        one.assistant.begin.clear()
        two.assistant.go.set()
        run = await one.send(await one.conversation(), "hello")
        await eventually(lambda: one.is_in(run, RunState.RUNNING))
        following = asyncio.create_task(two.reads(run))
        await one.chats.drain(0.0)
        events = await following
        check_stream(events)
        assert events[-1].HasField("completed")
        assert two.assistant.finished == ["hello"]


async def test_a_run_that_comes_while_others_are_given_away_is_given_away_next(
    dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        one.assistant.begin.clear()
        two.assistant.go.set()
        first = await one.send(await one.conversation(), "first")
        other = await one.conversation()
        await eventually(lambda: one.is_in(first, RunState.RUNNING))
        async with locked(dsn, "select id from run where id = $1 for update", first):
            draining = asyncio.create_task(one.chats.drain(0.0))
            await eventually(lambda: said(one, first, "Accepted"))
            second = await one.send(other, "second")
        await draining
        await one.chats.drain(0.0)
        for run in (first, second):
            events = await two.reads(run)
            check_stream(events)
            assert events[-1].HasField("completed")
        assert sorted(two.assistant.finished) == ["first", "second"]


async def test_a_call_that_begins_its_run_when_the_others_have_drained_is_answered(
    tmp_path: Path, filled_dsn: str, chroma_url: str, llmock: LLMock
) -> None:
    """Redis is away, so that the drained runs' last words keep the process a moment longer: the call comes then."""
    llmock.reply(ANSWER).reply(ANSWER).pace(100)
    model = {**model_variables(llmock.base_url()), "TRIA_DRAIN": "15"}
    async with running_desk(tmp_path, filled_dsn, NOWHERE, chroma_url, model) as desk:
        earlier = await desk.say("When do you deliver on Sentosa?")
        assert earlier[-1].HasField("completed")
        conversation, stop = await desk.conversation(), asyncio.Event()
        stopping = asyncio.create_task(desk.application.run_until(stop))
        stop.set()
        await eventually(lambda: _draining(desk))
        events = await desk.say("What does a delivery to Sentosa cost?", conversation)
        assert events[-1].HasField("reconnect")
        await stopping
    async with running_desk(tmp_path, filled_dsn, NOWHERE, chroma_url) as other:
        request = chat.GetRunRequest(name=events[-1].run)
        run = await other.chat.GetRun(request, metadata=other.metadata())
        assert run.state == chat_pb2.Run.COMPLETED


async def _draining(desk: Desk) -> bool:
    return desk.application.chats.runner.draining
