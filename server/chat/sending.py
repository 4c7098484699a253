"""Taking a customer's message: stored together with the run that will answer it, or attached to the run it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from server.audit.actions import Action
from server.audit.leaf import Plain
from server.audit.recorder import AuditRecorder
from server.audit.sealing import Vault
from server.caller import Caller, Request
from server.chat import conversations, feed, hand_offs, messages, runs
from server.chat.access import conversation_id, new_id, outlet_scope, outlet_to_write_for
from server.chat.conversations import Conversation, NewConversation
from server.chat.events import Controller
from server.chat.hand_off import HandOffReason
from server.chat.intents import classify
from server.chat.messages import Message, NewMessage
from server.chat.runner import UNANSWERED_EVENTS, Runner
from server.chat.runs import Run
from server.chat.task import Task, seal_asker
from server.db.pool import Connection, Database
from server.errors import AppError, Code, Reason, not_found


class OnBusy(StrEnum):
    """What happens to a message that comes while a run of its conversation is going on."""

    ENQUEUE = "ENQUEUE"
    REJECT = "REJECT"
    INTERRUPT = "INTERRUPT"
    MERGE = "MERGE"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A customer's message as it came."""

    text: str
    client_message_id: str = ""
    locale: str = ""
    on_busy: OnBusy = OnBusy.ENQUEUE


@dataclass(frozen=True, slots=True)
class Accepted:
    """Where the answer can be followed. `attached` when the message had been sent before."""

    conversation: Conversation
    run: Run
    attached: bool


