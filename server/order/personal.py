"""What orders hold about a person: orders that they placed, what was proposed to them, and words learnt from them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

import orjson
from asyncpg import Record

from server.audit.sealing import Keys, Vault
from server.db.pool import Connection
from server.holdings import Erased, Records, affected, when
from server.order import order_store
from server.order.habits import ALIAS
from server.order.order_store import REASON, SAID
from server.order.proposal_store import WORDS

KEPT = (
    "Records of sales are kept as tax and accounting law requires (GDPR Art. 17(3)(b)); they name the outlet, and "
    "nobody who acted for it."
)

EXPORT_ORDERS: Final[LiteralString] = """
select id, number, outlet, state, currency, total, delivery_date, note_box, reason_box,
       create_time, confirmed_at
from customer_order
where tenant = $1 and person = $2
order by create_time, id"""

EXPORT_LINES: Final[LiteralString] = """
select order_id, line.revision, position, sku, description, quantity, unit, line_total, said_box
from order_line as line
join customer_order on customer_order.tenant = line.tenant and customer_order.id = order_id
    and customer_order.revision = line.revision
where line.tenant = $1 and person = $2
order by order_id, position"""

EXPORT_PROPOSALS: Final[LiteralString] = """
select id, kind, outlet, state, shown, words_box, create_time, decide_time from proposal
where tenant = $1 and person = $2
order by create_time, id"""

EXPORT_ALIASES: Final[LiteralString] = """
select outlet, alias, alias_box, sku, times, last_time from outlet_alias
where tenant = $1 and person = $2
order by last_time, sku"""

COUNT_RECORDS: Final[LiteralString] = """
select (select count(*) from customer_order where tenant = $1 and person = $2)
    + (select count(*) from order_line as line
       join customer_order on customer_order.tenant = line.tenant and customer_order.id = order_id
           and customer_order.revision = line.revision
       where line.tenant = $1 and person = $2)
    + (select count(*) from proposal where tenant = $1 and person = $2)
    + (select count(*) from outlet_alias where tenant = $1 and person = $2)"""

# The references to messages go with the words: they say who wrote when.
EMPTY_LINES: Final[LiteralString] = """
update order_line set said_box = null, provenance = '[]'
where tenant = $1 and (said_box is not null or provenance <> '[]') and order_id in (
    select id from customer_order where tenant = $1 and person = $2 and create_time <= $3)"""

EMPTY_EVENTS: Final[LiteralString] = """
update order_event set snapshot = snapshot || '{"conversation": ""}' || jsonb_build_object('lines', (
    select coalesce(jsonb_agg(line || '{"provenance": []}'), '[]')
    from jsonb_array_elements(snapshot -> 'lines') as line))
where tenant = $1 and order_id in (
    select id from customer_order where tenant = $1 and person = $2 and create_time <= $3)"""

EMPTY_ORDERS: Final[LiteralString] = """
update customer_order
set note_box = null, reason_box = null, conversation = '', person = ''
where tenant = $1 and person = $2 and create_time <= $3"""

DELETE_PROPOSALS: Final[LiteralString] = """
delete from proposal where tenant = $1 and person = $2 and create_time <= $3"""

DELETE_ALIASES: Final[LiteralString] = """
delete from outlet_alias where tenant = $1 and person = $2 and last_time <= $3"""

REMAINING: Final[LiteralString] = """
select (select count(*) from customer_order where tenant = $1 and person = $2 and create_time <= $3)
    + (select count(*) from proposal where tenant = $1 and person = $2 and create_time <= $3)
    + (select count(*) from outlet_alias where tenant = $1 and person = $2 and last_time <= $3)"""


class OrderHolding:
    """Orders, proposals and learnt words."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def count(self, connection: Connection, tenant: str, person: str) -> int:
        held: int = await connection.fetchval(COUNT_RECORDS, tenant, person)
        return held

    async def export(self, connection: Connection, tenant: str, person: str) -> Mapping[str, Records]:
        orders = await connection.fetch(EXPORT_ORDERS, tenant, person)
        lines = await connection.fetch(EXPORT_LINES, tenant, person)
        proposals = await connection.fetch(EXPORT_PROPOSALS, tenant, person)
        aliases = await connection.fetch(EXPORT_ALIASES, tenant, person)
        boxes = [
            *(box for row in orders for box in (row["note_box"], row["reason_box"])),
            *(row["said_box"] for row in lines),
            *(row["words_box"] for row in proposals),
            *(row["alias_box"] for row in aliases),
        ]
        keys = await self._vault.keys_of(connection, tenant, boxes)
        # Opening many boxes takes a while, and the loop serves others.
        return await asyncio.to_thread(_records, orders, lines, proposals, aliases, keys)

    async def erase(self, connection: Connection, tenant: str, person: str, until: datetime) -> Sequence[Erased]:
        """Orders and their feed stay, without words and without whose they were; the rest is deleted."""
        which = (tenant, person, until)
        await connection.execute(EMPTY_LINES, *which)
        await connection.execute(EMPTY_EVENTS, *which)
        kept = affected(await connection.execute(EMPTY_ORDERS, *which))
        proposals = affected(await connection.execute(DELETE_PROPOSALS, *which))
        aliases = affected(await connection.execute(DELETE_ALIASES, *which))
        return [
            Erased("orders", 0, kept, KEPT if kept else ""),
            Erased("proposals", proposals),
            Erased("learnt_words", aliases),
        ]

    async def remaining(self, connection: Connection, tenant: str, person: str, until: datetime) -> int:
        left: int = await connection.fetchval(REMAINING, tenant, person, until)
        return left


