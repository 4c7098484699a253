"""The end of a run, stored in one transaction: its state and cost, what was said, and the decision leaf."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from server.audit.actions import Action
from server.audit.actor import Shown
from server.audit.changes import Author
from server.audit.leaf import Plain
from server.audit.sealing import Vault
from server.caller import AuthMethod, Caller, Role
from server.chat import conversations, hand_offs, messages, runs
from server.chat.access import new_id
from server.chat.assistant import Answered, AnswerKind, Intent, Usage
from server.chat.conversations import Conversation
from server.chat.decision import Decision, security_details
from server.chat.events import (
    Cancelled,
    Completed,
    Controller,
    ControllerChanged,
    Event,
    Failed,
    Interrupted,
    Spent,
    TextDone,
)
from server.chat.hand_off import HandOffReason
from server.chat.hand_offs import Wanted
from server.chat.intents import classify
from server.chat.leases import Leased
from server.chat.messages import NewMessage, StoredCitation
from server.chat.runlog import RunLog
from server.chat.runs import Ending, Run, RunState
from server.chat.task import NewerMessage, RunLost, Task
from server.db.pool import Connection, Database
from server.errors import AppError, Code, Reason

log = logging.getLogger(__name__)

_ANSWERS = {RunState.COMPLETED, RunState.FAILED}
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
    told: bool = False
    decision: Decision = field(default_factory=Decision)
    silenced: ControllerChanged | None = None

    @property
    def hands_off(self) -> bool:
        return (
            self.state is RunState.COMPLETED
            and self.answered is not None
            and (self.answered.kind is AnswerKind.HANDED_OFF)
        )


class _Silenced(Exception):
    """Somebody else speaks for the desk now: of the answer only the cost is stored."""

    def __init__(self, changed: ControllerChanged) -> None:
        super().__init__(changed.reason)
        self.changed = changed


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

        An answer that began under another controller is not stored, whatever was told of it. Raises AppError when
        PostgreSQL stayed away: then nothing is stored, and the lease ends the run; RunLost, and NewerMessage where
        nothing was told yet.
        """
        self.log.closing = True
        try:
            return await self._settle(outcome)
        except _Silenced as silenced:
            return await self._settle(_unsaid(outcome, silenced.changed))
        finally:
            self.log.closing = False

    async def _settle(self, outcome: Outcome) -> Event:
        closing: list[Event] = []
        if outcome.state is RunState.COMPLETED:
            closing.append(TextDone(hashlib.sha256(outcome.text.encode()).hexdigest()))
        if changed := outcome.silenced or self._hands_off(outcome):
            closing.append(changed)
        # Cost and terminal are the last two, as when they are told from what is stored (server/chat/following.py).
        closing.append(Spent(outcome.usage, outcome.time_to_first_token_ms))
        last_seq = self.log.last_seq + len(closing) + 1
        answer = new_id()
        await self._store_with_patience(outcome, last_seq, answer)
        for event in closing:
            self.log.append(event)
        return _terminal(self.task, outcome, answer)

    async def _store_with_patience(self, outcome: Outcome, last_seq: int, answer: str) -> None:
        deadline = time.monotonic() + self.patience
        while True:
            try:
                await self._store(outcome, last_seq, answer)
            except AppError as problem:
                if problem.code is not Code.UNAVAILABLE or time.monotonic() > deadline:
                    raise
                log.warning("answer waits for the database: %s", problem.reason, extra={"run": self.task.run.name})
            else:
                return
            await asyncio.sleep(_PAUSE)

    async def _store(self, outcome: Outcome, last_seq: int, answer: str) -> None:
        """Returns when the run was settled so, by this attempt or by one whose commit was in doubt."""
        tenant, conversation, run = self.task.caller.tenant, self.task.conversation.id, self.task.run
        said = answer if outcome.text else None
        newest = run.newest if not outcome.told and outcome.state in _ANSWERS else None
        async with self.database.transaction() as connection:
            # Whoever writes to a conversation locks it before its runs: a message that is being merged is seen, and who
            # speaks for the desk stays so. Then the run's row, which says whose the run is: one that was lost stores
            # nothing.
            held = await conversations.lock_conversation(connection, self.vault, tenant, conversation, "")
            ending = _ending(outcome, last_seq, said, newest)
            if not await runs.end_run(connection, self.task.lease, self.owner, ending):
                self._check(await runs.get_run(connection, tenant, conversation, run.id), outcome, last_seq)
                return
            if held is None:
                raise RuntimeError("a run without its conversation")
            if outcome.silenced is None:
                self._check_speaks(held)
            if said:
                message = _message(outcome, run, answer, self.task.caller.person)
                await messages.insert_message(connection, self.vault, tenant, conversation, message)
            author = Author(self.task.caller, self.task.request, self.shown)
            if outcome.hands_off:
                await self._hand_off(connection, author, held, outcome)
            targets = (run.name, f"{self.task.conversation.name}/messages/{answer}") if said else (run.name,)
            await author.record(connection, Action.AI_DECISION, targets, _decision(outcome))
            await self._record_suspects(connection, author, outcome.decision)

    def _check(self, stored: Run | None, outcome: Outcome, last_seq: int) -> None:
        """Why the run could not be settled; returns when it is settled so already."""
        mine = stored is not None and (stored.owner, stored.epoch) == (self.owner, self.task.run.epoch)
        if stored is None or not mine:
            raise RunLost
        if not stored.state.final:
            raise NewerMessage
        if (stored.state, stored.last_seq) != (outcome.state, last_seq):
            raise RunLost

    def _check_speaks(self, held: Conversation) -> None:
        epoch = self.task.run.controller_epoch
        if (held.controller, held.controller_epoch) != (Controller.ASSISTANT, epoch):
            reason = held.controller_reason
            raise _Silenced(ControllerChanged(Controller.ASSISTANT, held.controller, held.controller_epoch, reason))

    def _hands_off(self, outcome: Outcome) -> ControllerChanged | None:
        if not outcome.hands_off:
            return None
        reason, epoch = self._why(outcome).told, self.task.run.controller_epoch + 1
        return ControllerChanged(Controller.ASSISTANT, Controller.WAITING_FOR_STAFF, epoch, reason)

    async def _hand_off(self, connection: Connection, author: Author, held: Conversation, outcome: Outcome) -> None:
        """What the answer said becomes true: the conversation waits for a person."""
        tenant, reason = self.task.caller.tenant, self._why(outcome)
        wanted = Wanted(reason, datetime.now(UTC), person=self.task.caller.person)
        waiting = await hand_offs.ask(connection, self.vault, tenant, held, wanted)
        details: dict[str, Plain] = {
            "controller": waiting.controller.value,
            "controller_epoch": waiting.controller_epoch,
            "reason": reason.value,
            "level": reason.level,
        }
        await author.record(connection, Action.HUMAN_REQUEST, (held.name, self.task.run.name), details)

    def _why(self, outcome: Outcome) -> HandOffReason:
        """As the assistant says; where it does not, as the message and its intent do."""
        answered = outcome.answered
        if classify(self.task.message.text).food_safety:
            return HandOffReason.FOOD_SAFETY
        if answered is not None and answered.why is not None:
            return answered.why
        intent = answered.intent if answered else Intent.OTHER
        return _REASONS.get(intent, HandOffReason.LOW_CONFIDENCE)

    async def _record_suspects(self, connection: Connection, author: Author, decision: Decision) -> None:
        """A leaf for each text that seemed to speak to a model, without the text."""
        for suspected in decision.suspects:
            keyed = self.shown.text(self.task.caller.tenant, suspected.text) if suspected.text else ""
            details = security_details(suspected, suspected.fingerprint or keyed)
            message = f"{self.task.conversation.name}/messages/{self.task.message.id}"
            targets = (self.task.run.name, suspected.target or message)
            await author.record(connection, Action.INJECTION_SUSPECT, targets, details)


