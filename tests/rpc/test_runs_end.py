"""However a run ends, its row, its followers and its decision leaf agree, and the next message is answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from server.audit.recorder import AuditRecorder
from server.audit.spool import Spool
from server.caller import AuthMethod, Caller, Request, Role
from server.chat.access import run_ids
from server.chat.assistant import Answered, AnswerKind, Delta, Event, Intent, Language, Tools, Turn, Usage
from server.chat.events import Completed, Failed, Interrupted, LogEntry
from server.chat.following import Item
from server.chat.run_wiring import RunDesk, RunParts, run_desk
from server.chat.runs import RunState
from server.chat.sending import Incoming, OnBusy, Sending
from server.chat.service import ConversationService
from server.config import StreamConfig
from server.db.pool import Database, PoolSettings
from server.errors import Reason
from server.idempotency import Idempotency
from server.paging import PageTokens
from server.settings import Secret
from tests.support.stores import eventually
from tests.support.vaults import a_vault

CALLER = Caller("demo", "ann", frozenset({Role.CUSTOMER}), AuthMethod.JWT, outlet="o1")
REQUEST = Request("r", "t", "tp", "/m", "", "a")


@dataclass
class ScriptedReply:
    """An answer that waits to be let finish."""

    events: AsyncGenerator[Event, None]
    usage: Usage = field(default_factory=Usage)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self.events

    async def aclose(self) -> None:
        await self.events.aclose()


class ScriptedAssistant:
    """Says half a sentence, waits for `go`, says the rest; or breaks."""

    name = "scripted"

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.finished: list[str] = []
        self.go = asyncio.Event()
        self.broken = False

    def reply(self, turn: Turn, _tools: Tools) -> ScriptedReply:
        self.turns.append(turn)
        return ScriptedReply(self._events(turn))

    async def _events(self, turn: Turn) -> AsyncGenerator[Event, None]:
        yield Delta("half ")
        if self.broken:
            raise KeyError("a defect")
        await self.go.wait()
        yield Delta(turn.text)
        self.finished.append(turn.text)
        yield Answered(AnswerKind.ANSWERED, Intent.OTHER, 1.0, Language.EN)


@dataclass
class Process:
    """The chat of one server process."""

    database: Database
    chats: RunDesk
    sending: Sending
    service: ConversationService
    assistant: ScriptedAssistant

    async def conversation(self) -> str:
        names: list[str] = []

        def encode(conversation: object) -> bytes:
            names.append(conversation.name)  # type: ignore[attr-defined]
            return b""

        await self.service.create(CALLER, REQUEST, "", "", "", Idempotency("x", "", b"", encode))
        return names[0]

    async def send(self, conversation: str, text: str, on_busy: OnBusy = OnBusy.ENQUEUE) -> str:
        accepted = await self.sending.send(CALLER, REQUEST, conversation, Incoming(text, on_busy=on_busy))
        return accepted.run.name

    async def events(self, run: str, after: int = 0) -> list[Item]:
        async with asyncio.timeout(20):
            return [item async for item in self.chats.following.follow(CALLER, run, after)]

    async def is_in(self, run: str, state: RunState) -> bool:
        return (await self.chats.following.get(CALLER, run)).state is state

    async def decisions(self, run: str) -> int:
        sql = "select count(*) from audit_pending where action = 'AI_DECISION' and resource = $1"
        async with self.database.connection() as connection:
            return int(await connection.fetchval(sql, run))


STREAMS = StreamConfig(15.0, 600.0, 120.0, 0.1, 1.0, 120.0, 0.3)


@asynccontextmanager
async def process(dsn: str, folder: Path, redis_url: str, owner: str = "one") -> AsyncIterator[Process]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(dsn, PoolSettings(min_size=1, max_size=6)))
        recorder = await stack.enter_async_context(AuditRecorder(database, Spool(folder / owner), None))
        assistant = ScriptedAssistant()
        parts = RunParts(database, a_vault(), recorder, redis_url, None, assistant, lambda *_: None)  # type: ignore[arg-type]  # nothing is proposed here
        chats = await stack.enter_async_context(run_desk(parts, STREAMS))
        runner, following = chats.runner, chats.following
        service = ConversationService(database, a_vault(), recorder, PageTokens(Secret("s" * 40)), runner, following)
        tasks = [asyncio.create_task(work) for work in chats.background(dsn)]
        yield Process(database, chats, Sending(database, a_vault(), recorder, runner), service, assistant)
        await chats.drain(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def last(items: list[Item]) -> object:
    assert isinstance(items[-1], LogEntry)
    return items[-1].event


async def test_a_defect_fails_the_run_everywhere(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with process(dsn, tmp_path, redis_url) as one:
        conversation = await one.conversation()
        one.assistant.broken = True
        run = await one.send(conversation, "first")
        failed = last(await one.events(run))
        assert isinstance(failed, Failed)
        assert failed.error.reason is Reason.INTERNAL
        assert await one.is_in(run, RunState.FAILED)
        assert await one.decisions(run) == 1
        one.assistant.broken = False
        one.assistant.go.set()
        assert isinstance(last(await one.events(await one.send(conversation, "second"))), Completed)


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
            assert isinstance(last(await one.events(run)), Completed)
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

        await one.chats.runner.drain(10.0)
        page = await one.service.messages(CALLER, conversation, 0, "")
        assert [message.author for message in page.messages] in ([], ["CUSTOMER", "ASSISTANT"])


async def test_a_dead_process_is_noticed_and_its_followers_are_told_once(
    dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with process(dsn, tmp_path, redis_url) as one:
        conversation = await one.conversation()
        lost = await one.send(conversation, "first")
        async with one.database.connection() as connection:  # as if another process had taken it to its grave
            await connection.execute("update run set owner = 'dead' where id = $1", run_ids(lost)[1])
        async with process(dsn, tmp_path, redis_url, "two") as two:
            await eventually(lambda: two.is_in(lost, RunState.INTERRUPTED))
            assert await two.decisions(lost) == 1
            for after in (0, 50):
                [item] = await two.events(lost, after)
                assert isinstance(item, LogEntry)
                assert isinstance(item.event, Interrupted)
                assert item.seq >= after
            two.assistant.go.set()
            assert isinstance(last(await two.events(await two.send(conversation, "second"))), Completed)


async def test_two_processes_take_turns_in_one_conversation(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        conversation = await one.conversation()
        first = await one.send(conversation, "a")
        await eventually(lambda: one.is_in(first, RunState.RUNNING))
        second = await two.send(conversation, "b")
        two.assistant.go.set()
        assert await two.is_in(second, RunState.QUEUED)
        one.assistant.go.set()
        assert isinstance(last(await two.events(second)), Completed)
        assert two.assistant.turns[0].history == (("user", "a"), ("assistant", "half a"))
        remembered = await two.events(first)
        assert isinstance(last(remembered), Completed)


async def test_interrupt_reaches_a_run_of_another_process(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with process(dsn, tmp_path, redis_url) as one, process(dsn, tmp_path, redis_url, "two") as two:
        conversation = await one.conversation()
        first = await one.send(conversation, "a")
        await eventually(lambda: one.is_in(first, RunState.RUNNING))
        two.assistant.go.set()
        second = await two.send(conversation, "b", OnBusy.INTERRUPT)
        assert isinstance(last(await two.events(second)), Completed)
        assert await two.is_in(first, RunState.CANCELLED)


async def test_a_message_id_stands_for_its_session(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with process(dsn, tmp_path, redis_url) as one:
        one.assistant.go.set()
        incoming = Incoming("hello", client_message_id="m-1")
        first = await one.sending.send_in_session(CALLER, REQUEST, "", "", incoming)
        again = await one.sending.send_in_session(CALLER, REQUEST, "", "", incoming)
        assert again.run.id == first.run.id
        assert again.attached
