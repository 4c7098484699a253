"""One answer on its way into a run's log, and its settlement in one transaction."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from server.audit.actions import Action
from server.audit.recorder import AuditRecorder
from server.chat import conversations, runs
from server.chat.access import new_id
from server.chat.agent import MODEL_FALLBACK
from server.chat.assistant import (
    Answered,
    AnswerKind,
    Assistant,
    Cited,
    Delta,
    Intent,
    ModelFailed,
    Reply,
    Step,
    Tools,
    Turn,
    Usage,
)
from server.chat.assistant import Event as AssistantEvent
from server.chat.conversations import NewMessage, StoredCitation
from server.chat.events import (
    Cancelled,
    Completed,
    Event,
    Failed,
    Interrupted,
    Spent,
    TextDone,
    TextPiece,
    Warned,
    WarningCode,
)
from server.chat.relay import DeltaRelay, SharedTick
from server.chat.runlog import RunLog
from server.chat.runs import Ending, RunState
from server.db.pool import Database
from server.errors import AppError, Code, Reason

if TYPE_CHECKING:
    from server.chat.runner import Task

log = logging.getLogger(__name__)

_HISTORY = 12  # messages of the conversation that an assistant sees
_SETTLE_PAUSE = 0.5  # seconds between tries to store an answer while PostgreSQL is away


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer ended, before it is stored."""

    state: RunState
    text: str
    citations: tuple[StoredCitation, ...]
    usage: Usage
    time_to_first_token_ms: int
    answered: Answered | None = None
    error: AppError | None = None


@dataclass(slots=True)
class Telling:
    """Writes what an assistant says into the log; deltas go through the relay that coalesces under load."""

    task: Task
    log: RunLog
    tick: SharedTick
    _started: float = field(default_factory=time.monotonic)
    _first_text: float | None = None
    _pieces: list[str] = field(default_factory=list)
    _citations: list[StoredCitation] = field(default_factory=list)
    _reply: Reply | None = None
    _settled: Usage | None = None
    _answered: Answered | None = None
    _error: AppError | None = None
    _warned: set[WarningCode] = field(default_factory=set)
    _relay: DeltaRelay | None = None

    async def tell(self, assistant: Assistant, tools: Tools, database: Database, longest: float) -> None:
        """Returns when the assistant has ended, well or not; only a cancellation and a defect raise."""
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
            if isinstance(event, Delta):
                self._pieces.append(event.text)
                relay.push(event.text)
            elif isinstance(event, Answered):
                self._answered = event
                self._settled = event.usage
            else:
                relay.flush()
                self._append(event)

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
            self._spent(),
            first,
            self._answered,
            self._error or AppError(Code.INTERNAL, Reason.MODEL_STREAM_CUT, "the answer ended in the middle"),
        )

    def _spent(self) -> Usage:
        """What it cost so far: as reported, or as the reply counts it for an answer that was stopped."""
        if self._settled is not None:
            return self._settled
        return self._reply.usage if self._reply is not None else Usage()

    async def _turn(self, database: Database) -> Turn:
        task = self.task
        async with database.connection() as connection:
            history = await conversations.recent_messages(
                connection, task.caller.tenant, task.conversation.id, task.message.ordinal, _HISTORY
            )
        said = tuple(("user" if message.author == "CUSTOMER" else "assistant", message.text) for message in history)
        return Turn(task.message.text, history=said, locale=task.locale)

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
        elif not isinstance(event, Delta | Answered):
            self.log.append(event)

    def _warn(self, code: WarningCode) -> None:
        if code not in self._warned:
            self._warned.add(code)
            self.log.append(Warned(code))


async def settle(
    database: Database,
    audit: AuditRecorder,
    task: Task,
    run_log: RunLog,
    outcome: Outcome,
    owner: str,
    patience: float,
) -> Event:
    """Stores the answer, the run's end and its decision leaf in one transaction, then writes the closing events.

    Returns the terminal event. While PostgreSQL is away it is tried again for `patience` seconds; raises AppError
    when that was not enough: the lease runs out and the run is INTERRUPTED.
    """
    closing: list[Event] = []
    if outcome.state is RunState.COMPLETED:
        closing.append(TextDone(hashlib.sha256(outcome.text.encode()).hexdigest()))
    closing.append(Spent(outcome.usage, outcome.time_to_first_token_ms))
    last_seq = run_log.last_seq + len(closing) + 1
    answer = new_id()
    deadline = time.monotonic() + patience
    while True:
        try:
            owned = await _store(database, audit, task, outcome, owner, last_seq, answer)
            break
        except AppError as problem:
            if problem.code is not Code.UNAVAILABLE or time.monotonic() > deadline:
                raise
            log.warning("answer waits for the database", extra={"run": task.run.name, "reason": problem.reason})
            await asyncio.sleep(_SETTLE_PAUSE)
    if not owned:
        return Interrupted(retryable=True)
    for event in closing:
        run_log.append(event)
    return _terminal(task, outcome, answer)


