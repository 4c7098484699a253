"""Seals what was stored in the clear before there were keys: small transactions, until nothing is left.

Whose an old row is was not written down, so it is sealed with the tenant's own key and grows old like others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, LiteralString

from asyncpg import Record

from server.audit.sealing import SubjectKey, Vault
from server.chat.conversations import TITLE
from server.chat.messages import TEXT
from server.db.pool import Database
from server.order.order_store import NOTE

_BATCH = 500

OLD_TEXTS: Final[LiteralString] = """
select ctid, tenant, conversation, id, text from message
where text_box is null and text <> ''
limit $1
for update skip locked"""

SEAL_TEXT: Final[LiteralString] = "update message set text = '', text_box = $2 where ctid = $1"

OLD_TITLES: Final[LiteralString] = """
select ctid, tenant, id, title as text from conversation
where title_box is null and title <> ''
limit $1
for update skip locked"""

SEAL_TITLE: Final[LiteralString] = "update conversation set title = '', title_box = $2 where ctid = $1"

OLD_NOTES: Final[LiteralString] = """
select ctid, tenant, id, note as text from customer_order
where note_box is null and note <> ''
limit $1
for update skip locked"""

SEAL_NOTE: Final[LiteralString] = "update customer_order set note = '', note_box = $2 where ctid = $1"


@dataclass(frozen=True, slots=True)
class _Column:
    old: LiteralString
    seal: LiteralString
    place: Callable[[Record], tuple[str, ...]]


_COLUMNS = (
    _Column(OLD_TEXTS, SEAL_TEXT, lambda row: (TEXT, row["conversation"], row["id"])),
    _Column(OLD_TITLES, SEAL_TITLE, lambda row: (TITLE, row["id"])),
    _Column(OLD_NOTES, SEAL_NOTE, lambda row: (NOTE, row["id"])),
)


async def seal_old_rows(database: Database, vault: Vault) -> int:
    """Returns how many fields were sealed."""
    sealed = 0
    for column in _COLUMNS:
        while count := await _batch(database, vault, column):
            sealed += count
    return sealed


async def _batch(database: Database, vault: Vault, column: _Column) -> int:
    keys: dict[str, SubjectKey] = {}
    async with database.transaction() as connection:
        rows = await connection.fetch(column.old, _BATCH)
        for row in rows:
            tenant = row["tenant"]
            key = keys.get(tenant) or keys.setdefault(tenant, await vault.key_for(connection, tenant, ""))
            await connection.execute(column.seal, row["ctid"], key.seal(row["text"], *column.place(row)))
    return len(rows)
