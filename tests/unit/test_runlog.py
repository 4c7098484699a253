"""The log of a run: every follower sees every event once, in order, whenever it comes."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.chat.events import Cancelled, Heartbeat, LogEntry, Reconnect, TextPiece, WireEntry
from server.chat.following import Item
from server.chat.runlog import MOST_BEHIND, RunLog, RunLogs


async def read(log: RunLog, after: int, heartbeat: float = 30.0) -> list[Item]:
    return [item async for item in log.follow(after, heartbeat=heartbeat, leave=lambda: None)]


def texts(items: list[Item]) -> list[str]:
    return [item.event.text for item in items if isinstance(item, LogEntry) and isinstance(item.event, TextPiece)]


@settings(max_examples=50, deadline=None)
@given(total=st.integers(0, 30), starts=st.lists(st.integers(0, 31), max_size=5), early=st.integers(0, 30))
def test_every_follower_sees_what_comes_after_its_position(total: int, starts: list[int], early: int) -> None:
    async def scenario() -> None:
        log = RunLog("conversations/c/runs/r", "t", "o")
        for number in range(min(early, total)):
            log.append(TextPiece(str(number)))
        followers = [asyncio.create_task(read(log, start)) for start in starts]
        for number in range(min(early, total), total):
            await asyncio.sleep(0)
            log.append(TextPiece(str(number)))
        log.append(Cancelled(""))
        for start, items in zip(starts, await asyncio.gather(*followers), strict=True):
            assert texts(items) == [str(number) for number in range(start, total)]
            seqs = [item.seq for item in items if isinstance(item, LogEntry)]
            assert seqs == list(range(min(start, total) + 1, total + 2)), "the terminal comes to everybody"

    asyncio.run(scenario())


async def test_nothing_follows_a_terminal() -> None:
    log = RunLog("r", "t", "o")
    log.append(Cancelled(""))
    with pytest.raises(RuntimeError, match="after the terminal"):
        log.append(TextPiece("late"))


async def test_silence_is_a_heartbeat_without_a_seq() -> None:
    log = RunLog("r", "t", "o")
    follower = aiter(log.follow(0, heartbeat=0.01, leave=lambda: None))
    assert await anext(follower) == Heartbeat()
    log.append(TextPiece("x"))
    item = await anext(follower)
    assert isinstance(item, LogEntry)
    assert item.seq == 1


async def test_a_follower_that_must_leave_is_told_where_to_go_on() -> None:
    logs = RunLogs(keep=60)
    log = logs.open("r", "t", "o")
    log.append(TextPiece("x"))
    leaving: list[float | None] = [None]
    follower = aiter(log.follow(0, heartbeat=30.0, leave=lambda: leaving[0]))
    await anext(follower)
    waiting = asyncio.ensure_future(anext(follower))
    await asyncio.sleep(0)
    leaving[0] = 1.5
    logs.wake_all()
    assert await waiting == Reconnect(1, 1.5)
    with pytest.raises(StopAsyncIteration):
        await anext(follower)


async def test_a_log_that_is_given_up_holds_nothing_and_lets_its_followers_look_elsewhere() -> None:
    log = RunLog("r", "t", "o")
    log.append(TextPiece("x"))
    slow, waiting = aiter(log.follow(0, heartbeat=30.0, leave=lambda: None)), asyncio.create_task(read(log, 1))
    await anext(slow)
    for number in range(3):
        log.append(TextPiece(str(number)))
    await asyncio.sleep(0)
    log.give_up()
    with pytest.raises(StopAsyncIteration):
        await anext(slow)
    await waiting
    assert log.since(0) == []
    assert not log.reaches_back_to(2)


async def test_who_falls_far_behind_must_come_back_and_a_patient_follower_need_not() -> None:
    log = RunLog("r", "t", "o")
    slow = aiter(log.follow(0, heartbeat=0.01, leave=lambda: None))
    patient = aiter(log.follow(0, heartbeat=0.01, leave=lambda: None, patient=True))
    assert [await anext(slow), await anext(patient)] == [Heartbeat(), Heartbeat()]
    for number in range(MOST_BEHIND + 2):
        log.append(TextPiece(str(number)))
    assert isinstance(await anext(slow), Reconnect)
    assert isinstance(await anext(patient), LogEntry)
    late = aiter(log.follow(0, heartbeat=30.0, leave=lambda: None))
    assert isinstance(await anext(late), LogEntry), "who reads from the start is not slow"


@given(split=st.integers(0, 8), repeated=st.integers(0, 8), base=st.integers(0, 3))
def test_a_mirror_takes_what_is_new_and_in_order(split: int, repeated: int, base: int) -> None:
    entries = [WireEntry(seq, bytes([seq]), 1, terminal=seq == 9) for seq in range(1 + base, 10)]
    mirror = RunLog("r", "t", "o")
    mirror.adopt(entries[:split])
    mirror.adopt(entries[min(split, repeated) :])
    assert mirror.since(0) == entries
    assert mirror.ended
    assert mirror.reaches_back_to(base)
    assert not base or not mirror.reaches_back_to(base - 1)


async def test_only_ended_logs_make_room() -> None:
    logs = RunLogs(keep=60, most=2)
    first = logs.open("1", "t", "o")
    logs.open("2", "t", "o")
    first.append(Cancelled(""))
    logs.open("3", "t", "o")
    assert logs.get("t", "1") is None
    assert logs.get("t", "2") is not None
    assert logs.get("other", "2") is None
