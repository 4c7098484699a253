"""Events of other systems: what an internal service may write into the trail, and what it may not (DECISIONS.md 41).

The trail must stay worth believing: a service speaks for itself only, about things that TRIA does not witness itself,
and what it says is scrubbed like everything else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from server.audit import store
from server.audit.actions import Action, Decision, LeafKind
from server.audit.changes import Author
from server.audit.events import Event
from server.audit.leaf import NO_TENANT, Leaf, Plain, clean, leaf_hash, plain
from server.audit.reading import PENDING
from server.audit.store import Entry
from server.caller import Caller, Role
from server.db.pool import Database
from server.errors import invalid
from server.idempotency import Idempotency, Once, once
from server.pii.scrub import scrub

WRITABLE = frozenset(
    {
        Action.DATA_READ,
        Action.DATA_LIST,
        Action.DATA_EXPORT,
        Action.DATA_DELETE,
        Action.INVOICE_POST,
        Action.INVOICE_VOID,
        Action.CONSENT_CHANGE,
        Action.CONFIG_CHANGE,
        Action.ADMIN_COMMAND,
        Action.AUTHENTICATION_FAIL,
        Action.ACCESS_DENY,
        Action.RATE_LIMIT,
    }
)
"""What a service may say was done. Chats, orders, proposals, the trail itself and erasure are TRIA's own to record."""

_TARGET = re.compile(r"[a-z][a-z0-9_]*(/[\w.~:%-]+){1,7}", re.ASCII)
_TRACE = re.compile(r"[0-9a-f]{32}")
_STATUS = re.compile(r"[A-Z_]{1,32}")
_LONGEST_TEXT = 512
_MOST_DETAILS = 4096  # bytes of JSON
_AHEAD = timedelta(minutes=5)
_BEHIND = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Told:
    """What a service says happened. `actor_kind` and `actor_id` are empty, or the service itself."""

    action: Action
    decision: Decision
    actor_kind: str = ""
    actor_id: str = ""
    on_behalf_of: str = ""
    targets: tuple[str, ...] = ()
    status: str = ""
    request_id: str = ""
    trace_id: str = ""
    occurred_at: datetime | None = None
    details: Mapping[str, Any] | None = None
    sealed: bool = False


class Recording:
    """The use case behind RecordEvent."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, author: Author, told: Told, idempotency: Idempotency[Event]) -> Once:
        """Writes it, once per request_id. Raises INVALID_ARGUMENT for what a service may not say."""
        leaf = _leaf(author, told, datetime.now(UTC))
        entry = Entry.of(leaf)

        async def add() -> Event:
            await store.add(connection, [entry])
            return Event(leaf.tenant, PENDING, leaf.occurred_at, entry.encoded, leaf_hash(entry.encoded))

        async with self._database.transaction() as connection:
            return await once(connection, author.caller, idempotency, add)


def _leaf(author: Author, told: Told, now: datetime) -> Leaf:
    caller, call = author.caller, author.request
    tenant = caller.tenant or NO_TENANT
    _check(caller, told, now)
    actor = author.shown.actor(caller)
    speaks_for = told.on_behalf_of or caller.on_behalf_of
    return Leaf(
        tenant=tenant,
        action=told.action,
        actor=type(actor)(
            Role.SERVICE.value, actor.id, actor.auth_method, author.shown.subject(tenant, clean(speaks_for))
        ),
        decision=told.decision,
        kind=LeafKind.CHANGE,
        status=told.status or "OK",
        targets=tuple(_target(author, tenant, target) for target in told.targets),
        rpc=call.method if call else "",
        request_id=scrub(clean(told.request_id)) or (call.request_id if call else ""),
        trace_id=told.trace_id or (call.trace_id if call else ""),
        source=author.shown.source(tenant, call),
        details=_details(told.details or {}),
        occurred_at=told.occurred_at or now,
    )


def _check(caller: Caller, told: Told, now: datetime) -> None:
    if told.action not in WRITABLE:
        raise invalid("event.action", f"a service cannot record {told.action}; only {', '.join(sorted(WRITABLE))}")
    if told.actor_kind not in {"", Role.SERVICE.value} or told.actor_id not in {"", caller.subject}:
        raise invalid("event.actor", "must be empty or the calling service; name the other in on_behalf_of")
    if told.sealed:
        raise invalid("event.sealed", "must be empty: only the server seals")
    if told.status and not _STATUS.fullmatch(told.status):
        raise invalid("event.status", "must be the name of a status, such as OK")
    if told.trace_id and not _TRACE.fullmatch(told.trace_id):
        raise invalid("event.trace_id", "must be 32 lower-case hexadecimal digits")
    if told.occurred_at and not now - _BEHIND <= told.occurred_at <= now + _AHEAD:
        raise invalid("event.occurred_at", f"must be within the last {_BEHIND.days} days")


def _target(author: Author, tenant: str, target: str) -> str:
    """A resource name whose ids say nothing about a person: what may be a telephone number becomes a pseudonym."""
    if not _TARGET.fullmatch(target) or scrub(target) != target:
        raise invalid("event.targets", "must be resource names such as documents/42, without personal data")
    kind, *ids = target.split("/")
    return "/".join([kind, *(author.shown.subject(tenant, id) for id in ids)])


def _details(told: Mapping[str, Any]) -> dict[str, Plain]:
    try:
        details = _scrubbed(plain(told))
    except ValueError as problem:
        raise invalid("event.details", str(problem)) from problem
    if len(orjson.dumps(details)) > _MOST_DETAILS:
        raise invalid("event.details", f"must not be larger than {_MOST_DETAILS} bytes as JSON")
    return dict(details) if isinstance(details, Mapping) else {}


def _scrubbed(value: Plain) -> Plain:
    match value:
        case str():
            return scrub(clean(value))[:_LONGEST_TEXT]
        case Mapping():
            return {scrub(clean(name))[:_LONGEST_TEXT]: _scrubbed(item) for name, item in value.items()}
        case Sequence():
            return [_scrubbed(item) for item in value]
        case _:
            return value
