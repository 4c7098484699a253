"""Conversations and messages in PostgreSQL: SQL and row mapping only.

Titles and texts are sealed with the key of the person who wrote them or whom they answer; rows from before that are
read as they are, until the worker has sealed them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from server.audit.sealing import ERASED, Keys, Vault
from server.chat.assistant import AnswerKind, Intent
from server.chat.events import Controller
from server.chat.hand_off import HandOff
from server.db.pool import Connection


@dataclass(frozen=True, slots=True)
class Conversation:
    """A thread between an outlet and the desk. `version` moves with every change and is its etag; `person` began it,
    `holder` is the member of staff who has taken over. `hand_off` is set where it was asked for (hand_offs.with_them).
    """

    id: str
    outlet: str
    title: str
    locale: str
    controller: Controller
    controller_epoch: int
    create_time: datetime
    update_time: datetime
    version: int
    person: str = ""
    holder: str = ""
    controller_reason: str = ""
    hand_off: HandOff | None = None

    @property
    def name(self) -> str:
        return f"conversations/{self.id}"


@dataclass(frozen=True, slots=True)
class StoredCitation:
    """A citation as it is kept with a message."""

    index: int
    chunk: str
    document: str
    revision: str
    title: str
    quote: str


@dataclass(frozen=True, slots=True)
class Message:
    """One stored message; `author` is CUSTOMER, ASSISTANT or STAFF, `state` is STREAMING, COMPLETE or PARTIAL,
    `proposal` the bare id of what it proposed."""

    id: str
    conversation: str
    ordinal: int
    author: str
    text: str
    run: str | None
    client_message_id: str | None
    intent: Intent | None
    answer_kind: AnswerKind | None
    confidence: float
    state: str
    citations: tuple[StoredCitation, ...]
    proposal: str
    create_time: datetime
    person: str = ""


_CONVERSATION = (
    "id, outlet, title, title_box, locale, controller, controller_epoch, create_time, update_time, version, person, "
    "holder, controller_reason"
)
_MESSAGE = (
    "id, conversation, ordinal, author, text, run, client_message_id, intent, answer_kind, confidence, state, "
    "citations, proposal, create_time, person, text_box, erased_at"
)
TITLE, TEXT = "conversation title", "message text"

INSERT_CONVERSATION = f"""
insert into conversation (tenant, id, outlet, title_box, locale, session_id, person)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict do nothing
returning {_CONVERSATION}
"""


@dataclass(frozen=True, slots=True)
class NewConversation:
    """A conversation to store. `session` is the caller's own id of the thread, or empty."""

    id: str
    outlet: str
    person: str
    title: str = ""
    locale: str = ""
    session: str = ""


async def insert_conversation(
    connection: Connection, vault: Vault, tenant: str, new: NewConversation
) -> Conversation | None:
    """The new conversation, or None when the outlet's session has one already."""
    box = None
    if new.title:
        box = (await vault.key_for(connection, tenant, new.person)).seal(new.title, TITLE, new.id)
    session = _session(vault, tenant, new.session)
    row = await connection.fetchrow(
        INSERT_CONVERSATION, tenant, new.id, new.outlet, box, new.locale, session, new.person
    )
    return await _one(connection, vault, tenant, row)


SELECT_CONVERSATION = f"""
select {_CONVERSATION} from conversation
where tenant = $1 and id = $2 and ($3::text = '' or outlet = $3)
"""


async def get_conversation(
    connection: Connection, vault: Vault, tenant: str, id: str, outlet: str
) -> Conversation | None:
    """`outlet` empty means any of the tenant's."""
    return await _one(connection, vault, tenant, await connection.fetchrow(SELECT_CONVERSATION, tenant, id, outlet))


LOCK_CONVERSATION = f"""
select {_CONVERSATION} from conversation
where tenant = $1 and id = $2 and ($3::text = '' or outlet = $3)
for no key update
"""


async def lock_conversation(
    connection: Connection, vault: Vault, tenant: str, id: str, outlet: str
) -> Conversation | None:
    """The same, held until the transaction ends: messages of one conversation are stored one after the other."""
    return await _one(connection, vault, tenant, await connection.fetchrow(LOCK_CONVERSATION, tenant, id, outlet))


SELECT_SESSION = f"""
select {_CONVERSATION} from conversation
where tenant = $1 and outlet = $2 and session_id = $3
"""


async def get_session(
    connection: Connection, vault: Vault, tenant: str, outlet: str, session_id: str
) -> Conversation | None:
    session = _session(vault, tenant, session_id)
    return await _one(connection, vault, tenant, await connection.fetchrow(SELECT_SESSION, tenant, outlet, session))


