"""One answer on its way into a run's log."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from server.audit.sealing import Vault
from server.chat import messages
from server.chat.accepting import Acceptance
from server.chat.agent import MODEL_FALLBACK
from server.chat.assistant import (
    Answered,
    Asker,
    Assistant,
    Cited,
    Delta,
    FromCache,
    ModelFailed,
    Proposed,
    Reply,
    Step,
    Tools,
    ToolUsed,
    Turn,
    Usage,
    Waiting,
)
from server.chat.assistant import Event as AssistantEvent
from server.chat.decision import Decision, Grounds, Suspected
from server.chat.events import Queued, TextPiece, Warned, WarningCode
from server.chat.messages import StoredCitation
from server.chat.relay import DeltaRelay, SharedTick
from server.chat.runlog import RunLog
from server.chat.runs import RunState
from server.chat.settling import Outcome, added
from server.chat.task import Task
from server.db.pool import Database
from server.errors import AppError, Code, Reason

_BLANKS = re.compile(r"\s+")
_HISTORY = 12  # messages of the conversation that an assistant sees


@dataclass(slots=True)
class Telling:
    """Writes what an assistant says into the log; deltas go through the relay that coalesces under load.

    `may_begin` is awaited once, before anything of the answer is told, and raises when it may not be; `before` is what
    earlier attempts cost.
    """

    task: Task
    log: RunLog
    tick: SharedTick
    vault: Vault
    acceptance: Acceptance
    may_begin: Callable[[], Awaitable[None]]
    before: Usage = field(default_factory=Usage)
    told: bool = False
    _started: float = field(default_factory=time.monotonic)
    _first_text: float | None = None
    _cached: bool = False
    _pieces: list[str] = field(default_factory=list)
    _citations: list[StoredCitation] = field(default_factory=list)
    _proposal: str = ""
    _decision: Decision = field(default_factory=Decision)
    _reply: Reply | None = None
    _settled: Usage | None = None
    _answered: Answered | None = None
    _error: AppError | None = None
    _warned: set[WarningCode] = field(default_factory=set)
    _relay: DeltaRelay | None = None

    async def tell(self, assistant: Assistant, tools: Tools, database: Database, longest: float) -> None:
        """Returns when the assistant has ended, well or not; only a cancellation, `may_begin` and a defect raise."""
        relay = self._relay = DeltaRelay(self.tick, self._emit)
        try:
            async with asyncio.timeout(longest):
                turn = await self._turn(database)
                async with aclosing(assistant.reply(turn, tools)) as reply:
                    await self._write(reply, relay)
        except TimeoutError:
            self._error = AppError(Code.DEADLINE_EXCEEDED, Reason.MODEL_TIMEOUT, "the answer took too long")
        except ModelFailed as problem:
            self._error = problem
            self._settled = problem.usage
        except AppError as problem:
            self._error = problem
        finally:
            relay.flush()

    async def _write(self, reply: Reply, relay: DeltaRelay) -> None:
        self._reply = reply
        async for event in reply:
            if not self.told and isinstance(event, Delta | Cited | Proposed):
                await self.may_begin()
                self.told = True
            if isinstance(event, FromCache):
                self._cached = True  # said with its first word: until then another message may join
                continue
            if not isinstance(event, Grounds | Suspected):
                self.acceptance.say(cache_hit=self._cached)
            if isinstance(event, Delta):
                self._pieces.append(event.text)
                relay.push(event.text)
            elif isinstance(event, Answered):
                self._answered = event
                self._settled = event.usage
            elif isinstance(event, Grounds):
                self._decision.grounds = event
            elif isinstance(event, Suspected):
                self._decision.suspect(event)
            else:
                relay.flush()
                self._append(event)

    def fail(self, error: AppError) -> None:
        """The answer ended by a defect, whatever it had said by then."""
        self._answered, self._error = None, error

    def degraded(self) -> None:
        """Documents were searched by words only."""
        self._warn(WarningCode.RETRIEVAL_DEGRADED)

    def outcome(self, stopped: RunState | None) -> Outcome:
        """What to store. `stopped` is CANCELLED or INTERRUPTED when the answer was not let finish."""
        state = stopped or (RunState.COMPLETED if self._answered else RunState.FAILED)
        first = 0 if self._first_text is None else round((self._first_text - self._started) * 1000)
        return Outcome(
            state,
            "".join(self._pieces),
            tuple(self._citations),
            self._proposal,
            self.spent(),
            first,
            self._answered,
            self._error or AppError(Code.INTERNAL, Reason.MODEL_STREAM_CUT, "the answer ended in the middle"),
            self.told,
            self._decision,
        )

    def spent(self) -> Usage:
        """What it cost so far: as reported, or as the reply counts it for an answer that was stopped."""
        if self._settled is not None:
            return added(self.before, self._settled)
        return added(self.before, self._reply.usage) if self._reply is not None else self.before

    async def _turn(self, database: Database) -> Turn:
        task = self.task
        async with database.connection() as connection:
            history = await messages.messages_before(
                connection, self.vault, task.caller.tenant, task.conversation.id, task.message.ordinal, _HISTORY
            )
        said = tuple(
            ("user" if message.author == "CUSTOMER" else "assistant", _in_lines(message.text)) for message in history
        )
        asker = Asker(
            tenant=task.caller.tenant,
            outlet=task.conversation.outlet,
            role=" ".join(sorted(task.caller.roles)),
            conversation=task.conversation.id,
        )
        return Turn(_in_lines(task.message.text), history=said, locale=task.locale, asker=asker)

    def _emit(self, text: str) -> None:
        if self._first_text is None:
            self._first_text = time.monotonic()
        self.log.append(TextPiece(text))

    def _append(self, event: AssistantEvent) -> None:
        if isinstance(event, Step) and event.label == MODEL_FALLBACK:
            self._warn(WarningCode.MODEL_FALLBACK)
        elif isinstance(event, Cited):
            passage = event.passage
            self._citations.append(
                StoredCitation(
                    event.index, passage.chunk, passage.document, passage.revision, passage.title, event.quote
                )
            )
            self.log.append(event)
        elif isinstance(event, Proposed):
            self._proposal = event.proposal.id
            self.log.append(event)
        elif isinstance(event, ToolUsed):
            self._decision.used(event.tool, event.state)
            self.log.append(event)
        elif isinstance(event, Waiting):
            self.log.append(Queued(event.position, event.eta))
        elif not isinstance(event, Delta | Answered | Grounds | Suspected | FromCache):
            self.log.append(event)

    def _warn(self, code: WarningCode) -> None:
        self.acceptance.say()
        if code not in self._warned:
            self._warned.add(code)
            self.log.append(Warned(code))


def _in_lines(text: str) -> str:
    """The text without runs of white space: one space, or one line end where there was one. Rules that look at words
    must not meet thousands of blanks in a row."""
    return _BLANKS.sub(lambda run: "\n" if "\n" in run[0] else " ", text).strip()
