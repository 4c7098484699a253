"""The end of a run, stored in one transaction: its state and cost, what was said, and the decision leaf."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from server.audit.actions import Action
from server.audit.actor import Shown
from server.audit.changes import Author
from server.audit.leaf import Plain
from server.audit.sealing import Vault
from server.caller import AuthMethod, Caller, Role
from server.chat import conversations, runs
from server.chat.access import new_id
from server.chat.assistant import Answered, AnswerKind, Intent, Usage
from server.chat.conversations import NewMessage, StoredCitation
from server.chat.events import Cancelled, Completed, Event, Failed, Interrupted, Spent, TextDone
from server.chat.runlog import RunLog
from server.chat.runs import Ending, Run, RunState
from server.chat.task import Task
from server.db.pool import Connection, Database
from server.errors import AppError, Code, Reason

log = logging.getLogger(__name__)

_PAUSE = 0.5  # seconds between tries to store an answer while PostgreSQL is away


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer ended, before it is stored."""

    state: RunState
    text: str = ""
    citations: tuple[StoredCitation, ...] = ()
    proposal: str = ""
    usage: Usage = field(default_factory=Usage)
    time_to_first_token_ms: int = 0
    answered: Answered | None = None
    error: AppError | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """Settles one run, for at most `patience` seconds while PostgreSQL is away."""

    database: Database
    vault: Vault
    shown: Shown
    task: Task
    log: RunLog
    owner: str
    patience: float

    async def settle(self, outcome: Outcome) -> Event:
        """Stores the outcome, writes the closing events, and returns the terminal event.

        Raises AppError when PostgreSQL stayed away: then nothing is stored, and the lease ends the run.
        """
        closing: list[Event] = []
        if outcome.state is RunState.COMPLETED:
            closing.append(TextDone(hashlib.sha256(outcome.text.encode()).hexdigest()))
        closing.append(Spent(outcome.usage, outcome.time_to_first_token_ms))
        last_seq = self.log.last_seq + len(closing) + 1
        answer = new_id()
        if not await self._store_with_patience(outcome, last_seq, answer):
            return Interrupted(retryable=True)
        for event in closing:
            self.log.append(event)
        return _terminal(self.task, outcome, answer)

    async def _store_with_patience(self, outcome: Outcome, last_seq: int, answer: str) -> bool:
        deadline = time.monotonic() + self.patience
        while True:
            try:
                return await self._store(outcome, last_seq, answer)
            except AppError as problem:
                if problem.code is not Code.UNAVAILABLE or time.monotonic() > deadline:
                    raise
                log.warning("answer waits for the database: %s", problem.reason, extra={"run": self.task.run.name})
                await asyncio.sleep(_PAUSE)

    async def _store(self, outcome: Outcome, last_seq: int, answer: str) -> bool:
        """True when the run was settled so, by this attempt or by one whose commit was in doubt."""
        tenant, conversation, run = self.task.caller.tenant, self.task.conversation.id, self.task.run
        said = answer if outcome.text else None
        async with self.database.transaction() as connection:
            # The run's row says whose the run is; it comes first, so that a run that was lost stores nothing.
            ending = _ending(outcome, last_seq, said)
            if not await runs.end_run(connection, tenant, conversation, run.id, self.owner, ending):
                stored = await runs.get_run(connection, tenant, conversation, run.id)
                return stored is not None and (stored.state, stored.last_seq) == (outcome.state, last_seq)
            if said:
                message = _message(outcome, run.id, answer, self.task.caller.person)
                await conversations.insert_message(connection, self.vault, tenant, conversation, message)
            author = Author(self.task.caller, self.task.request, self.shown)
            targets = (run.name, f"{self.task.conversation.name}/messages/{answer}") if said else (run.name,)
            await author.record(connection, Action.AI_DECISION, targets, _decision(outcome))
        return True


async def record_lost(connection: Connection, shown: Shown, lost: Sequence[tuple[str, str]]) -> None:
    """The decision leaves of runs whose process is gone: what they cost died with it."""
    for tenant, run in lost:
        system = Caller(tenant, "system:runner", frozenset({Role.SERVICE}), AuthMethod.NONE)
        details = {"state": RunState.INTERRUPTED.value, "cost": "unknown"}
        await Author(system, None, shown).record(connection, Action.AI_DECISION, (run,), details)


def stored_terminal(run: Run, answer: conversations.Message | None) -> Event:
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


def _ending(outcome: Outcome, last_seq: int, answer: str | None) -> Ending:
    error = outcome.error if outcome.state is RunState.FAILED else None
    return Ending(
        outcome.state,
        last_seq,
        outcome.usage,
        outcome.time_to_first_token_ms,
        answer,
        error.code.value if error else None,
        error.reason if error else None,
        error.message if error else None,
    )


def _message(outcome: Outcome, run: str, answer: str, person: str) -> NewMessage:
    answered = outcome.answered if outcome.state is RunState.COMPLETED else None
    return NewMessage(
        answer,
        "ASSISTANT",
        outcome.text,
        run,
        "COMPLETE" if answered else "PARTIAL",
        intent=answered.intent if answered else None,
        answer_kind=answered.kind if answered else None,
        confidence=answered.confidence if answered else 0.0,
        citations=outcome.citations,
        proposal=outcome.proposal,
        person=person,
    )


def _decision(outcome: Outcome) -> dict[str, Plain]:
    """What the audit keeps of a run: enough to say why it said that, nothing of what was said."""
    answered, usage = outcome.answered, outcome.usage
    details: dict[str, Plain] = {
        "state": outcome.state,
        "model": usage.model,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_micros": usage.cost_micros,
        "currency": usage.currency,
        "estimated": str(usage.estimated).lower(),
        "chunks": " ".join(citation.chunk for citation in outcome.citations),
    }
    if outcome.proposal:
        details["proposal"] = f"proposals/{outcome.proposal}"
    if outcome.state is RunState.COMPLETED and answered:
        details |= {"answer_kind": answered.kind, "intent": answered.intent}
        details |= {"cache": "hit", "saved_micros": usage.saved_micros} if answered.cached else {}
        details |= {"prompt": answered.prompt, "arm": answered.arm} if answered.prompt else {}
    elif outcome.state is RunState.FAILED and outcome.error:
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