LIST_CONVERSATIONS = f"""
select {_CONVERSATION} from conversation
where tenant = $1 and ($2::text = '' or outlet = $2)
    and ($3::timestamptz is null or (create_time, id) < ($3, $4::text))
    and ($6::text = '' or controller = $6)
order by create_time desc, id desc
limit $5
"""


async def list_conversations(
    connection: Connection,
    vault: Vault,
    tenant: str,
    outlet: str,
    after: tuple[datetime, str] | None,
    limit: int,
    controller: str = "",
) -> list[Conversation]:
    """Newest first, after the given (create_time, id); `controller` empty means whoever speaks."""
    time, id = after or (None, None)
    rows = await connection.fetch(LIST_CONVERSATIONS, tenant, outlet, time, id, limit, controller)
    keys = await vault.keys_of(connection, tenant, [row["title_box"] for row in rows])
    return [_conversation(row, keys) for row in rows]


SELECT_CONVERSATIONS = f"select {_CONVERSATION} from conversation where tenant = $1 and id = any($2::text[])"


async def get_conversations(
    connection: Connection, vault: Vault, tenant: str, ids: Sequence[str]
) -> list[Conversation]:
    """Those that exist, in the order of the ids."""
    rows = {row["id"]: row for row in await connection.fetch(SELECT_CONVERSATIONS, tenant, list(ids))}
    keys = await vault.keys_of(connection, tenant, [row["title_box"] for row in rows.values()])
    return [_conversation(rows[id], keys) for id in ids if id in rows]


LIST_MESSAGES = f"""
select {_MESSAGE} from message
where tenant = $1 and conversation = $2 and ordinal > $3
order by ordinal
limit $4
"""


async def list_messages(
    connection: Connection, vault: Vault, tenant: str, conversation: str, after_ordinal: int, limit: int
) -> list[Message]:
    """Oldest first, after the given ordinal."""
    rows = await connection.fetch(LIST_MESSAGES, tenant, conversation, after_ordinal, limit)
    return await _messages(connection, vault, tenant, rows)


RECENT_MESSAGES = f"""
select {_MESSAGE} from message
where tenant = $1 and conversation = $2 and (ordinal < $3 or (ordinal > $3 and author <> 'CUSTOMER'))
    and erased_at is null
order by ordinal desc
limit $4
"""


async def messages_before(
    connection: Connection, vault: Vault, tenant: str, conversation: str, ordinal: int, limit: int
) -> list[Message]:
    """What was said before the customer's message with this ordinal is answered, oldest first, at most `limit`: the
    answers to earlier messages count, although they were stored after it; later messages of the customer do not."""
    rows = await connection.fetch(RECENT_MESSAGES, tenant, conversation, ordinal, limit)
    return await _messages(connection, vault, tenant, rows[::-1])


SELECT_MESSAGE = f"select {_MESSAGE} from message where tenant = $1 and conversation = $2 and id = $3"


async def get_message(connection: Connection, vault: Vault, tenant: str, conversation: str, id: str) -> Message | None:
    rows = await connection.fetch(SELECT_MESSAGE, tenant, conversation, id)
    return next(iter(await _messages(connection, vault, tenant, rows)), None)


SELECT_MESSAGES = f"select {_MESSAGE} from message where tenant = $1 and conversation = $2 and id = any($3::text[])"


async def get_messages(
    connection: Connection, vault: Vault, tenant: str, conversation: str, ids: Sequence[str]
) -> dict[str, Message]:
    """Messages by id."""
    rows = await connection.fetch(SELECT_MESSAGES, tenant, conversation, list(ids))
    return {message.id: message for message in await _messages(connection, vault, tenant, rows)}


SELECT_MESSAGE_BY_CLIENT_ID = f"""
select {_MESSAGE} from message where tenant = $1 and conversation = $2 and client_message_id = $3
"""


async def get_message_by_client_id(
    connection: Connection, vault: Vault, tenant: str, conversation: str, client_message_id: str
) -> Message | None:
    rows = await connection.fetch(SELECT_MESSAGE_BY_CLIENT_ID, tenant, conversation, client_message_id)
    return next(iter(await _messages(connection, vault, tenant, rows)), None)


# Who speaks for the desk is checked by the statement that gives the message its place: under the row's lock nobody can
# take over between the check and the message.
NEXT_ORDINAL = """
update conversation
set last_ordinal = last_ordinal + 1, last_event = last_event + 1, version = version + 1, update_time = now()
where tenant = $1 and id = $2 and (
    $3::text = 'CUSTOMER' or (controller = $3 and controller_epoch = $4 and ($3 <> 'STAFF' or holder = $5)))
returning last_ordinal, last_event
"""

