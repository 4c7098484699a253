"""Conversations: making, reading and listing them, and stopping runs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from server.audit.actions import Action
from server.audit.recorder import AuditRecorder
from server.audit.sealing import Vault
from server.caller import Caller, Request
from server.chat import conversations, hand_offs, messages, runs
from server.chat.access import conversation_id, new_id, outlet_scope, outlet_to_write_for, run_ids
from server.chat.conversations import Conversation, NewConversation
from server.chat.events import Controller
from server.chat.following import Following
from server.chat.messages import Message
from server.chat.runner import Runner
from server.chat.runs import Run
from server.chat.tickets import Ticket, Tickets
from server.db.pool import Database
from server.errors import not_found
from server.idempotency import Idempotency, Once, once
from server.paging import Page, PageTokens, page_size

_PAGE_BYTES = 3 * 1024 * 1024  # below the 4 MiB that a message may have on the wire
_MESSAGE_OVERHEAD = 1024
_STOP_PATIENCE = 5.0  # seconds for another process to stop a run
_POLL = 0.1


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """Conversations, newest first, and where the next page begins (empty at the end)."""

    conversations: list[Conversation]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages, oldest first, and where the next page begins (empty at the end)."""

    messages: list[Message]
    next_page_token: str


class ConversationService:
    """The use cases behind the reading and managing RPCs of ChatService."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        audit: AuditRecorder,
        tokens: PageTokens,
        runner: Runner,
        following: Following,
    ) -> None:
        self._database = database
        self._vault = vault
        self._audit = audit
        self._tokens = tokens
        self._runner = runner
        self._following = following

    async def create(
        self,
        caller: Caller,
        request: Request,
        outlet: str,
        title: str,
        locale: str,
        idempotency: Idempotency[Conversation],
    ) -> Once:
        """A new conversation of the caller's outlet, or of the outlet that staff name."""
        own = outlet_to_write_for(caller, outlet)
        async with self._database.transaction() as connection:

            async def produce() -> Conversation:
                new = NewConversation(new_id(), own, caller.person, title, locale)
                made = await conversations.insert_conversation(connection, self._vault, caller.tenant, new)
                if made is None:
                    raise RuntimeError("a random id came twice")
                await self._audit.record_change(
                    connection,
                    caller=caller,
                    request=request,
                    action=Action.CONVERSATION_CREATE,
                    targets=(made.name,),
                    details={"outlet": own},
                )
                return made

            return await once(connection, caller, idempotency, produce)

    async def get(self, caller: Caller, name: str) -> Conversation:
        """Raises NOT_FOUND, also for what belongs to another tenant or outlet."""
        async with self._database.connection() as connection:
            found = await conversations.get_conversation(
                connection, self._vault, caller.tenant, conversation_id(name), outlet_scope(caller)
            )
            if found is None:
                raise not_found(name)
            [shown] = await hand_offs.with_them(connection, self._vault, caller.tenant, [found], datetime.now(UTC))
            return shown

    async def list(
        self, caller: Caller, outlet: str, size: int, token: str, speaks: Controller | None = None
    ) -> ConversationPage:
        """Newest first, those that wait for staff in the order in which they are to be taken over. A customer's own
        outlet is always meant."""
        scope = outlet_scope(caller) or outlet.removeprefix("outlets/")
        query = f"ListConversations {caller.tenant} {scope} {speaks or ''}".rstrip()
        page = self._tokens.read(query, token, page_size(size))
        if speaks is Controller.WAITING_FOR_STAFF:
            return await self._queue(caller.tenant, scope, query, page)
        after = (datetime.fromisoformat(page.after[0]), page.after[1]) if page.after else None
        async with self._database.connection() as connection:
            found = await conversations.list_conversations(
                connection, self._vault, caller.tenant, scope, after, page.size + 1, speaks or ""
            )
            more = len(found) > page.size
            shown = await hand_offs.with_them(
                connection, self._vault, caller.tenant, found[: page.size], datetime.now(UTC)
            )
        last = (shown[-1].create_time.isoformat(), shown[-1].id) if more else ()
        return ConversationPage(shown, self._tokens.make(query, last) if more else "")

    async def _queue(self, tenant: str, scope: str, query: str, page: Page) -> ConversationPage:
        after = None
        if page.after:
            after = (int(page.after[0]), datetime.fromisoformat(page.after[1]), page.after[2])
        async with self._database.connection() as connection:
            places = await hand_offs.queue(connection, tenant, scope, after, page.size + 1)
            ids = [id for _, _, id in places[: page.size]]
            found = await conversations.get_conversations(connection, self._vault, tenant, ids)
            shown = await hand_offs.with_them(connection, self._vault, tenant, found, datetime.now(UTC))
        if len(places) <= page.size:
            return ConversationPage(shown, "")
        level, time, id = places[page.size - 1]
        return ConversationPage(shown, self._tokens.make(query, (str(level), time.isoformat(), id)))

    async def messages(self, caller: Caller, parent: str, size: int, token: str) -> MessagePage:
        """Oldest first. Raises NOT_FOUND."""
        conversation = await self.get(caller, parent)
        query = f"ListMessages {caller.tenant} {conversation.id}"
        page = self._tokens.read(query, token, page_size(size))
        after = int(page.after[0]) if page.after else 0
        async with self._database.connection() as connection:
            found = await messages.list_messages(
                connection, self._vault, caller.tenant, conversation.id, after, page.size + 1
            )
        shown = _within_budget(found[: page.size])
        more = len(found) > len(shown)
        return MessagePage(shown, self._tokens.make(query, (str(shown[-1].ordinal),)) if more else "")

    async def cancel_run(self, caller: Caller, request: Request, name: str) -> Run:
        """Stops a run and waits until it is settled, whichever process has it; one that has ended is returned as it
        ended. A run whose process does not answer is returned as it is: its lease ends it."""
        run = await self._following.get(caller, name)
        if run.state.final:
            return run
        conversation, run_id = run_ids(name)
        async with self._database.transaction() as connection:
            await runs.request_cancel(connection, caller.tenant, conversation, run_id)
            await self._audit.record_change(
                connection, caller=caller, request=request, action=Action.RUN_CANCEL, targets=(name,), details={}
            )
        if self._runner.cancel(caller.tenant, name):
            await self._runner.wait(caller.tenant, name)
        deadline = time.monotonic() + _STOP_PATIENCE
        while True:
            run = await self._following.get(caller, name)
            if run.state.final or time.monotonic() > deadline:
                return run
            await asyncio.sleep(_POLL)

    async def stream_ticket(self, caller: Caller, request: Request, run: str, tickets: Tickets) -> Ticket:
        """A ticket for the run's event stream. Raises NOT_FOUND, and STORE_UNAVAILABLE without Redis."""
        await self._following.get(caller, run)
        async with self._database.transaction() as connection:
            await self._audit.record_change(
                connection, caller=caller, request=request, action=Action.STREAM_TICKET_CREATE, targets=(run,),
                details={},
            )  # fmt: skip
            return await tickets.issue(caller, run)

    async def stop_unwatched(self, caller: Caller, name: str) -> None:
        """Stops a run whose caller hung up and had asked for that."""
        if not self._runner.cancel(caller.tenant, name):
            conversation, run_id = run_ids(name)
            async with self._database.connection() as connection:
                await runs.request_cancel(connection, caller.tenant, conversation, run_id)


def _within_budget(messages: list[Message]) -> list[Message]:
    """As many of the messages as one answer can carry, at least one: a page may be shorter than asked (AIP-158)."""
    size = 0
    for place, message in enumerate(messages):
        size += 2 * len(message.text.encode()) + _MESSAGE_OVERHEAD  # its citations quote what others wrote
        if size > _PAGE_BYTES and place:
            return messages[:place]
    return messages
