"""A message that comes while a run goes on: what each policy does with it, in one process and across two."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from server.chat.runs import RunState
from server.chat.sending import OnBusy
from server.errors import AppError, Reason
from tests.rpc.test_shared_runs import kinds
from tests.support.run_processes import CALLER, REQUEST, Process, process, said
from tests.support.stores import eventually

BOTH = pytest.mark.parametrize("elsewhere", [False, True])


async def answered(one: Process, run: str) -> str:
    return (await one.reads(run))[-1].completed.text


async def active(one: Process) -> bool:
    return one.chats.runner.active > 0


@BOTH
async def test_enqueue_answers_one_after_the_other(dsn: str, redis_url: str, tmp_path: Path, elsewhere: bool) -> None:
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        other = two if elsewhere else one
        conversation = await one.conversation()
        first = await one.send(conversation, "a")
        second = await other.send(conversation, "b")
        accepted = (await other.chats.following.get(CALLER, second)).state
        assert accepted is RunState.QUEUED
        one.assistant.go.set()
        two.assistant.go.set()
        assert [await answered(one, first), await answered(one, second)] == ["half a", "half b"]
        assert other.assistant.turns[-1].history[-2:] == (("user", "a"), ("assistant", "half a"))


@BOTH
async def test_reject_names_the_run_that_goes_on(dsn: str, redis_url: str, tmp_path: Path, elsewhere: bool) -> None:
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        other = two if elsewhere else one
        conversation = await one.conversation()
        first = await one.send(conversation, "a")
        with pytest.raises(AppError) as refused:
            await other.send(conversation, "b", OnBusy.REJECT)
        assert refused.value.reason is Reason.CONVERSATION_BUSY
        assert refused.value.metadata == {"run": first}
        one.assistant.go.set()
        assert await answered(other, first) == "half a"
        two.assistant.go.set()
        assert await answered(other, await other.send(conversation, "b", OnBusy.REJECT)) == "half b"


@BOTH
async def test_interrupt_keeps_what_was_said(dsn: str, redis_url: str, tmp_path: Path, elsewhere: bool) -> None:
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        other = two if elsewhere else one
        conversation = await one.conversation()
        first = await one.send(conversation, "a")
        await eventually(lambda: said(one, first, "half"))
        second = await other.send(conversation, "b", OnBusy.INTERRUPT)
        assert (await other.reads(first))[-1].cancelled.text == "half "
        other.assistant.go.set()
        assert await answered(one, second) == "half b"
        assert await one.decisions(first) == 1


@BOTH
async def test_messages_of_one_window_are_answered_together(
    dsn: str, redis_url: str, tmp_path: Path, elsewhere: bool
) -> None:
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        one.assistant.go.set()
        other = two if elsewhere else one
        conversation = await one.conversation()
        first = await one.send(conversation, "a", OnBusy.MERGE)
        rest = await asyncio.gather(*(other.send(conversation, text, OnBusy.MERGE) for text in "bc"))
        assert set(rest) == {first}
        text = await answered(other, first)
        assert text in {"half a\nb\nc", "half a\nc\nb"}
        assert len(one.assistant.turns) == 1, "nobody was asked twice"
        page = await one.service.messages(CALLER, conversation, 0, "")
        assert [message.author for message in page.messages] == ["CUSTOMER"] * 3 + ["ASSISTANT"]
        assert await one.decisions(first) == 1


@BOTH
async def test_an_answer_begins_anew_for_a_message_that_came_before_its_first_word(
    dsn: str, redis_url: str, tmp_path: Path, elsewhere: bool
) -> None:
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        one.assistant.begin.clear()
        one.assistant.go.set()
        other = two if elsewhere else one
        conversation = await one.conversation()
        first = await one.send(conversation, "a", OnBusy.MERGE)
        await eventually(lambda: said(one, first, "retrieving"))
        assert await other.send(conversation, "b", OnBusy.MERGE, "id-b") == first
        one.assistant.begin.set()
        events = await other.reads(first)
        assert events[-1].completed.text == "half a\nb"
        assert kinds(events).count("text_delta") == 2, "nothing of the first attempt was shown"
        assert [turn.text for turn in one.assistant.turns] == ["a", "a\nb"]
        assert await one.send(conversation, "b", OnBusy.MERGE, "id-b") == first, "a repeat attaches"


@BOTH
async def test_after_the_first_word_a_message_gets_an_answer_of_its_own(
    dsn: str, redis_url: str, tmp_path: Path, elsewhere: bool
) -> None:
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        other = two if elsewhere else one
        conversation = await one.conversation()
        first = await one.send(conversation, "a", OnBusy.MERGE)
        await eventually(lambda: said(one, first, "half"))
        second = await other.send(conversation, "b", OnBusy.MERGE)
        assert second != first
        one.assistant.go.set()
        two.assistant.go.set()
        assert [await answered(one, first), await answered(one, second)] == ["half a", "half b"]


async def test_many_at_once_lose_no_message(dsn: str, redis_url: str, tmp_path: Path) -> None:
    """Messages merged and settled at the same moments: every one is answered by the run that it was told."""
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        one.assistant.go.set()
        two.assistant.go.set()
        conversation = await one.conversation()
        texts = [f"<{number}>" for number in range(24)]

        async def say(place: int, text: str) -> tuple[str, str]:
            await asyncio.sleep(place * 0.04)
            return text, await (one, two)[place % 2].send(conversation, text, OnBusy.MERGE)

        runs = await asyncio.gather(*(say(place, text) for place, text in enumerate(texts)))
        for text, run in runs:
            assert text in await answered(one, run)
        for run in {run for _, run in runs}:
            state = (await one.service.cancel_run(CALLER, REQUEST, run)).state
            assert state is RunState.COMPLETED, "what has ended stays as it ended"
            assert await one.decisions(run) == 1