INSERT_MESSAGE = f"""
with stored as (
    insert into message (
        tenant, conversation, id, ordinal, author, text, text_box, run, client_message_id, intent, answer_kind,
        confidence, state, citations, person, proposal
    )
    values ($1, $2, $3, $4, $5, '', $6, $7, $8, $9, $10, $11, $12, $13, $14, nullif($15, ''))
    returning {_MESSAGE}
), told as (
    insert into conversation_event (tenant, conversation, seq, kind, facts)
    values ($1, $2, $16, 'MESSAGE', jsonb_build_object('message', $3))
    returning seq
)
select {_MESSAGE}, pg_notify('conversation_event', $1 || ' ' || $2) from stored, told
"""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to store; `person` is who wrote it or, of what the desk says, whom it answers. What the desk says is
    said under an `epoch` of its controller, and by staff as the `holder`."""

    id: str
    author: str
    text: str
    run: str
    state: str = "COMPLETE"
    client_message_id: str | None = None
    intent: Intent | None = None
    answer_kind: AnswerKind | None = None
    confidence: float = 0.0
    citations: Sequence[StoredCitation] = ()
    proposal: str = ""
    person: str = ""
    epoch: int = 0
    holder: str = ""


class ControllerMoved(Exception):
    """Somebody else speaks for the desk now. Ends the transaction that wanted to speak."""


async def insert_message(
    connection: Connection, vault: Vault, tenant: str, conversation: str, new: NewMessage
) -> Message:
    """Stores a message as the conversation's newest and tells watchers. Raises ControllerMoved."""
    key = await vault.key_for(connection, tenant, new.person)
    place = await connection.fetchrow(NEXT_ORDINAL, tenant, conversation, new.author, new.epoch, new.holder)
    if place is None:
        raise ControllerMoved(conversation)
    ordinal, seq = place
    citations = json.dumps([_citation_row(citation) for citation in new.citations], ensure_ascii=False)
    [row] = await connection.fetch(
        INSERT_MESSAGE, tenant, conversation, new.id, ordinal, new.author,
        key.seal(new.text, TEXT, conversation, new.id), new.run or None, new.client_message_id, new.intent,
        new.answer_kind, new.confidence, new.state, citations, new.person, new.proposal, seq,
    )  # fmt: skip
    return _message(row, Keys({key.id: key}))


def _session(vault: Vault, tenant: str, session_id: str) -> str | None:
    """How the caller's id of a thread is stored: it may be anybody's name, and is only ever looked up."""
    return vault.people.blind(tenant, "session", session_id) if session_id else None


async def _one(connection: Connection, vault: Vault, tenant: str, row: asyncpg.Record | None) -> Conversation | None:
    if row is None:
        return None
    return _conversation(row, await vault.keys_of(connection, tenant, [row["title_box"]]))


async def _messages(connection: Connection, vault: Vault, tenant: str, rows: Sequence[asyncpg.Record]) -> list[Message]:
    keys = await vault.keys_of(connection, tenant, [row["text_box"] for row in rows])
    return [_message(row, keys) for row in rows]


def _conversation(row: asyncpg.Record, keys: Keys) -> Conversation:
    return Conversation(
        id=row["id"],
        outlet=row["outlet"],
        title=row["title"] or keys.text(row["title_box"], TITLE, row["id"]) or "",
        locale=row["locale"],
        controller=Controller(row["controller"]),
        controller_epoch=row["controller_epoch"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        version=row["version"],
        person=row["person"],
        holder=row["holder"],
        controller_reason=row["controller_reason"],
    )


def _message(row: asyncpg.Record, keys: Keys) -> Message:
    text = row["text"]
    if row["text_box"] is not None or row["erased_at"] is not None:
        opened = keys.text(row["text_box"], TEXT, row["conversation"], row["id"])
        text = ERASED if opened is None else opened
    return Message(
        id=row["id"],
        conversation=row["conversation"],
        ordinal=row["ordinal"],
        author=row["author"],
        text=text,
        run=row["run"],
        client_message_id=row["client_message_id"],
        intent=Intent(row["intent"]) if row["intent"] else None,
        answer_kind=AnswerKind(row["answer_kind"]) if row["answer_kind"] else None,
        confidence=row["confidence"] or 0.0,
        state=row["state"],
        citations=tuple(StoredCitation(**citation) for citation in json.loads(row["citations"])),
        proposal=row["proposal"] or "",
        create_time=row["create_time"],
        person=row["person"],
    )


def _citation_row(citation: StoredCitation) -> dict[str, Any]:
    return {field: getattr(citation, field) for field in StoredCitation.__slots__}
