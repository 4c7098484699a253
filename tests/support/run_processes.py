"""The chat of one server process, without the wire: as many beside each other over the same stores as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from server.audit.erasures import ErasureFeed
from server.audit.recorder import AuditRecorder
from server.audit.spool import Spool
from server.caller import AuthMethod, Caller, Request, Role
from server.chat import encode
from server.chat.assistant import Answered, AnswerKind, Delta, Event, Intent, Language, Step, Tools, Turn, Usage
from server.chat.following import Item
from server.chat.run_wiring import RunDesk, RunParts, run_desk
from server.chat.runs import RunState
from server.chat.sending import Incoming, OnBusy, Sending
from server.chat.service import ConversationService
from server.config import StreamConfig
from server.db.pool import Database, PoolSettings
from server.idempotency import Idempotency
from server.owned_tasks import end
from server.paging import PageTokens
from server.settings import Secret
from tests.support.vaults import a_vault
from tria.chat.v1 import chat_event_pb2

PERSON = a_vault().people.reference("demo", "ann")
CALLER = Caller("demo", "ann", frozenset({Role.CUSTOMER}), AuthMethod.JWT, outlet="o1", person=PERSON)
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
    """Waits for `begin`, says half a sentence, waits for `go`, says the rest; or breaks."""

    name = "scripted"

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.finished: list[str] = []
        self.begin = asyncio.Event()
        self.begin.set()
        self.go = asyncio.Event()
        self.broken = False

    def reply(self, turn: Turn, _tools: Tools) -> ScriptedReply:
        self.turns.append(turn)
        return ScriptedReply(self._events(turn))

    async def _events(self, turn: Turn) -> AsyncGenerator[Event, None]:
        yield Step("retrieving")
        await self.begin.wait()
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

    async def send(
        self, conversation: str, text: str, on_busy: OnBusy = OnBusy.ENQUEUE, client_message_id: str = ""
    ) -> str:
        incoming = Incoming(text, client_message_id, on_busy=on_busy)
        return (await self.sending.send(CALLER, REQUEST, conversation, incoming)).run.name

    async def events(self, run: str, after: int = 0) -> list[Item]:
        async with asyncio.timeout(20):
            return [item async for item in self.chats.following.follow(CALLER, run, after)]

    async def is_in(self, run: str, state: RunState) -> bool:
        return (await self.chats.following.get(CALLER, run)).state is state

    async def reads(self, run: str, after: int = 0) -> list[chat_event_pb2.ChatEvent]:
        """The run's events as its followers get them."""
        return [encode.event_message(run, 0, item) for item in await self.events(run, after)]

    async def decisions(self, run: str) -> int:
        sql = "select count(*) from audit_pending where action = 'AI_DECISION' and resource = $1"
        async with self.database.connection() as connection:
            return int(await connection.fetchval(sql, run))


STREAMS = StreamConfig(15.0, 600.0, 120.0, 0.1, 1.0, 120.0, 0.3)


@asynccontextmanager
async def process(
    dsn: str, folder: Path, redis_url: str, owner: str = "one", streams: StreamConfig = STREAMS
) -> AsyncIterator[Process]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(dsn, PoolSettings(min_size=1, max_size=6)))
        recorder = await stack.enter_async_context(AuditRecorder(database, Spool(folder / owner), None))
        assistant = ScriptedAssistant()
        parts = RunParts(database, a_vault(), recorder, redis_url, None, assistant, lambda *_: None)  # type: ignore[arg-type]  # nothing is proposed here
        chats = await stack.enter_async_context(run_desk(parts, streams))
        runner, following = chats.runner, chats.following
        service = ConversationService(database, a_vault(), recorder, PageTokens(Secret("s" * 40)), runner, following)
        erasures = ErasureFeed(dsn, parts.vault, (chats.logs.forget, chats.mirrors.forget, runner.forget))
        tasks = [asyncio.create_task(work) for work in (*chats.background(dsn), erasures.keep_listening())]
        try:
            yield Process(database, chats, Sending(database, a_vault(), recorder, runner), service, assistant)
        finally:
            await chats.drain(0.1)
            await end(tasks)


def last(items: list[Item]) -> str:
    """What ended the stream."""
    return encode.event_message("", 0, items[-1]).WhichOneof("event") or ""


async def said(one: Process, run: str, text: str) -> bool:
    log = one.chats.logs.get(CALLER.tenant, run)
    return log is not None and any(text in repr(entry) for entry in log.since(0))
