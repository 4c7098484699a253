"""Messages in PostgreSQL: SQL and row mapping only.

Texts are sealed with the key of the person who wrote them or whom they answer; rows from before that are read as they
are, until the worker has sealed them.
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
from server.db.pool import Connection


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


_MESSAGE = (
    "id, conversation, ordinal, author, run, client_message_id, intent, answer_kind, confidence, state, "
    "citations, proposal, create_time, person, text_box"
)
TEXT = "message text"

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


MESSAGES_OF_RUN = f"""
select {_MESSAGE} from message
where tenant = $1 and conversation = $2 and run = $3 and author = 'CUSTOMER' and erased_at is null
order by ordinal
"""


async def messages_of_run(
    connection: Connection, vault: Vault, tenant: str, conversation: str, run: str
) -> list[Message]:
    """The messages that the run answers, oldest first."""
    return await _messages(
        connection, vault, tenant, await connection.fetch(MESSAGES_OF_RUN, tenant, conversation, run)
    )


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


async def _messages(connection: Connection, vault: Vault, tenant: str, rows: Sequence[asyncpg.Record]) -> list[Message]:
    keys = await vault.keys_of(connection, tenant, [row["text_box"] for row in rows])
    return [_message(row, keys) for row in rows]


def _message(row: asyncpg.Record, keys: Keys) -> Message:
    text = keys.text(row["text_box"], TEXT, row["conversation"], row["id"])
    return Message(
        id=row["id"],
        conversation=row["conversation"],
        ordinal=row["ordinal"],
        author=row["author"],
        text=ERASED if text is None else text,
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