async def _store(
    database: Database, audit: AuditRecorder, task: Task, outcome: Outcome, owner: str, last_seq: int, answer: str
) -> bool:
    tenant, conversation = task.caller.tenant, task.conversation.id
    answered, error = outcome.answered, outcome.error
    keep = bool(outcome.text)
    failed = outcome.state is RunState.FAILED and error is not None
    ending = Ending(
        outcome.state,
        last_seq,
        outcome.usage,
        outcome.time_to_first_token_ms,
        answer if keep else None,
        error.code.value if failed and error else None,
        error.reason if failed and error else None,
        error.message if failed and error else None,
    )
    async with database.transaction() as connection:
        # The run row says whose the run is; it comes first so that a run taken away stores nothing.
        if not await runs.end_run(connection, tenant, conversation, task.run.id, owner, ending):
            return False
        if keep:
            await conversations.insert_message(
                connection,
                tenant,
                conversation,
                NewMessage(
                    answer,
                    "ASSISTANT",
                    outcome.text,
                    task.run.id,
                    "COMPLETE" if answered else "PARTIAL",
                    intent=answered.intent if answered else None,
                    answer_kind=answered.kind if answered else None,
                    confidence=answered.confidence if answered else 0.0,
                    citations=outcome.citations,
                ),
            )
        await audit.record_change(
            connection,
            caller=task.caller,
            request=task.request,
            action=Action.AI_DECISION,
            targets=(task.run.name,),
            details=_decision(outcome),
        )
    return True


def _decision(outcome: Outcome) -> dict[str, str | int]:
    """What the audit keeps of a run: enough to say why it said that, nothing of what was said."""
    answered, usage = outcome.answered, outcome.usage
    details: dict[str, str | int] = {
        "state": outcome.state,
        "model": usage.model,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_micros": usage.cost_micros,
        "currency": usage.currency,
        "estimated": str(usage.estimated).lower(),
        "chunks": " ".join(citation.chunk for citation in outcome.citations),
        "answer_sha256": hashlib.sha256(outcome.text.encode()).hexdigest(),
    }
    if answered:
        details |= {"answer_kind": answered.kind, "intent": answered.intent}
    elif outcome.error and outcome.state is RunState.FAILED:
        details |= {"reason": outcome.error.reason}
    return details


def _terminal(task: Task, outcome: Outcome, answer: str) -> Event:
    if outcome.state is RunState.CANCELLED:
        return Cancelled(outcome.text)
    if outcome.state is RunState.INTERRUPTED:
        return Interrupted(retryable=True)
    if outcome.answered is None:
        return Failed(outcome.error or AppError(Code.INTERNAL, Reason.INTERNAL, "internal error"))
    answered = outcome.answered
    message = f"{task.conversation.name}/messages/{answer}" if outcome.text else ""
    return Completed(answered.kind, outcome.text, answered.intent, answered.confidence, message)


def stored_terminal(run: runs.Run, answer: conversations.Message | None) -> Event:
    """The terminal event of a run as the database remembers it."""
    text = answer.text if answer else ""
    if run.state is RunState.CANCELLED:
        return Cancelled(text)
    if run.state is RunState.FAILED:
        code = Code(run.error_code) if run.error_code else Code.INTERNAL
        reason = Reason(run.error_reason) if run.error_reason else Reason.INTERNAL
        return Failed(AppError(code, reason, run.error_message or "internal error"))
    if run.state is RunState.COMPLETED and answer is not None:
        kind = answer.answer_kind or AnswerKind.ANSWERED
        name = f"conversations/{run.conversation}/messages/{answer.id}"
        return Completed(kind, text, answer.intent or Intent.OTHER, answer.confidence, name)
    return Interrupted(retryable=True)
