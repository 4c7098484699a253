"""Who speaks in a conversation, and the queue of those that wait for a person, in PostgreSQL.

Every function that changes something runs in a transaction that holds the conversation's row (lock_conversation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, LiteralString

from server.audit.sealing import Vault
from server.chat.conversations import Conversation
from server.chat.desk_hours import load_hours
from server.chat.events import Controller
from server.chat.hand_off import RETURNED, HandOff, HandOffReason, due
from server.db.pool import Connection

NOTE = "hand-off note"

# The epoch travels with the notification: a process that is answering must fall silent at once.
MOVE: Final[LiteralString] = """
with moved as (
    update conversation
    set controller = $4, controller_epoch = controller_epoch + 1, controller_reason = $5, holder = $6,
        last_event = last_event + 1, version = version + 1
    where tenant = $1 and id = $2 and controller_epoch = $3
    returning controller_epoch, last_event, version
), told as (
    insert into conversation_event (tenant, conversation, seq, kind, facts)
    select $1, $2, last_event, 'CONTROLLER_CHANGED',
        jsonb_build_object('from', $7::text, 'to', $4::text, 'epoch', controller_epoch, 'reason', $5::text)
    from moved
    returning seq
)
select controller_epoch, version, pg_notify('conversation_event', $1 || ' ' || $2 || ' ' || controller_epoch)
from moved, told"""


async def _move(
    connection: Connection, tenant: str, held: Conversation, controller: Controller, reason: str, holder: str = ""
) -> Conversation:
    row = await connection.fetchrow(
        MOVE, tenant, held.id, held.controller_epoch, controller, reason, holder, held.controller
    )
    if row is None:
        raise RuntimeError("the controller of a locked conversation moved")
    return replace(
        held,
        controller=controller,
        controller_epoch=row["controller_epoch"],
        controller_reason=reason,
        holder=holder,
        version=row["version"],
    )


INSERT_HAND_OFF: Final[LiteralString] = """
insert into hand_off (tenant, conversation, epoch, reason, level, note_box, person, order_id, request_time, due_time,
                      take_time)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9::timestamptz, $10, case when $11 then $9::timestamptz end)"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A person is wanted; `person` asks, `order` (its bare id) waits."""

    reason: HandOffReason
    now: datetime
    note: str = ""
    person: str = ""
    order: str = ""


async def ask(connection: Connection, vault: Vault, tenant: str, held: Conversation, wanted: Wanted) -> Conversation:
    """The assistant is silent from now on, and the conversation waits for a person."""
    moved = await _move(connection, tenant, held, Controller.WAITING_FOR_STAFF, wanted.reason.told)
    await _open(connection, vault, tenant, moved, wanted, taken=False)
    return moved


async def _open(
    connection: Connection, vault: Vault, tenant: str, held: Conversation, wanted: Wanted, *, taken: bool
) -> None:
    level = wanted.reason.level
    until = due(level, wanted.now, await load_hours(connection, tenant))
    box = None
    if wanted.note:
        key = await vault.key_for(connection, tenant, wanted.person)
        box = key.seal(wanted.note, NOTE, held.id, str(held.controller_epoch))
    await connection.execute(
        INSERT_HAND_OFF, tenant, held.id, held.controller_epoch, wanted.reason, level, box, wanted.person, wanted.order,
        wanted.now, until, taken,
    )  # fmt: skip


ADD_NOTE: Final[LiteralString] = """
update hand_off set note_box = $4, person = $5
where tenant = $1 and conversation = $2 and epoch = $3 and note_box is null"""


async def add_note(connection: Connection, vault: Vault, tenant: str, held: Conversation, wanted: Wanted) -> None:
    """What it is about, where nobody had said so yet; the conversation waits since its last change of controller."""
    key = await vault.key_for(connection, tenant, wanted.person)
    box = key.seal(wanted.note, NOTE, held.id, str(held.controller_epoch))
    await connection.execute(ADD_NOTE, tenant, held.id, held.controller_epoch, box, wanted.person)


RAISE_LEVEL: Final[LiteralString] = """
update hand_off set reason = $3, level = $4, due_time = least(due_time, $5)
where tenant = $1 and conversation = $2 and close_time is null and take_time is null and level < $4
returning true"""


async def raise_level(
    connection: Connection, tenant: str, conversation: str, reason: HandOffReason, now: datetime
) -> bool:
    """A conversation that waits turns out to be more urgent; True when it was less urgent so far."""
    until = due(reason.level, now, await load_hours(connection, tenant))
    return bool(await connection.fetchval(RAISE_LEVEL, tenant, conversation, reason, reason.level, until))


