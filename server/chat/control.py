"""Who speaks for the desk: asking for a person, taking over, writing as staff, handing back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from server.audit.actions import Action
from server.audit.changes import Author
from server.audit.leaf import Plain
from server.audit.sealing import Vault
from server.chat import conversations, hand_offs
from server.chat.access import conversation_id, new_id, outlet_scope
from server.chat.conversations import ControllerMoved, Conversation, Message, NewMessage
from server.chat.events import Controller
from server.chat.hand_off import HandOffReason
from server.chat.hand_offs import Wanted
from server.chat.intents import classify
from server.chat.runner import Runner
from server.db.pool import Connection, Database
from server.errors import AppError, Code, Reason, not_found
from server.idempotency import Idempotency, Once, once


class Control:
    """The use cases behind RequestHuman, TakeOver, SendStaffMessage and HandBack. `now` is the clock, in UTC."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        runner: Runner,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._vault = vault
        self._runner = runner
        self._now = now

    async def request_human(self, author: Author, name: str, note: str, idempotency: Idempotency[Conversation]) -> Once:
        """The conversation waits for a person, unless it does already or one speaks; then a first note is kept. Raises
        NOT_FOUND."""
        now = self._now()
        reason = HandOffReason.FOOD_SAFETY if note and classify(note).food_safety else HandOffReason.ASKED

        async def asked(connection: Connection, held: Conversation) -> Conversation:
            tenant = author.caller.tenant
            wanted = Wanted(reason, now, note, author.caller.person)
            if held.controller is Controller.ASSISTANT:
                held = await hand_offs.ask(connection, self._vault, tenant, held, wanted)
            elif held.controller is Controller.WAITING_FOR_STAFF and note:
                await hand_offs.add_note(connection, self._vault, tenant, held, wanted)
                if reason is HandOffReason.FOOD_SAFETY:
                    await hand_offs.raise_level(connection, tenant, held.id, reason, now)
            details = _facts(held) | {"reason": reason.value, "level": reason.level}
            await author.record(connection, Action.HUMAN_REQUEST, (held.name,), details)
            return held

        return await self._change(author, name, idempotency, asked)

    async def take_over(self, author: Author, name: str, epoch: int, idempotency: Idempotency[Conversation]) -> Once:
        """The caller speaks from now on. Raises NOT_FOUND, and ABORTED (CONTROLLER_CHANGED) when the epoch has moved
        since the caller saw it."""
        now = self._now()

        async def taken(connection: Connection, held: Conversation) -> Conversation:
            caller = author.caller
            if held.controller_epoch != epoch:
                raise _moved(held)
            if held.controller is Controller.STAFF and held.holder == caller.person:
                return held
            wanted = Wanted(HandOffReason.STEPPED_IN, now, person=caller.person)
            held = await hand_offs.take(connection, self._vault, caller.tenant, held, wanted)
            await author.record(connection, Action.CONTROL_TAKE, (held.name,), _facts(held))
            return held

        return await self._change(author, name, idempotency, taken)

    async def hand_back(self, author: Author, name: str, epoch: int, idempotency: Idempotency[Conversation]) -> Once:
        """The assistant speaks again. Raises NOT_FOUND, and ABORTED (CONTROLLER_CHANGED) for everybody but who has
        taken over under this epoch."""

        async def returned(connection: Connection, held: Conversation) -> Conversation:
            if not _speaks(author, held, epoch):
                raise _moved(held)
            held = await hand_offs.give_back(connection, author.caller.tenant, held)
            await author.record(connection, Action.CONTROL_RETURN, (held.name,), _facts(held))
            return held

        return await self._change(author, name, idempotency, returned)

    async def send(self, author: Author, name: str, text: str, epoch: int, idempotency: Idempotency[Message]) -> Once:
        """Stores what staff say. Raises NOT_FOUND, and ABORTED (CONTROLLER_CHANGED) as `hand_back`."""
        caller = author.caller
        try:
            async with self._database.transaction() as connection:

                async def produce() -> Message:
                    held = await self._lock(connection, author, name)
                    new = NewMessage(new_id(), "STAFF", text, "", person=held.person, epoch=epoch, holder=caller.person)
                    said = await conversations.insert_message(connection, self._vault, caller.tenant, held.id, new)
                    targets = (held.name, f"{held.name}/messages/{said.id}")
                    details = _facts(held) | {"characters": len(text)}
                    await author.record(connection, Action.STAFF_MESSAGE_SEND, targets, details)
                    return said

                return await once(connection, caller, idempotency, produce)
        except ControllerMoved as moved:
            async with self._database.connection() as connection:
                held = await conversations.get_conversation(
                    connection, self._vault, caller.tenant, conversation_id(name), ""
                )
            if held is None:
                raise not_found(name) from moved
            raise _moved(held) from moved

    async def _change(
        self,
        author: Author,
        name: str,
        idempotency: Idempotency[Conversation],
        change: Callable[[Connection, Conversation], Awaitable[Conversation]],
    ) -> Once:
        tenant = author.caller.tenant
        changed: list[Conversation] = []
        async with self._database.transaction() as connection:

            async def produce() -> Conversation:
                changed.append(await change(connection, await self._lock(connection, author, name)))
                [shown] = await hand_offs.with_them(connection, self._vault, tenant, changed, self._now())
                return shown

            answer = await once(connection, author.caller, idempotency, produce)
        for held in changed:
            # Every process is told by the notification, this one at once. No row of a run is touched: its owner
            # compares the epoch when it starts, renews and settles it.
            self._runner.silence(tenant, held.id, held.controller_epoch)
        return answer

    async def _lock(self, connection: Connection, author: Author, name: str) -> Conversation:
        caller = author.caller
        held = await conversations.lock_conversation(
            connection, self._vault, caller.tenant, conversation_id(name), outlet_scope(caller)
        )
        if held is None:
            raise not_found(name)
        return held


def _speaks(author: Author, held: Conversation, epoch: int) -> bool:
    return (held.controller, held.controller_epoch, held.holder) == (Controller.STAFF, epoch, author.caller.person)


def _facts(held: Conversation) -> dict[str, Plain]:
    return {"controller": held.controller.value, "controller_epoch": held.controller_epoch}


def _moved(held: Conversation) -> AppError:
    metadata = {"controller": held.controller.value, "controller_epoch": str(held.controller_epoch)}
    if held.holder:
        metadata["holder"] = held.holder
    return AppError(
        Code.ABORTED, Reason.CONTROLLER_CHANGED, "somebody else speaks in this conversation now", metadata=metadata
    )
