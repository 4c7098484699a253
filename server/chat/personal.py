"""What chat holds about a person: conversations that they began, messages that they wrote or were answered with, and
what the runs behind the answers cost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

from asyncpg import Record

from server.audit.sealing import ERASED, Keys, Vault
from server.chat.conversations import TITLE
from server.chat.messages import TEXT
from server.db.pool import Connection
from server.holdings import Erased, Records, affected, when

EXPORT_CONVERSATIONS: Final[LiteralString] = """
select id, outlet, title_box, locale, create_time, update_time from conversation
where tenant = $1 and person = $2
order by create_time, id"""

EXPORT_MESSAGES: Final[LiteralString] = """
select message.conversation, message.id, author, text_box, intent, answer_kind, citations, client_message_id,
       message.create_time, model, input_tokens, output_tokens, cost_micros, currency
from message
left join run on run.tenant = message.tenant and run.conversation = message.conversation and run.answer = message.id
where message.tenant = $1 and person = $2 and erased_at is null
order by message.conversation, message.ordinal"""

COUNT_RECORDS: Final[LiteralString] = """
select (select count(*) from conversation where tenant = $1 and person = $2)
    + (select count(*) from message where tenant = $1 and person = $2 and erased_at is null)"""

# The text of a message that came while its key was being destroyed opens nowhere: it goes too.
_OF_THE_ERASED: Final[LiteralString] = """
tenant = $1 and person = $2 and erased_at is null and (create_time <= $3 or substr(text_box, 2, 16) in (
    select uuid_send(key_id) from subject_key where tenant = $1 and person = $2 and wrapped is null))"""

# A run that still answers finds that it is not its owner's any more, and stores nothing.
STOP_RUNS: Final[LiteralString] = (
    """
update run set state = 'INTERRUPTED', cancel_requested = true, end_time = now(), asker_box = null
where tenant = $1 and state in ('QUEUED', 'RUNNING') and (conversation, message) in (
    select conversation, id from message where """
    + _OF_THE_ERASED
    + ")"
)

EMPTY_MESSAGES: Final[LiteralString] = (
    """
update message
set text_box = null, client_message_id = null, intent = null, citations = '[]', proposal = null,
    person = '', erased_at = now()
where """
    + _OF_THE_ERASED
)

EMPTY_CONVERSATIONS: Final[LiteralString] = """
update conversation set title_box = null, session_id = null, person = '', version = version + 1
where tenant = $1 and person = $2 and create_time <= $3"""

REMAINING: Final[LiteralString] = (
    "select (select count(*) from conversation where tenant = $1 and person = $2 and create_time <= $3) "
    "+ (select count(*) from message where " + _OF_THE_ERASED + ")"
)


class ChatHolding:
    """Conversations, messages and runs."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def count(self, connection: Connection, tenant: str, person: str) -> int:
        held: int = await connection.fetchval(COUNT_RECORDS, tenant, person)
        return held

    async def export(self, connection: Connection, tenant: str, person: str) -> Mapping[str, Records]:
        """Citations are named and not quoted: they are the supplier's words."""
        conversations = await connection.fetch(EXPORT_CONVERSATIONS, tenant, person)
        messages = await connection.fetch(EXPORT_MESSAGES, tenant, person)
        boxes = [*(row["title_box"] for row in conversations), *(row["text_box"] for row in messages)]
        keys = await self._vault.keys_of(connection, tenant, boxes)
        # Opening many boxes takes a while, and the loop serves others.
        return await asyncio.to_thread(_records, conversations, messages, keys)

    async def erase(self, connection: Connection, tenant: str, person: str, until: datetime) -> Sequence[Erased]:
        """Empties the rows. They stay, so that the messages of others in the conversation keep their places, and what
        was spent stays counted."""
        await connection.execute(STOP_RUNS, tenant, person, until)
        messages = affected(await connection.execute(EMPTY_MESSAGES, tenant, person, until))
        conversations = affected(await connection.execute(EMPTY_CONVERSATIONS, tenant, person, until))
        return [Erased("conversations", conversations), Erased("messages", messages)]

    async def remaining(self, connection: Connection, tenant: str, person: str, until: datetime) -> int:
        left: int = await connection.fetchval(REMAINING, tenant, person, until)
        return left


def _records(conversations: Sequence[Record], messages: Sequence[Record], keys: Keys) -> Mapping[str, Records]:
    return {
        "conversations": [_conversation(row, keys) for row in conversations],
        "messages": [_message(row, keys) for row in messages],
    }


def _conversation(row: Record, keys: Keys) -> dict[str, Any]:
    return {
        "name": f"conversations/{row['id']}",
        "outlet": row["outlet"],
        "title": keys.text(row["title_box"], TITLE, row["id"]) or "",
        "locale": row["locale"],
        "create_time": when(row["create_time"]),
        "update_time": when(row["update_time"]),
    }


def _message(row: Record, keys: Keys) -> dict[str, Any]:
    text = keys.text(row["text_box"], TEXT, row["conversation"], row["id"])
    message = {
        "name": f"conversations/{row['conversation']}/messages/{row['id']}",
        "author": row["author"],
        "text": ERASED if text is None else text,
        "intent": row["intent"] or "",
        "answer_kind": row["answer_kind"] or "",
        "documents": [citation["document"] for citation in json.loads(row["citations"])],
        "client_message_id": row["client_message_id"] or "",
        "create_time": when(row["create_time"]),
    }
    if row["model"] is None:
        return message
    usage = ("model", "input_tokens", "output_tokens", "cost_micros", "currency")
    return message | {"usage": {field: row[field] for field in usage}}
