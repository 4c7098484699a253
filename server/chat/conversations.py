"""Conversations and messages in PostgreSQL: SQL and row mapping only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from server.chat.assistant import AnswerKind, Intent
from server.chat.events import Controller
from server.db.pool import Connection


@dataclass(frozen=True, slots=True)
class Conversation:
    """A thread between an outlet and the desk. `version` moves with every change and is its etag."""

    id: str
    outlet: str
    title: str
    locale: str
    controller: Controller
    controller_epoch: int
    create_time: datetime
    update_time: datetime
    version: int

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


_CONVERSATION = "id, outlet, title, locale, controller, controller_epoch, create_time, update_time, version"
_MESSAGE = (
    "id, conversation, ordinal, author, text, run, client_message_id, intent, answer_kind, confidence, state, "
    "citations, proposal, create_time"
)

INSERT_CONVERSATION = f"""
insert into conversation (tenant, id, outlet, title, locale, session_id)
values ($1, $2, $3, $4, $5, $6)
on conflict do nothing
returning {_CONVERSATION}
"""


async def insert_conversation(
    connection: Connection, tenant: str, id: str, outlet: str, title: str, locale: str, session_id: str | None
) -> Conversation | None:
    """The new conversation, or None when the outlet's session has one already."""
    row = await connection.fetchrow(INSERT_CONVERSATION, tenant, id, outlet, title, locale, session_id)
    return _conversation(row) if row else None


SELECT_CONVERSATION = f"""
select {_CONVERSATION} from conversation
where tenant = $1 and id = $2 and ($3::text = '' or outlet = $3)
"""


async def get_conversation(connection: Connection, tenant: str, id: str, outlet: str) -> Conversation | None:
    """`outlet` empty means any of the tenant's."""
    row = await connection.fetchrow(SELECT_CONVERSATION, tenant, id, outlet)
    return _conversation(row) if row else None


LOCK_CONVERSATION = f"""
select {_CONVERSATION} from conversation
where tenant = $1 and id = $2 and ($3::text = '' or outlet = $3)
for no key update
"""


async def lock_conversation(connection: Connection, tenant: str, id: str, outlet: str) -> Conversation | None:
    """The same, held until the transaction ends: messages of one conversation are stored one after the other."""
    row = await connection.fetchrow(LOCK_CONVERSATION, tenant, id, outlet)
    return _conversation(row) if row else None


SELECT_SESSION = f"""
select {_CONVERSATION} from conversation
where tenant = $1 and outlet = $2 and session_id = $3
"""


async def get_session(connection: Connection, tenant: str, outlet: str, session_id: str) -> Conversation | None:
    row = await connection.fetchrow(SELECT_SESSION, tenant, outlet, session_id)
    return _conversation(row) if row else None


LIST_CONVERSATIONS = f"""
select {_CONVERSATION} from conversation
where tenant = $1 and ($2::text = '' or outlet = $2)
    and ($3::timestamptz is null or (create_time, id) < ($3, $4::text))
order by create_time desc, id desc
limit $5
"""


async def list_conversations(
    connection: Connection, tenant: str, outlet: str, after: tuple[datetime, str] | None, limit: int
) -> list[Conversation]:
    """Newest first, after the given (create_time, id)."""
    time, id = after or (None, None)
    rows = await connection.fetch(LIST_CONVERSATIONS, tenant, outlet, time, id, limit)
    return [_conversation(row) for row in rows]


LIST_MESSAGES = f"""
select {_MESSAGE} from message
where tenant = $1 and conversation = $2 and ordinal > $3
order by ordinal
limit $4
"""


async def list_messages(
    connection: Connection, tenant: str, conversation: str, after_ordinal: int, limit: int
) -> list[Message]:
    """Oldest first, after the given ordinal."""
    return [_message(row) for row in await connection.fetch(LIST_MESSAGES, tenant, conversation, after_ordinal, limit)]


RECENT_MESSAGES = f"""
select {_MESSAGE} from message
where tenant = $1 and conversation = $2 and (ordinal < $3 or (ordinal > $3 and author <> 'CUSTOMER'))
order by ordinal desc
limit $4
"""


async def messages_before(
    connection: Connection, tenant: str, conversation: str, ordinal: int, limit: int
) -> list[Message]:
    """What was said before the customer's message with this ordinal is answered, oldest first, at most `limit`: the
    answers to earlier messages count, although they were stored after it; later messages of the customer do not."""
    rows = await connection.fetch(RECENT_MESSAGES, tenant, conversation, ordinal, limit)
    return [_message(row) for row in reversed(rows)]


SELECT_MESSAGE = f"select {_MESSAGE} from message where tenant = $1 and conversation = $2 and id = $3"


async def get_message(connection: Connection, tenant: str, conversation: str, id: str) -> Message | None:
    row = await connection.fetchrow(SELECT_MESSAGE, tenant, conversation, id)
    return _message(row) if row else None


SELECT_MESSAGE_BY_CLIENT_ID = f"""
select {_MESSAGE} from message where tenant = $1 and conversation = $2 and client_message_id = $3
"""


async def get_message_by_client_id(
    connection: Connection, tenant: str, conversation: str, client_message_id: str
) -> Message | None:
    row = await connection.fetchrow(SELECT_MESSAGE_BY_CLIENT_ID, tenant, conversation, client_message_id)
    return _message(row) if row else None


NEXT_ORDINAL = """
update conversation set last_ordinal = last_ordinal + 1, version = version + 1, update_time = now()
where tenant = $1 and id = $2
returning last_ordinal
"""

INSERT_MESSAGE = f"""
insert into message (
    tenant, conversation, id, ordinal, author, text, run, client_message_id, intent, answer_kind, confidence, state,
    citations, proposal
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, nullif($14, ''))
returning {_MESSAGE}
"""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to store."""

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


async def insert_message(connection: Connection, tenant: str, conversation: str, new: NewMessage) -> Message:
    """Stores a message as the conversation's newest."""
    ordinal = await connection.fetchval(NEXT_ORDINAL, tenant, conversation)
    citations = json.dumps([_citation_row(citation) for citation in new.citations], ensure_ascii=False)
    [row] = await connection.fetch(
        INSERT_MESSAGE, tenant, conversation, new.id, ordinal, new.author, new.text, new.run,
        new.client_message_id, new.intent, new.answer_kind, new.confidence, new.state, citations,
        new.proposal,
    )  # fmt: skip
    return _message(row)


def _conversation(row: asyncpg.Record) -> Conversation:
    return Conversation(
        id=row["id"],
        outlet=row["outlet"],
        title=row["title"],
        locale=row["locale"],
        controller=Controller(row["controller"]),
        controller_epoch=row["controller_epoch"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        version=row["version"],
    )


def _message(row: asyncpg.Record) -> Message:
    return Message(
        id=row["id"],
        conversation=row["conversation"],
        ordinal=row["ordinal"],
        author=row["author"],
        text=row["text"],
        run=row["run"],
        client_message_id=row["client_message_id"],
        intent=Intent(row["intent"]) if row["intent"] else None,
        answer_kind=AnswerKind(row["answer_kind"]) if row["answer_kind"] else None,
        confidence=row["confidence"] or 0.0,
        state=row["state"],
        citations=tuple(StoredCitation(**citation) for citation in json.loads(row["citations"])),
        proposal=row["proposal"] or "",
        create_time=row["create_time"],
    )


def _citation_row(citation: StoredCitation) -> dict[str, Any]:
    return {field: getattr(citation, field) for field in StoredCitation.__slots__}
