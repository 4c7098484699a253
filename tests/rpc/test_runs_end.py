"""However a run ends, its row, its followers and its decision leaf agree, and the next message is answered."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from server.audit.changes import operator
from server.audit.receipt import Receipt
from server.chat.access import run_ids
from server.chat.leases import Leased
from server.chat.runs import RunState
from server.chat.sending import Incoming, OnBusy
from server.chat.task import recall
from server.errors import Reason
from server.idempotency import Idempotency
from server.people_wiring import subjects
from server.signing import SigningKey
from tests.support.run_processes import CALLER, PERSON, REQUEST, last, process, said
from tests.support.stores import eventually
from tests.support.vaults import a_vault

HELD = "update run set owner = $1, epoch = $2, state = 'QUEUED', lease_until = now() + interval '600 seconds'"


async def test_a_defect_fails_the_run_everywhere(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with process(dsn, tmp_path, redis_url) as one:
        conversation = await one.conversation()
        one.assistant.broken = True
        run = await one.send(conversation, "first")
        failed = (await one.reads(run))[-1]
        assert failed.failed.info.reason == Reason.INTERNAL
        assert await one.is_in(run, RunState.FAILED)
        assert await one.decisions(run) == 1
        one.assistant.broken = False
        one.assistant.go.set()
        assert last(await one.events(await one.send(conversation, "second"))) == "completed"


async def test_a_cancelled_place_in_the_queue_lets_nobody_past(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with process(dsn, tmp_path, redis_url) as one:
        conversation = await one.conversation()
        first, second, third = [await one.send(conversation, text) for text in ("a", "b", "c")]
        await eventually(lambda: one.is_in(first, RunState.RUNNING))
        assert (await one.service.cancel_run(CALLER, REQUEST, second)).state is RunState.CANCELLED
        await one.database.ping()
        assert await one.is_in(third, RunState.QUEUED)
        one.assistant.go.set()
        for run in (first, third):
            assert last(await one.events(run)) == "completed"
        assert one.assistant.finished == ["a", "c"]
        assert await one.decisions(second) == 1


@pytest.mark.parametrize("patience", [0.0, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015])
async def test_a_caller_that_hangs_up_leaves_no_orphan(
    dsn: str, redis_url: str, tmp_path: Path, patience: float
) -> None:
    async with process(dsn, tmp_path, redis_url) as one:
        one.assistant.go.set()
        conversation = await one.conversation()
        sending = asyncio.create_task(one.send(conversation, "hello"))
        await asyncio.wait({sending}, timeout=patience)
        sending.cancel()
        await asyncio.wait({sending})

        await one.chats.runner.finish(10.0)
        page = await one.service.messages(CALLER, conversation, 0, "")
        assert [message.author for message in page.messages] in ([], ["CUSTOMER", "ASSISTANT"])


async def test_a_dead_process_is_noticed_and_its_followers_are_told_once(
    dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with process(dsn, tmp_path, redis_url) as one:
        conversation = await one.conversation()
        lost = await one.send(conversation, "first")
        await eventually(lambda: said(one, lost, "half"))
        async with one.database.connection() as connection:  # as if another process had taken it to its grave
            await connection.execute("update run set owner = 'dead' where id = $1", run_ids(lost)[1])
        async with process(dsn, tmp_path, redis_url, "two") as two:
            await eventually(lambda: two.is_in(lost, RunState.INTERRUPTED))
            assert await two.decisions(lost) == 1
            for after in (0, 50):
                end = (await two.reads(lost, after))[-1]
                assert end.HasField("interrupted")
                assert end.interrupted.retryable
            two.assistant.go.set()
            assert last(await two.events(await two.send(conversation, "second"))) == "completed"


async def test_two_processes_take_turns_in_one_conversation(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        conversation = await one.conversation()
        first = await one.send(conversation, "a")
        await eventually(lambda: one.is_in(first, RunState.RUNNING))
        second = await two.send(conversation, "b")
        two.assistant.go.set()
        assert await two.is_in(second, RunState.QUEUED)
        one.assistant.go.set()
        assert last(await two.events(second)) == "completed"
        assert two.assistant.turns[0].history == (("user", "a"), ("assistant", "half a"))
        remembered = await two.events(first)
        assert last(remembered) == "completed"


async def test_interrupt_reaches_a_run_of_another_process(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        conversation = await one.conversation()
        first = await one.send(conversation, "a")
        await eventually(lambda: one.is_in(first, RunState.RUNNING))
        two.assistant.go.set()
        second = await two.send(conversation, "b", OnBusy.INTERRUPT)
        assert last(await two.events(second)) == "completed"
        assert await two.is_in(first, RunState.CANCELLED)


async def test_a_message_id_stands_for_its_session(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with process(dsn, tmp_path, redis_url) as one:
        one.assistant.go.set()
        incoming = Incoming("hello", client_message_id="m-1")
        first = await one.sending.send_in_session(CALLER, REQUEST, "", "", incoming)
        again = await one.sending.send_in_session(CALLER, REQUEST, "", "", incoming)
        assert again.run.id == first.run.id
        assert again.attached


async def test_an_answer_to_somebody_who_is_erased_meanwhile_ends_unsaid(
    dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        conversation = await one.conversation()
        run = await one.send(conversation, "who I am")
        await eventually(lambda: one.is_in(run, RunState.RUNNING))
        people = subjects(two.database, a_vault(), SigningKey("test", b"a" * 32))
        erased: Idempotency[Receipt] = Idempotency("EraseSubject", "", b"", lambda receipt: receipt.note.encode())
        note = (await people.erase(operator("demo"), "ann", "", erased)).answer.decode()
        assert "store messages erased 1 kept 0" in note
        assert last(await one.events(run)) == "interrupted"
        assert one.assistant.finished == []
        async with one.database.connection() as connection:
            assert await connection.fetchval("select count(*) from message where text_box is not null") == 0

        async def forgotten() -> bool:  # what the log in memory would tell
            return not any("half" in str(item) for item in await one.events(run))

        await eventually(forgotten)


async def test_messages_whose_runs_are_set_going_in_another_order_are_answered_in_theirs(
    dsn: str, redis_url: str, tmp_path: Path
) -> None:
    """Two calls store their messages one after the other, and come back from that in any order."""
    async with process(dsn, tmp_path, redis_url) as one:
        one.assistant.begin.clear()
        conversation = await one.conversation()
        given = [await one.send(conversation, text) for text in ("a", "b")]
        await eventually(lambda: one.is_in(given[0], RunState.RUNNING))
        async with one.database.connection() as connection:
            await connection.execute(HELD, "nobody", 1)
    async with process(dsn, tmp_path, redis_url, "two") as two:
        two.assistant.go.set()
        async with two.database.connection() as connection:
            await connection.execute(HELD, two.chats.runner.owner, 2)
            for name in reversed(given):
                task = await recall(connection, a_vault(), Leased(CALLER.tenant, *run_ids(name), 2))
                assert task is not None
                two.chats.runner.go_on(task, two.chats.logs.open(name, CALLER.tenant, "o1", PERSON, 2))
        for name in given:
            await eventually(partial(two.is_in, name, RunState.COMPLETED))
        assert two.assistant.finished == ["a", "b"]
