"""What the audit log holds about a person: events that it did, under the id or pseudonym that the log shows of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, LiteralString

from asyncpg import Record

from server.audit.leaf import Leaf, decode
from server.audit.sealing import ERASED, Vault
from server.db.pool import Connection
from server.holdings import Erased, when

KEPT = (
    "The log shows who did what to whom for accountability (GDPR Art. 5(2), 17(3)(b) and (e)); it holds ids and "
    "pseudonyms, and personal fields only under the destroyed key."
)
_MOST = 5000  # events in one export; the log's own export has all

EVENTS_OF: Final[LiteralString] = """
select leaf from (
    select occurred_at, leaf from audit_event where tenant = $1 and (actor = $2 or resource = $3)
    union all
    select occurred_at, leaf from audit_pending where tenant = $1 and (actor = $2 or resource = $3)
) as events
order by occurred_at desc
limit $4"""

COUNT_EVENTS: Final[LiteralString] = """
select (select count(*) from audit_event where tenant = $1 and actor = $2)
    + (select count(*) from audit_pending where tenant = $1 and actor = $2)"""


async def events(
    connection: Connection, vault: Vault, tenant: str, actor: str, target: str
) -> Sequence[dict[str, Any]]:
    """The newest events by the actor or about the target, with their sealed fields opened where that can be."""
    rows = await connection.fetch(EVENTS_OF, tenant, actor, target, _MOST)
    leaves = await asyncio.to_thread(_decoded, rows)
    keys = await vault.keys_of_values(connection, tenant, [value for leaf in leaves for value in leaf.sealed])
    return [
        _event(leaf) | {"fields": {value.field: keys.value(value, leaf.event_id) or ERASED for value in leaf.sealed}}
        for leaf in leaves
    ]


async def kept(connection: Connection, tenant: str, actor: str) -> Erased:
    """The events stay; what is sealed in them went with the key."""
    count: int = await connection.fetchval(COUNT_EVENTS, tenant, actor)
    return Erased("audit_log", 0, count, KEPT if count else "")


def _decoded(rows: Sequence[Record]) -> list[Leaf]:
    return [decode(row["leaf"]) for row in rows]


def _event(leaf: Leaf) -> dict[str, Any]:
    return {
        "name": f"audit/events/{leaf.event_id}",
        "action": leaf.action.value,
        "time": when(leaf.occurred_at),
        "decision": leaf.decision.value,
        "targets": list(leaf.targets),
        "rpc": leaf.rpc,
        "client": leaf.source.agent,
        "address": leaf.source.ip_hash,
    }