class Sending:
    """The use case behind SendMessage, Chat and StreamChat."""

    def __init__(self, database: Database, vault: Vault, audit: AuditRecorder, runner: Runner) -> None:
        self._database = database
        self._vault = vault
        self._audit = audit
        self._runner = runner

    async def send(self, caller: Caller, request: Request, conversation: str, incoming: Incoming) -> Accepted:
        """Stores the message in an existing conversation and starts its run; once begun it is done to the end, also
        when the caller hangs up.

        Raises NOT_FOUND, CONVERSATION_BUSY (with REJECT), ALREADY_EXISTS for a client_message_id that came before with
        another text.
        """
        return await self._runner.whole(self._send(caller, request, conversation, incoming))

    async def send_in_session(
        self, caller: Caller, request: Request, outlet: str, session_id: str, incoming: Incoming
    ) -> Accepted:
        """The same in the conversation of the caller's session, which is made when there is none.

        Without a session id, a client_message_id stands for one, so that a repeat finds the run that it started.
        """
        own = outlet_to_write_for(caller, outlet)
        if not session_id and incoming.client_message_id:
            session_id = f"message:{caller.subject}:{incoming.client_message_id}"
        return await self._runner.whole(self._send_in_session(caller, request, own, session_id, incoming))

    async def _send(self, caller: Caller, request: Request, conversation: str, incoming: Incoming) -> Accepted:
        async with self._database.transaction() as connection:
            held = await conversations.lock_conversation(
                connection, self._vault, caller.tenant, conversation_id(conversation), outlet_scope(caller)
            )
            if held is None:
                raise not_found(conversation)
            accepted, task, replaced = await self._store(connection, caller, request, held, incoming)
        return self._begin(accepted, task, replaced)

    async def _send_in_session(
        self, caller: Caller, request: Request, outlet: str, session_id: str, incoming: Incoming
    ) -> Accepted:
        vault = self._vault
        async with self._database.transaction() as connection:
            new = NewConversation(new_id(), outlet, caller.person, locale=incoming.locale, session=session_id)
            made = await conversations.insert_conversation(connection, vault, caller.tenant, new)
            held = made or await conversations.get_session(connection, vault, caller.tenant, outlet, session_id)
            if held is None:
                raise RuntimeError("a session neither made nor found")
            held = await conversations.lock_conversation(connection, vault, caller.tenant, held.id, outlet)
            if held is None:
                raise RuntimeError("a conversation vanished inside its transaction")
            accepted, task, replaced = await self._store(connection, caller, request, held, incoming)
        return self._begin(accepted, task, replaced)

    async def _store(
        self, connection: Connection, caller: Caller, request: Request, held: Conversation, incoming: Incoming
    ) -> tuple[Accepted, Task | None, Sequence[Run]]:
        if known := await self._known(connection, caller.tenant, held, incoming):
            return known, None, ()
        if held.controller is not Controller.ASSISTANT:
            return await self._store_for_a_person(connection, caller, request, held, incoming)
        active = await runs.active_runs(connection, caller.tenant, held.id)
        self._check_busy(active, incoming.on_busy)
        if joined := await self._join(connection, caller, request, held, incoming, active):
            return joined, None, ()
        settings, run_id, locale = self._runner.settings, new_id(), incoming.locale or held.locale
        message = await self._insert(connection, caller, held, incoming, run_id)
        asker = await seal_asker(connection, self._vault, caller, request, run_id, locale)
        run = await runs.insert_run(
            connection, caller.tenant, run_id, message, self._runner.owner, settings.lease, asker
        )
        await feed.run_started(connection, caller.tenant, held.id, run_id)
        await self._record(connection, caller, request, held, run, incoming)
        window = settings.window if incoming.on_busy is OnBusy.MERGE else 0.0
        task = Task(caller, request, held, message, run, locale, len(active), window)
        replaced = active if incoming.on_busy is OnBusy.INTERRUPT else ()
        for other in replaced:
            await runs.request_cancel(connection, caller.tenant, held.id, other.id)
            await self._audit.record_change(
                connection, caller=caller, request=request, action=Action.RUN_CANCEL, targets=(other.name,), details={}
            )
        return Accepted(held, run, attached=False), task, replaced

    async def _join(
        self,
        connection: Connection,
        caller: Caller,
        request: Request,
        held: Conversation,
        incoming: Incoming,
        active: Sequence[Run],
    ) -> Accepted | None:
        """With MERGE, the newest run of the conversation answers this message too, if it has not said anything yet."""
        if incoming.on_busy is not OnBusy.MERGE or not active:
            return None
        run = active[-1]
        if not await runs.may_join(connection, caller.tenant, run, held.controller_epoch):
            return None
        message = await self._insert(connection, caller, held, incoming, run.id)
        await runs.join(connection, caller.tenant, held.id, run.id, message.ordinal)
        await self._record(connection, caller, request, held, run, incoming)
        return Accepted(held, run, attached=True)

    async def _store_for_a_person(
        self, connection: Connection, caller: Caller, request: Request, held: Conversation, incoming: Incoming
    ) -> tuple[Accepted, Task, Sequence[Run]]:
        """The message waits for staff or is for the one who speaks; its run is over at once."""
        run_id = new_id()
        message = await self._insert(connection, caller, held, incoming, run_id)
        run = await runs.insert_unanswered(
            connection, caller.tenant, run_id, message, self._runner.owner, UNANSWERED_EVENTS
        )
        urgent = HandOffReason.FOOD_SAFETY
        waits = held.controller is Controller.WAITING_FOR_STAFF
        if waits and classify(incoming.text).food_safety:
            await hand_offs.raise_level(connection, caller.tenant, held.id, urgent, message.create_time)
        await self._record(connection, caller, request, held, run, incoming)
        task = Task(caller, request, held, message, run, incoming.locale or held.locale, waits=0)
        return Accepted(held, run, attached=False), task, ()

    async def _insert(
        self, connection: Connection, caller: Caller, held: Conversation, incoming: Incoming, run: str
    ) -> Message:
        client_id = incoming.client_message_id or None
        message = NewMessage(
            new_id(), "CUSTOMER", incoming.text, run, client_message_id=client_id, person=caller.person
        )
        return await messages.insert_message(connection, self._vault, caller.tenant, held.id, message)

    async def _record(
        self,
        connection: Connection,
        caller: Caller,
        request: Request,
        held: Conversation,
        run: Run,
        incoming: Incoming,
    ) -> None:
        details: dict[str, Plain] = {"characters": len(incoming.text)}
        if held.controller is not Controller.ASSISTANT:
            details["controller"] = held.controller.value
        await self._audit.record_change(
            connection,
            caller=caller,
            request=request,
            action=Action.MESSAGE_SEND,
            targets=(held.name, run.name),
            details=details,
        )

    async def _known(
        self, connection: Connection, tenant: str, held: Conversation, incoming: Incoming
    ) -> Accepted | None:
        """The run that a message with this client_message_id started, if there is one."""
        if not incoming.client_message_id:
            return None
        message: Message | None = await messages.get_message_by_client_id(
            connection, self._vault, tenant, held.id, incoming.client_message_id
        )
        if message is None or message.run is None:
            return None
        if message.text != incoming.text:
            raise AppError(
                Code.ALREADY_EXISTS,
                Reason.IDEMPOTENCY_KEY_REUSED,
                "this client_message_id was used with another text",
                metadata={"client_message_id": incoming.client_message_id},
            )
        run = await runs.get_run(connection, tenant, held.id, message.run)
        if run is None:
            raise RuntimeError("a message without the run that was stored with it")
        return Accepted(held, run, attached=True)

    def _check_busy(self, active: Sequence[Run], on_busy: OnBusy) -> None:
        if active and on_busy is OnBusy.REJECT:
            raise AppError(
                Code.FAILED_PRECONDITION,
                Reason.CONVERSATION_BUSY,
                "a run is going on in this conversation",
                metadata={"run": active[0].name},
            )

    def _begin(self, accepted: Accepted, task: Task | None, replaced: Sequence[Run]) -> Accepted:
        """Only after the commit: what a follower sees is stored."""
        if task is not None and task.run.state.final:
            self._runner.leave_unanswered(task)
        elif task is not None:
            for run in replaced:
                self._runner.cancel(task.caller.tenant, run.name)
            self._runner.start(task)
        return accepted