TAKE: Final[LiteralString] = """
update hand_off set take_time = coalesce(take_time, now())
where tenant = $1 and conversation = $2 and close_time is null
returning reason"""


async def take(connection: Connection, vault: Vault, tenant: str, held: Conversation, wanted: Wanted) -> Conversation:
    """A member of staff (`wanted.person`) speaks from now on; `wanted` says why where nobody had been asked for."""
    reason = await connection.fetchval(TAKE, tenant, held.id)
    why = HandOffReason(reason) if reason else wanted.reason
    moved = await _move(connection, tenant, held, Controller.STAFF, why.told, wanted.person)
    if reason is None:
        await _open(connection, vault, tenant, moved, wanted, taken=True)
    return moved


CLOSE: Final[LiteralString] = """
update hand_off set close_time = now() where tenant = $1 and conversation = $2 and close_time is null"""


async def give_back(connection: Connection, tenant: str, held: Conversation) -> Conversation:
    """The assistant speaks again."""
    await connection.execute(CLOSE, tenant, held.id)
    return await _move(connection, tenant, held, Controller.ASSISTANT, RETURNED)


WAITS_FOR_ORDER: Final[LiteralString] = """
select exists (
    select from hand_off
    where tenant = $1 and conversation = $2 and close_time is null and take_time is null and reason = 'ORDER_HELD'
        and order_id = $3)"""


async def waits_for_order(connection: Connection, tenant: str, conversation: str, order: str) -> bool:
    """Whether the conversation waits for nothing but a decision about this order."""
    return bool(await connection.fetchval(WAITS_FOR_ORDER, tenant, conversation, order))


# The place is counted over the queue's index; queues are short.
SELECT_OPEN: Final[LiteralString] = """
select open.conversation, open.epoch, reason, level, note_box, order_id, request_time, due_time,
    case when take_time is null then (
        select count(*) + 1 from hand_off as before
        where before.tenant = $1 and before.close_time is null and before.take_time is null and (
            before.level > open.level
            or before.level = open.level
                and (before.request_time, before.conversation) < (open.request_time, open.conversation))
    ) else 0 end as place,
    (
        select id from proposal
        where proposal.tenant = $1 and proposal.conversation = 'conversations/' || open.conversation
            and proposal.state = 'OPEN' and proposal.expires_at > now()
        order by proposal.create_time desc
        limit 1
    ) as proposal
from hand_off as open
where open.tenant = $1 and open.conversation = any($2::text[]) and open.close_time is null"""


async def with_them(
    connection: Connection, vault: Vault, tenant: str, found: Sequence[Conversation], now: datetime
) -> list[Conversation]:
    """The conversations with their open hand-offs."""
    asked = [held.id for held in found if held.controller is not Controller.ASSISTANT]
    if not asked:
        return list(found)
    rows = {row["conversation"]: row for row in await connection.fetch(SELECT_OPEN, tenant, asked)}
    keys = await vault.keys_of(connection, tenant, [row["note_box"] for row in rows.values()])
    opens = (await load_hours(connection, tenant)).opens_at(now)
    shown = []
    for held in found:
        row = rows.get(held.id)
        hand_off = None
        if row is not None:
            hand_off = HandOff(
                HandOffReason(row["reason"]), row["place"], row["request_time"], row["due_time"],
                note=keys.text(row["note_box"], NOTE, held.id, str(row["epoch"])) or "", order=row["order_id"],
                proposal=row["proposal"] or "", holder=held.holder, level=row["level"], opens_at=opens,
            )  # fmt: skip
        shown.append(replace(held, hand_off=hand_off))
    return shown


QUEUE: Final[LiteralString] = """
select hand_off.level, hand_off.request_time, hand_off.conversation
from hand_off join conversation on conversation.tenant = hand_off.tenant and conversation.id = hand_off.conversation
where hand_off.tenant = $1 and close_time is null and take_time is null and ($2::text = '' or outlet = $2)
    and ($3::smallint is null
        or (-hand_off.level, hand_off.request_time, hand_off.conversation) > (-$3::smallint, $4::timestamptz, $5::text))
order by hand_off.level desc, hand_off.request_time, hand_off.conversation
limit $6"""

Place = tuple[int, datetime, str]


async def queue(connection: Connection, tenant: str, outlet: str, after: Place | None, limit: int) -> list[Place]:
    """(level, time, conversation) of those that wait, in the order in which they are to be taken over."""
    level, time, id = after or (None, None, None)
    rows = await connection.fetch(QUEUE, tenant, outlet, level, time, id, limit)
    return [(row["level"], row["request_time"], row["conversation"]) for row in rows]
