"""The feed of a conversation: an event is a row of the transaction that it tells of, numbered under the lock of the
conversation's row.

The table is the truth; a notification only says that it is worth looking. Watchers of any process read the same rows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString

from server.audit.sealing import Vault
from server.chat import messages
from server.chat.events import Controller, ControllerChanged
from server.chat.messages import Message
from server.db.listening import Listening
from server.db.pool import Connection

CHANNEL = "conversation_event"


@dataclass(frozen=True, slots=True)
class OrderChanged:
    """An order of the conversation changed; the bare id, and its state by name."""

    order: str
    state: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run began; its resource name."""

    run: str


Happened = Message | ControllerChanged | OrderChanged | RunStarted


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """What happened; `seq` counts per conversation."""

    seq: int
    time: datetime
    event: Happened


# Messages and changes of controller are numbered by the statements that store them.
APPEND: Final[LiteralString] = """
with numbered as (
    update conversation set last_event = last_event + 1
    where tenant = $1 and id = $2 and ($3::text = '' or outlet = $3)
    returning last_event
), added as (
    insert into conversation_event (tenant, conversation, seq, kind, facts)
    select $1, $2, last_event, $4, $5 from numbered
    returning seq
)
select pg_notify('conversation_event', $1 || ' ' || $2) from added"""


async def run_started(connection: Connection, tenant: str, conversation: str, run: str) -> None:
    """Tells watchers of the run (its bare id), when the transaction commits."""
    await connection.execute(APPEND, tenant, conversation, "", "RUN_STARTED", json.dumps({"run": run}))


async def order_changed(
    connection: Connection, tenant: str, conversation: str, outlet: str, changed: OrderChanged
) -> None:
    """Tells watchers of the order; nobody, when the outlet has no such conversation."""
    facts = json.dumps({"order": changed.order, "state": changed.state})
    await connection.execute(APPEND, tenant, conversation, outlet, "ORDER_CHANGED", facts)


LAST_SEQ: Final[LiteralString] = """
select last_event from conversation where tenant = $1 and id = $2 and ($3::text = '' or outlet = $3)"""


async def last_seq(connection: Connection, tenant: str, conversation: str, outlet: str) -> int | None:
    """The number of the conversation's newest event; None when the outlet ('': any) has no such conversation."""
    found: int | None = await connection.fetchval(LAST_SEQ, tenant, conversation, outlet)
    return found


SELECT_EVENTS: Final[LiteralString] = """
select seq, time, kind, facts from conversation_event
where tenant = $1 and conversation = $2 and seq > $3
order by seq
limit $4"""


async def events(
    connection: Connection, vault: Vault, tenant: str, conversation: str, after: int, limit: int
) -> list[FeedEvent]:
    """The events behind number `after`, in order; messages as they stand now."""
    rows = await connection.fetch(SELECT_EVENTS, tenant, conversation, after, limit)
    told = [(row["seq"], row["time"], row["kind"], json.loads(row["facts"])) for row in rows]
    ids = [facts["message"] for _, _, kind, facts in told if kind == "MESSAGE"]
    said = await messages.get_messages(connection, vault, tenant, conversation, ids) if ids else {}
    found = []
    for seq, time, kind, facts in told:
        event: Happened
        if kind == "MESSAGE":
            event = said[facts["message"]]
        elif kind == "CONTROLLER_CHANGED":
            was, now = Controller(facts["from"]), Controller(facts["to"])
            event = ControllerChanged(was, now, facts["epoch"], facts["reason"])
        elif kind == "ORDER_CHANGED":
            event = OrderChanged(facts["order"], facts["state"])
        else:
            event = RunStarted(f"conversations/{conversation}/runs/{facts['run']}")
        found.append(FeedEvent(seq, time, event))
    return found


class Bell:
    """Wakes this process's watchers when something was appended, here or elsewhere, and says who may speak: `silence`
    is called with tenant, conversation and epoch of every change of controller."""

    def __init__(self, dsn: str, silence: Callable[[str, str, int], None]) -> None:
        self._listening = Listening(dsn, CHANNEL, self._heard, self.ring_all, name="tria-conversation-bell")
        self._silence = silence
        self._waiting: dict[tuple[str, str], set[asyncio.Event]] = {}

    @property
    def watchers(self) -> int:
        """Watchers of this process."""
        return sum(len(events) for events in self._waiting.values())

    def join(self, tenant: str, conversation: str) -> asyncio.Event:
        """An event that is set whenever the conversation has news. Give it back with `leave`."""
        event = asyncio.Event()
        self._waiting.setdefault((tenant, conversation), set()).add(event)
        return event

    def leave(self, tenant: str, conversation: str, event: asyncio.Event) -> None:
        events = self._waiting[tenant, conversation]
        events.discard(event)
        if not events:
            del self._waiting[tenant, conversation]

    def ring_all(self) -> None:
        """Wakes everybody: something may have been missed, or the process is about to stop."""
        for events in self._waiting.values():
            for event in events:
                event.set()

    async def keep_listening(self) -> None:
        """Root of the listening task: listens, and comes back when PostgreSQL does."""
        await self._listening.keep_listening()

    def _heard(self, payload: str) -> None:
        tenant, conversation, *epoch = payload.split(" ")
        if epoch:
            self._silence(tenant, conversation, int(epoch[0]))
        for event in self._waiting.get((tenant, conversation), ()):
            event.set()