_REASONS = {Intent.HAND_OFF: HandOffReason.ASKED, Intent.COMPLAINT: HandOffReason.COMPLAINT}


async def record_lost(connection: Connection, shown: Shown, lost: Sequence[Leased]) -> None:
    """The decision leaves of runs whose process is gone: what they cost died with it."""
    for run in lost:
        system = Caller(run.tenant, "system:runner", frozenset({Role.SERVICE}), AuthMethod.NONE)
        details = {"state": RunState.INTERRUPTED.value, "cost": "unknown"}
        await Author(system, None, shown).record(connection, Action.AI_DECISION, (run.name,), details)


def stored_terminal(run: Run, answer: messages.Message | None) -> Event:
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
    if run.state is RunState.COMPLETED:
        return Completed(AnswerKind.HANDED_OFF, "", Intent.OTHER, 0.0, "")  # a person answers
    return Interrupted(retryable=True)


def _unsaid(outcome: Outcome, changed: ControllerChanged) -> Outcome:
    """What is left of an answer when somebody else speaks for the desk: what it cost."""
    return Outcome(
        RunState.CANCELLED,
        usage=outcome.usage,
        time_to_first_token_ms=outcome.time_to_first_token_ms,
        told=outcome.told,
        silenced=changed,
    )


def _ending(outcome: Outcome, last_seq: int, answer: str | None, newest: int | None) -> Ending:
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
        newest,
    )


def added(first: Usage, second: Usage) -> Usage:
    """What two attempts at one answer cost together."""
    if not (first.input_tokens or first.output_tokens):
        return second
    return replace(
        second,
        input_tokens=first.input_tokens + second.input_tokens,
        cached_input_tokens=first.cached_input_tokens + second.cached_input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
        reasoning_tokens=first.reasoning_tokens + second.reasoning_tokens,
        cost_micros=first.cost_micros + second.cost_micros,
        estimated=first.estimated or second.estimated,
    )


def _message(outcome: Outcome, run: Run, answer: str, person: str) -> NewMessage:
    answered = outcome.answered if outcome.state is RunState.COMPLETED else None
    return NewMessage(
        answer,
        "ASSISTANT",
        outcome.text,
        run.id,
        "COMPLETE" if answered else "PARTIAL",
        intent=answered.intent if answered else None,
        answer_kind=answered.kind if answered else None,
        confidence=answered.confidence if answered else 0.0,
        citations=outcome.citations,
        proposal=outcome.proposal,
        person=person,
        epoch=run.controller_epoch,
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
    details |= outcome.decision.details()
    if outcome.silenced:
        details["silenced_by"] = outcome.silenced.now.value
    if outcome.proposal:
        # A person's confirmation is a leaf of its own, on the same proposal.
        details |= {"proposal": f"proposals/{outcome.proposal}", "approval": "OPEN"}
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
