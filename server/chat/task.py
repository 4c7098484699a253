"""What a run has to answer, how it is kept for another process, and what may come in between."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from server.audit.sealing import Vault
from server.caller import AuthMethod, Caller, Request, Role
from server.chat import conversations, messages, runs
from server.chat.conversations import Conversation
from server.chat.leases import Leased
from server.chat.messages import Message
from server.chat.runs import Run
from server.db.pool import Connection

_PLACE = "run asker"


class RunLost(Exception):
    """The run is another process's by now, or was ended by somebody: nothing of it may be told or stored here."""


class Unwanted(Exception):
    """Before its first word the run turned out to be one that is to stop."""


class NewerMessage(Exception):
    """A message was merged into the run before its first word: the answer has to begin anew."""


@dataclass(frozen=True, slots=True)
class Task:
    """A stored message with the run that will answer it. `waits` runs of the conversation were going on then, and
    `window` is how many seconds it waits for messages to merge."""

    caller: Caller
    request: Request
    conversation: Conversation
    message: Message
    run: Run
    locale: str
    waits: int
    window: float = 0.0

    @property
    def lease(self) -> Leased:
        """The run as this process has it."""
        return self.run.leased(self.caller.tenant)


async def seal_asker(
    connection: Connection, vault: Vault, caller: Caller, request: Request, run: str, locale: str
) -> bytes:
    """Who asked and how, for whoever may have to answer instead of this process."""
    asker = {
        "subject": caller.subject,
        "roles": sorted(caller.roles),
        "auth_method": caller.auth_method,
        "outlet": caller.outlet,
        "on_behalf_of": caller.on_behalf_of,
        "person": caller.person,
        "locale": locale,
        "request": [request.request_id, request.trace_id, request.traceparent, request.method, request.agent],
    }
    key = await vault.key_for(connection, caller.tenant, caller.person)
    return key.seal(json.dumps(asker), _PLACE, run)


async def recall(connection: Connection, vault: Vault, lease: Leased) -> Task | None:
    """The task of a run that another process began; None when somebody erased what it needs."""
    tenant = lease.tenant
    box = await runs.asker_box(connection, lease)
    opened = (await vault.keys_of(connection, tenant, [box])).text(box, _PLACE, lease.id)
    run = await runs.get_run(connection, tenant, lease.conversation, lease.id)
    conversation = await conversations.get_conversation(connection, vault, tenant, lease.conversation, "")
    if opened is None or run is None or conversation is None:
        return None
    message = await messages.get_message(connection, vault, tenant, lease.conversation, run.message)
    if message is None:
        return None
    asker = json.loads(opened)
    caller = Caller(
        tenant,
        asker["subject"],
        frozenset(Role(role) for role in asker["roles"]),
        AuthMethod(asker["auth_method"]),
        asker["outlet"],
        asker["on_behalf_of"],
        person=asker["person"],
    )
    request_id, trace_id, traceparent, method, agent = asker["request"]
    request = Request(request_id, trace_id, traceparent, method, "", agent)
    return Task(caller, request, conversation, message, run, asker["locale"], waits=0)


async def with_merged(connection: Connection, vault: Vault, task: Task) -> Task:
    """The task with every message that its run answers by now, as one: the first one's place, the newest one's name."""
    tenant, conversation = task.caller.tenant, task.conversation.id
    run = await runs.get_run(connection, tenant, conversation, task.run.id)
    if run is None or run.newest <= task.run.ordinal:
        return task
    said = await messages.messages_of_run(connection, vault, tenant, conversation, run.id)
    if not said:
        return task
    message = replace(said[-1], text="\n".join(message.text for message in said), ordinal=task.run.ordinal)
    # The epoch stays: it is the one in which this process has the run.
    return replace(task, message=message, run=replace(task.run, newest=run.newest))
