"""A run seen from another process: the same bytes from wherever, one ending, whoever dies, whatever is away."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest
import redis.asyncio

from server.chat.access import run_ids
from server.chat.events import Heartbeat, Reconnect
from server.chat.runs import RunState
from tests.support.run_processes import CALLER, REQUEST, STREAMS, Process, last, process, said
from tests.support.stores import eventually
from tria.chat.v1 import chat_event_pb2

NOWHERE = "redis://127.0.0.1:1"


def kinds(events: list[chat_event_pb2.ChatEvent]) -> list[str]:
    return [event.WhichOneof("event") or "" for event in events]


def bytes_of(events: list[chat_event_pb2.ChatEvent]) -> list[bytes]:
    return [event.SerializeToString(deterministic=True) for event in events]


async def die(run: str, of: Process) -> None:
    """As if the process that has the run had been gone for longer than its lease."""
    sql = "update run set owner = 'dead', lease_until = now() - interval '1 second' where id = $1"
    async with of.database.connection() as connection:
        await connection.execute(sql, run_ids(run)[1])


async def test_every_process_gives_the_same_bytes_from_every_position(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        run = await one.send(await one.conversation(), "hello")
        followers = [asyncio.create_task(each.reads(run)) for each in (one, two, two)]
        await eventually(lambda: said(one, run, "half"))
        late = asyncio.create_task(two.reads(run, 2))
        one.assistant.go.set()
        own, *others = [bytes_of(events) for events in await asyncio.gather(*followers)]
        assert own == others[0] == others[1]
        assert bytes_of(await late) == own[2:]
        for after in range(len(own) + 1):
            assert bytes_of(await two.reads(run, after)) == own[after:]
        assert [event.seq for event in await two.reads(run)] == list(range(1, len(own) + 1))


async def test_what_lies_in_redis_cannot_be_read_there(dsn: str, redis_url: str, tmp_path: Path) -> None:
    client = redis.asyncio.Redis.from_url(redis_url)
    async with process(dsn, tmp_path, redis_url) as one, client:
        one.assistant.go.set()
        run = await one.send(await one.conversation(), "my name is Wilhelmina")
        await one.events(run)
        await one.chats.sharing.flushed(5)
        [key] = [key async for key in client.scan_iter(match=f"run:*{run}*")]
        entries = await client.xrange(key) or []
        assert [entry[0] for entry in entries] == [f"1-{seq}".encode() for seq in range(1, len(entries) + 1)]
        assert all(word not in repr(entries) for word in ("Wilhelmina", "half", "retrieving"))
        assert 0 < await client.ttl(key) <= STREAMS.log_ttl


async def test_past_the_log_the_message_stands_in(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with process(dsn, tmp_path, redis_url) as one:
        one.assistant.go.set()
        run = await one.send(await one.conversation(), "hello")
        whole = await one.reads(run)
        await one.chats.sharing.flushed(5)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.flushall()
    # the last events of a run are given a moment to reach the log before the message stands in for it
    async with process(dsn, tmp_path, redis_url, "two") as two:
        events = await two.reads(run, 2)
    assert kinds(events) == ["snapshot", "usage", "completed"]
    assert events[0].snapshot.text == whole[-1].completed.text
    assert events[-1].seq == whole[-1].seq


async def test_without_redis_the_chat_goes_on_and_says_what_is_lost(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with process(dsn, tmp_path, NOWHERE) as one, process(dsn, tmp_path, redis_url, "two") as two:
        run = await one.send(await one.conversation(), "hello")
        here, there = asyncio.create_task(one.reads(run)), asyncio.create_task(two.reads(run))
        await eventually(lambda: said(one, run, "RESUME_UNAVAILABLE"))
        one.assistant.go.set()
        events = await here
        assert kinds(events).count("warning") == 1
        assert kinds(events)[-1] == "completed"
        assert kinds(await there) == ["snapshot", "usage", "completed"]
        second = await one.reads(await one.send(await one.conversation(), "again"))
        assert kinds(second).count("warning") == 1


async def test_a_run_that_had_said_nothing_is_answered_by_another_process(
    dsn: str, redis_url: str, tmp_path: Path
) -> None:
    lazy = replace(STREAMS, lease=60.0)  # it sleeps through what happens
    async with process(dsn, tmp_path, redis_url, streams=lazy) as one, process(dsn, tmp_path, redis_url, "two") as two:
        one.assistant.begin.clear()
        two.assistant.go.set()
        run = await one.send(await one.conversation(), "hello")
        here, there = asyncio.create_task(one.reads(run)), asyncio.create_task(two.reads(run))
        await eventually(lambda: said(one, run, "retrieving"))
        await one.chats.sharing.flushed(5)
        await die(run, one)
        events = await there
        assert kinds(events) == [
            "run_accepted", "step", "step", "step", "text_delta", "text_delta", "text_done", "usage", "completed"
        ]  # fmt: skip
        assert [event.seq for event in events] == list(range(1, 10))
        assert [event.epoch for event in events] == [1] * 2 + [2] * 7
        one.assistant.begin.set()  # too late: it wakes up and may not say a word
        one.assistant.go.set()
        assert bytes_of(await here) == bytes_of(events)
        assert one.assistant.finished == []
        assert bytes_of(await one.reads(run, 3)) == bytes_of(events)[3:]
        assert await two.decisions(run) == 1


async def test_a_run_that_had_said_something_is_interrupted_once_for_all(
    dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        run = await one.send(await one.conversation(), "hello")
        followers = [asyncio.create_task(each.reads(run)) for each in (one, two)]
        await eventually(lambda: said(one, run, "half"))
        await one.chats.sharing.flushed(5)
        await die(run, one)
        here, there = await asyncio.gather(*followers)
        one.assistant.go.set()
        assert bytes_of(here) == bytes_of(there)
        assert kinds(there)[-2:] == ["text_delta", "interrupted"]
        assert there[-1].epoch == 2
        await eventually(lambda: gone(one))
        assert bytes_of(await one.reads(run)) == bytes_of(there), "the old owner added nothing"
        assert (await two.chats.following.get(CALLER, run)).last_seq == there[-1].seq


async def test_past_the_log_an_interruption_comes_next_after_what_was_seen(
    dsn: str, redis_url: str, tmp_path: Path
) -> None:
    """There is no message that a snapshot could give, so no number may be left out."""
    async with process(dsn, tmp_path, redis_url) as one:
        run = await one.send(await one.conversation(), "hello")
        await eventually(lambda: said(one, run, "half"))
        await die(run, one)
        async with process(dsn, tmp_path, NOWHERE, "two") as two:
            await eventually(lambda: is_interrupted(two, run))
            for after in range(5):
                told = await two.reads(run, after)
                assert [(event.seq, event.WhichOneof("event")) for event in told] == [(after + 1, "interrupted")]
        one.assistant.go.set()
        await eventually(lambda: gone(one))


async def is_interrupted(two: Process, run: str) -> bool:
    return (await two.chats.following.get(CALLER, run)).state is RunState.INTERRUPTED


async def gone(one: Process) -> bool:
    return one.chats.runner.active == 0


async def test_runs_that_a_stopping_process_had_not_answered_go_on_elsewhere(
    dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with process(dsn, tmp_path, redis_url) as two:
        await asyncio.sleep(STREAMS.lease)  # it takes nobody's runs before it knows who is there
        async with process(dsn, tmp_path, redis_url, "two") as one:
            two.assistant.go.set()
            one.assistant.begin.clear()
            run = await one.send(await one.conversation(), "hello")
            there = asyncio.create_task(two.reads(run))
            await eventually(lambda: said(one, run, "retrieving"))
        assert kinds(await there)[-1] == "completed"


async def test_a_run_is_stopped_from_another_process(dsn: str, redis_url: str, tmp_path: Path) -> None:
    lazy = replace(STREAMS, lease=60.0)  # what stops it is not the next look at the leases
    async with process(dsn, tmp_path, redis_url, streams=lazy) as one, process(dsn, tmp_path, redis_url, "two") as two:
        run = await one.send(await one.conversation(), "hello")
        await eventually(lambda: said(one, run, "half"))
        began = time.monotonic()
        stopped = [await two.service.cancel_run(CALLER, REQUEST, run) for _ in range(2)]
        assert time.monotonic() - began < 15, "the run was told, it did not find out"
        assert [run.state for run in stopped] == [RunState.CANCELLED] * 2
        events = await two.reads(run)
        assert events[-1].cancelled.text == "half "
        assert await one.decisions(run) == 1


@pytest.mark.parametrize("watched", [False, True])
async def test_a_run_goes_on_while_anybody_anywhere_follows_it(
    dsn: str, redis_url: str, tmp_path: Path, watched: bool
) -> None:
    brief = replace(STREAMS, alone=1.0)
    async with (
        process(dsn, tmp_path, redis_url, streams=brief) as one,
        process(dsn, tmp_path, redis_url, "two", streams=brief) as two,
    ):
        run = await one.send(await one.conversation(), "hello")
        if not watched:
            await eventually(lambda: one.is_in(run, RunState.CANCELLED))
            return
        there = asyncio.create_task(two.reads(run))
        for _ in range(3):
            done, _ = await asyncio.wait({there}, timeout=brief.alone)
            assert not done
        one.assistant.go.set()
        assert kinds(await there)[-1] == "completed"


async def test_a_draining_process_sends_followers_of_any_run_elsewhere(
    dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        run = await one.send(await one.conversation(), "hello")
        followers = [asyncio.create_task(two.events(run)) for _ in range(5)]
        await eventually(lambda: said(one, run, "half"))
        await eventually(lambda: mirrored(two))
        two.chats.following.drain()
        ends = [items[-1] for items in await asyncio.gather(*followers)]
        assert all(isinstance(end, Reconnect) for end in ends)
        assert len({end.delay for end in ends if isinstance(end, Reconnect)}) == len(ends), "not all at once"
        one.assistant.go.set()
        [first, *_] = ends
        assert isinstance(first, Reconnect)
        assert last(await one.events(run, first.resume_after_seq)) == "completed"


async def mirrored(two: Process) -> bool:
    return two.chats.mirrors.held == 1


async def test_silence_is_not_mistaken_for_an_end(dsn: str, redis_url: str, tmp_path: Path) -> None:
    eager = replace(STREAMS, heartbeat=0.2)
    async with (
        process(dsn, tmp_path, redis_url) as one,
        process(dsn, tmp_path, redis_url, "two", streams=eager) as two,
    ):
        run = await one.send(await one.conversation(), "hello")
        there = asyncio.create_task(two.events(run))
        done, _ = await asyncio.wait({there}, timeout=5)
        assert not done
        one.assistant.go.set()
        items = await there
        assert sum(isinstance(item, Heartbeat) for item in items) > 2
        assert last(items) == "completed"
