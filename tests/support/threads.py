"""The chat of one server process without gRPC: runs, control, watchers and the bell, over a real database; and an
assistant that says what a test tells it to."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from server.audit.actor import Shown
from server.audit.changes import Author
from server.audit.recorder import AuditRecorder
from server.audit.spool import Spool
from server.caller import AuthMethod, Caller, Request, Role
from server.chat.assistant import Answered, AnswerKind, Delta, Event, Intent, Language, Tools, Turn
from server.chat.control import Control
from server.chat.conversations import Conversation
from server.chat.feed import Bell, FeedEvent
from server.chat.following import Following, Item
from server.chat.run_wiring import RunParts, run_desk
from server.chat.runner import Runner
from server.chat.sending import Incoming, Sending
from server.chat.service import ConversationService
from server.chat.watching import Told, Watching
from server.config import StreamConfig
from server.db.pool import Database, PoolSettings
from server.idempotency import Idempotency
from server.owned_tasks import end
from server.paging import PageTokens
from server.settings import Secret
from server.stream_life import StreamLimits
from tests.support.run_processes import ScriptedReply
from tests.support.vaults import a_vault

STREAMS = StreamConfig(15.0, 600.0, 120.0, 0.1, 30.0, 120.0, 0.3)
TENANT = "demo"
REQUEST = Request("r", "t", "tp", "/m", "", "a")
CUSTOMER = Caller(TENANT, "ann", frozenset({Role.CUSTOMER}), AuthMethod.JWT, outlet="o1", person="p-ann")


def staff(name: str) -> Caller:
    """A member of staff."""
    return Caller(TENANT, name, frozenset({Role.STAFF}), AuthMethod.JWT, person=f"p-{name}")


class Talker:
    """Says `words` pieces, each after `pause()` seconds, and ends with `kind()`."""

    name = "talker"

    def __init__(
        self,
        words: int = 4,
        pause: Callable[[], float] = lambda: 0.0,
        kind: Callable[[], AnswerKind] = lambda: AnswerKind.ANSWERED,
    ) -> None:
        self._words, self._pause, self._kind = words, pause, kind

    def reply(self, turn: Turn, _tools: Tools) -> ScriptedReply:
        return ScriptedReply(self._events(turn))

    async def _events(self, turn: Turn) -> AsyncGenerator[Event, None]:
        for number in range(self._words):
            await asyncio.sleep(self._pause())
            yield Delta(f"{turn.text}-{number} ")
        yield Answered(self._kind(), Intent.OTHER, 1.0, Language.EN)


@dataclass
class Process:
    """The chat of one server process."""

    database: Database
    runner: Runner
    following: Following
    sending: Sending
    service: ConversationService
    control: Control
    watching: Watching
    bell: Bell
    tokens: PageTokens

    async def conversation(self) -> str:
        """The name of a new conversation of the customer's."""
        made: list[Conversation] = []
        await self.service.create(CUSTOMER, REQUEST, "", "", "", Idempotency("x", "", b"", kept(made)))
        return made[0].name

    async def say(self, conversation: str, text: str) -> str:
        """Sends a message of the customer; the run's name."""
        return (await self.sending.send(CUSTOMER, REQUEST, conversation, Incoming(text))).run.name

    async def ask(self, conversation: str) -> Conversation:
        made: list[Conversation] = []
        key = Idempotency("RequestHuman", str(uuid.uuid4()), b"", kept(made))
        await self.control.request_human(by(CUSTOMER), conversation, "", key)
        return made[0]

    async def take(self, conversation: str, who: Caller, epoch: int) -> Conversation:
        made: list[Conversation] = []
        await self.control.take_over(by(who), conversation, epoch, Idempotency("TakeOver", "", b"", kept(made)))
        return made[0]

    async def give_back(self, conversation: str, who: Caller, epoch: int) -> Conversation:
        made: list[Conversation] = []
        await self.control.hand_back(by(who), conversation, epoch, Idempotency("HandBack", "", b"", kept(made)))
        return made[0]

    async def write(self, conversation: str, who: Caller, epoch: int, text: str) -> None:
        await self.control.send(by(who), conversation, text, epoch, Idempotency("Send", "", b"", lambda _: b""))

    async def run(self, name: str) -> list[Item]:
        """Every event of a run."""
        async with asyncio.timeout(60), aclosing(self.following.follow(CUSTOMER, name, 0)) as items:
            return [item async for item in items]

    async def watch(self, conversation: str, into: list[FeedEvent], cursor: str = "") -> None:
        """Collects what a watcher sees until cancelled."""
        async with aclosing(self.watching.watch(CUSTOMER, conversation, cursor)) as items:
            async for item in items:
                into.extend([item.event] if isinstance(item, Told) else [])

    def cursor(self, caller: Caller, conversation: str, seq: int) -> str:
        """What a watcher has who saw everything up to `seq`."""
        query = f"WatchConversation\n{caller.tenant}\n{caller.outlet}\n{conversation.partition('/')[2]}"
        return self.tokens.make(query, (str(seq),))


def by(who: Caller) -> Author:
    return Author(who, REQUEST, Shown(None))


def kept(into: list[Any]) -> Callable[[Any], bytes]:
    """An encoder that keeps what it is given."""

    def encode(made: Any) -> bytes:
        into.append(made)
        return b""

    return encode


@asynccontextmanager
async def process(
    dsn: str,
    redis_url: str,
    folder: Path,
    assistant: Any,
    owner: str = "one",
    slow: float = 20.0,
    *,
    deaf: bool = False,
) -> AsyncIterator[Process]:
    """A process with its background tasks; a `deaf` one hears no notifications and renews its leases often."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(dsn, PoolSettings(min_size=1, max_size=10)))
        recorder = await stack.enter_async_context(AuditRecorder(database, Spool(folder / owner), None))
        vault, tokens = a_vault(), PageTokens(Secret("s" * 40))
        parts = RunParts(database, vault, recorder, redis_url, None, assistant, lambda *_: None)  # type: ignore[arg-type]  # nothing is proposed here
        chats = await stack.enter_async_context(run_desk(parts, replace(STREAMS, lease=1.0) if deaf else STREAMS))
        runner, following = chats.runner, chats.following
        service = ConversationService(database, vault, recorder, tokens, runner, following)
        bell, limits = Bell(dsn, runner.silence), StreamLimits(STREAMS.heartbeat, STREAMS.max_age)
        tasks = {asyncio.create_task(work) for work in chats.background(dsn)}
        if not deaf:
            tasks.add(asyncio.create_task(bell.keep_listening()))
        yield Process(
            database, runner, following, Sending(database, vault, recorder, runner), service,
            Control(database, vault, runner), Watching(database, vault, bell, tokens, limits, slow), bell, tokens,
        )  # fmt: skip
        await chats.drain(5.0)
        await end(tasks)
