"""Conversations in PostgreSQL: SQL and row mapping only.

Titles and texts are sealed with the key of the person who wrote them or whom they answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from server.audit.sealing import Keys, Vault
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


_CONVERSATION = (
    "id, outlet, title_box, locale, controller, controller_epoch, create_time, update_time, version, person, holder, "
    "controller_reason"
)
TITLE = "conversation title"

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


def _session(vault: Vault, tenant: str, session_id: str) -> str | None:
    """How the caller's id of a thread is stored: it may be anybody's name, and is only ever looked up."""
    return vault.people.blind(tenant, "session", session_id) if session_id else None


async def _one(connection: Connection, vault: Vault, tenant: str, row: asyncpg.Record | None) -> Conversation | None:
    if row is None:
        return None
    return _conversation(row, await vault.keys_of(connection, tenant, [row["title_box"]]))


def _conversation(row: asyncpg.Record, keys: Keys) -> Conversation:
    return Conversation(
        id=row["id"],
        outlet=row["outlet"],
        title=keys.text(row["title_box"], TITLE, row["id"]) or "",
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