def _records(
    orders: Sequence[Record],
    lines: Sequence[Record],
    proposals: Sequence[Record],
    aliases: Sequence[Record],
    keys: Keys,
) -> Mapping[str, Records]:
    of_order: dict[str, list[Record]] = {}
    for line in lines:
        of_order.setdefault(line["order_id"], []).append(line)
    return {
        "orders": [_order(row, of_order.get(row["id"], ()), keys) for row in orders],
        "proposals": [_proposal(row, keys) for row in proposals],
        "learnt_words": [_alias(row, keys) for row in aliases],
    }


def _order(row: Record, lines: Sequence[Record], keys: Keys) -> dict[str, Any]:
    return {
        "name": f"orders/{row['id']}",
        "number": row["number"],
        "outlet": row["outlet"],
        "state": row["state"],
        "total": f"{row['total']:.2f} {row['currency']}",
        "delivery_date": row["delivery_date"].isoformat(),
        "note": order_store.note_of(row, keys, row["id"]),
        "decision_reason": keys.text(row["reason_box"], REASON, row["id"]) or "",
        "lines": [_line(line, keys) for line in lines],
        "create_time": when(row["create_time"]),
        "confirm_time": when(row["confirmed_at"]),
    }


def _line(row: Record, keys: Keys) -> dict[str, Any]:
    said = keys.text(row["said_box"], SAID, row["order_id"], str(row["revision"]), str(row["position"]))
    return {
        "sku": row["sku"],
        "description": row["description"],
        "quantity": f"{row['quantity'].normalize():f} {row['unit']}".strip(),
        "line_total": f"{row['line_total']:.2f}",
        "said": json.loads(said) if said else [],
    }


def _proposal(row: Record, keys: Keys) -> dict[str, Any]:
    sealed = keys.text(row["words_box"], WORDS, row["id"])
    words: dict[str, Any] = orjson.loads(sealed) if sealed else {}
    shown = orjson.loads(row["shown"])
    return {
        "name": f"proposals/{row['id']}",
        "kind": row["kind"],
        "outlet": row["outlet"],
        "state": row["state"],
        "title": shown["title"],
        "total": f"{shown['total']} {shown['currency']}",
        "note": words.get("note", ""),
        "questions": words.get("questions", []),
        "said": words.get("said", []),
        "create_time": when(row["create_time"]),
        "decide_time": when(row["decide_time"]),
    }


def _alias(row: Record, keys: Keys) -> dict[str, Any]:
    return {
        "words": keys.text(row["alias_box"], ALIAS, row["outlet"], row["alias"]) or "",
        "sku": row["sku"],
        "outlet": row["outlet"],
        "times": row["times"],
        "last_time": when(row["last_time"]),
    }
