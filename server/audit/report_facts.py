"""The figures of a compliance report, read from the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from server.audit import tree_store
from server.audit.actions import Action, LeafKind
from server.audit.tree_store import SignedHead
from server.db.pool import Connection

MOST_ROWS = 200
"""Rows of a list at most; the counts count all."""

ADMINISTRATION = (
    Action.CONFIG_CHANGE,
    Action.ADMIN_COMMAND,
    Action.CATALOGUE_IMPORT,
    Action.DOCUMENT_IMPORT,
    Action.DOCUMENT_DELETE,
    Action.CACHE_WARM,
)
PEOPLE = (Action.SUBJECT_ERASE, Action.SUBJECT_EXPORT, Action.CONSENT_CHANGE)
ATTACKS = (Action.INJECTION_SUSPECT, Action.WEBHOOK_FORGED, Action.METHOD_UNKNOWN)
READING = (Action.AUDIT_READ, Action.AUDIT_EXPORT, Action.AUDIT_PROVE)


@dataclass(frozen=True, slots=True)
class Counted:
    """How often an action ended which way. `kind`: as a call (ACCESS), or as what it changed (CHANGE, SYSTEM)."""

    action: str
    kind: str
    decision: str
    count: int


@dataclass(frozen=True, slots=True)
class Reader:
    """How often somebody read the trail."""

    action: str
    actor: str
    count: int


@dataclass(frozen=True, slots=True)
class Refusals:
    """How often somebody was refused what, and why. `actor` is empty for who was not known."""

    action: str
    reason: str
    rpc: str
    actor: str
    source: str
    count: int
    latest: datetime


@dataclass(frozen=True, slots=True)
class Done:
    """One event of a list."""

    seq: int
    occurred_at: datetime
    action: str
    actor: str
    resource: str
    decision: str


@dataclass(frozen=True, slots=True)
class Period:
    """The records of the period by their numbers; None where there are none."""

    first: int | None
    last: int | None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a report says. `holes` are seqs that the log should have between the period's first and last and has
    not."""

    tenant: str
    since: datetime
    until: datetime
    period: Period
    holes: int
    head: SignedHead | None
    counts: Sequence[Counted]
    denied: Sequence[Refusals]
    unauthenticated: Sequence[Refusals]
    administration: Sequence[Done]
    people: Sequence[Done]
    attacks: Sequence[Done]
    reading: Sequence[Reader]


async def facts(connection: Connection, tenant: str, since: datetime, until: datetime) -> Facts:
    """The report over [since, until), by the time of recording, which is the log's order.

    Call it in one transaction that repeats its reads.
    """
    window = (tenant, since, until)
    period = Period(*(await connection.fetchrow(_PERIOD, *window) or (None, None)))
    return Facts(
        tenant=tenant,
        since=since,
        until=until,
        period=period,
        holes=await connection.fetchval(_HOLES, tenant, period.first, period.last),
        head=await tree_store.latest_checkpoint(connection, tenant),
        counts=[Counted(*row) for row in await connection.fetch(_COUNTS, *window)],
        denied=await _refusals(connection, window, (Action.ACCESS_DENY, Action.RATE_LIMIT)),
        unauthenticated=await _refusals(connection, window, (Action.AUTHENTICATION_FAIL,)),
        administration=await _done(connection, window, ADMINISTRATION),
        people=await _done(connection, window, PEOPLE),
        attacks=await _done(connection, window, ATTACKS),
        reading=[Reader(*row) for row in await connection.fetch(_BY_ACTOR, *window, _names(READING))],
    )


_PERIOD: LiteralString = """
    select min(seq), max(seq) from audit_event where tenant = $1 and recorded_at >= $2 and recorded_at < $3
"""

_HOLES: LiteralString = """
    select coalesce($3::bigint - $2::bigint + 1, 0) - count(*) from audit_event
    where tenant = $1 and seq >= $2 and seq <= $3
"""

_COUNTS: LiteralString = """
    select action, kind, decision, count(*) from audit_event
    where tenant = $1 and recorded_at >= $2 and recorded_at < $3
    group by action, kind, decision order by action, kind, decision
"""

_BY_ACTOR: LiteralString = """
    select action, actor, count(*) from audit_event
    where tenant = $1 and recorded_at >= $2 and recorded_at < $3 and action = any($4)
    group by action, actor order by count(*) desc, action, actor limit 200
"""

_REFUSALS: LiteralString = """
    select action, coalesce(event #>> '{details,reason}', ''), event ->> 'rpc', actor,
           event #>> '{source,ip_hash}', count(*), max(occurred_at)
    from (select action, actor, occurred_at, convert_from(leaf, 'utf8')::jsonb as event from audit_event
          where tenant = $1 and recorded_at >= $2 and recorded_at < $3 and action = any($4)) as refused
    group by 1, 2, 3, 4, 5 order by count(*) desc, max(occurred_at) desc limit $5
"""


async def _refusals(
    connection: Connection, window: tuple[str, datetime, datetime], actions: Sequence[Action]
) -> list[Refusals]:
    return [Refusals(*row) for row in await connection.fetch(_REFUSALS, *window, _names(actions), MOST_ROWS)]


_DONE: LiteralString = """
    select seq, occurred_at, action, actor, resource, decision from audit_event
    where tenant = $1 and recorded_at >= $2 and recorded_at < $3 and action = any($4)
        and (kind <> 'ACCESS' or decision <> 'ALLOWED' or action = 'METHOD_UNKNOWN')
    order by seq desc limit $5
"""
"""A call that changed something has left two records; its change says more."""


async def _done(
    connection: Connection, window: tuple[str, datetime, datetime], actions: Sequence[Action]
) -> list[Done]:
    return [Done(*row) for row in await connection.fetch(_DONE, *window, _names(actions), MOST_ROWS)]


def total(counts: Sequence[Counted], actions: Sequence[Action], *kinds: LeafKind) -> int:
    """How many records of these actions there are, of these kinds (none given: of any)."""
    names = set(_names(actions))
    return sum(row.count for row in counts if row.action in names and (not kinds or row.kind in kinds))


def _names(actions: Sequence[Action]) -> list[str]:
    return [action.value for action in actions]
