"""How long each kind of data is kept, and the statement that removes what is older. The one place; server/audit/DATA.md
says it in words, and a test compares the two.

Each statement takes the time before which rows are too old, how many to remove at most, and the time from which to
look; it returns (tenant, removed, the newest time removed), and the next batch goes on from there, past what had to
stay. What belongs to a person on legal hold stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, LiteralString


@dataclass(frozen=True, slots=True)
class RetentionDays:
    """Days that each kind is kept, as configured."""

    conversations: int
    order_events: int
    learnt_words: int
    audit: int


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of data. `old` counts (tenant, rows) that are too old; `remove` removes some of them. `patience` is the
    longest that a statement may take, in seconds, where that is more than usual."""

    name: str
    old: LiteralString
    remove: LiteralString
    patience: float | None = None


def _by_age(name: str, table: LiteralString, time: LiteralString) -> Kind:
    """A kind whose rows go by one of their times, and for no other reason."""
    old: LiteralString = f"select tenant, count(*) as count from {table} where {time} < $1 group by tenant"
    remove: LiteralString = f"""
with removed as (
    delete from {table} where ctid = any(array(
        select ctid from {table} where {time} >= $3 and {time} < $1
        order by {time}
        limit $2
        for update skip locked))
    returning tenant, {time} as time
)
select tenant, count(*) as count, max(time) as until from removed group by tenant"""
    return Kind(name, old, remove)


OLD_CONVERSATIONS: Final[LiteralString] = """
select conversation.tenant, count(*) as count from conversation
where update_time < $1 and not exists (
    select from legal_hold as hold where hold.tenant = conversation.tenant and (hold.person = conversation.person
        or exists (select from message where message.tenant = hold.tenant and message.conversation = conversation.id
            and message.person = hold.person)))
group by conversation.tenant"""

# Foreign keys are looked at when the whole statement is done.
REMOVE_CONVERSATIONS: Final[LiteralString] = """
with old as (
    select tenant, id, update_time from conversation
    where update_time >= $3 and update_time < $1 and not exists (
        select from legal_hold as hold where hold.tenant = conversation.tenant and (hold.person = conversation.person
            or exists (select from message where message.tenant = hold.tenant
                and message.conversation = conversation.id and message.person = hold.person)))
    order by update_time
    limit $2
    for update skip locked
), messages as (
    delete from message using old where message.tenant = old.tenant and message.conversation = old.id
), runs as (
    delete from run using old where run.tenant = old.tenant and run.conversation = old.id
), removed as (
    delete from conversation using old where conversation.tenant = old.tenant and conversation.id = old.id
    returning conversation.tenant, old.update_time as time
)
select tenant, count(*) as count, max(time) as until from removed group by tenant"""

# An order's own proposal is part of how it came about, but nothing of the order needs it any more.
OLD_PROPOSALS: Final[LiteralString] = """
select tenant, count(*) as count from proposal
where greatest(expires_at, decide_time) < $1 and not exists (
    select from legal_hold as hold where hold.tenant = proposal.tenant and hold.person = proposal.person)
group by tenant"""

# An answer that is kept longer than what it proposed does not name it any more.
REMOVE_PROPOSALS: Final[LiteralString] = """
with removed as (
    delete from proposal where ctid = any(array(
        select ctid from proposal
        where greatest(expires_at, decide_time) >= $3 and greatest(expires_at, decide_time) < $1 and not exists (
            select from legal_hold as hold where hold.tenant = proposal.tenant and hold.person = proposal.person)
        order by greatest(expires_at, decide_time)
        limit $2
        for update skip locked))
    returning tenant, id, conversation, greatest(expires_at, decide_time) as time
), unnamed as (
    update message set proposal = null from removed
    where message.tenant = removed.tenant and message.proposal = removed.id
        and message.conversation = regexp_replace(removed.conversation, '^conversations/', '')
)
select tenant, count(*) as count, max(time) as until from removed group by tenant"""

OLD_WORDS: Final[LiteralString] = """
select tenant, count(*) as count from outlet_alias as word
where last_time < $1 and not exists (
    select from legal_hold as hold where hold.tenant = word.tenant and hold.person = word.person)
group by tenant"""

REMOVE_WORDS: Final[LiteralString] = """
with removed as (
    delete from outlet_alias where ctid = any(array(
        select ctid from outlet_alias as word
        where last_time >= $3 and last_time < $1 and not exists (
            select from legal_hold as hold where hold.tenant = word.tenant and hold.person = word.person)
        order by last_time
        limit $2
        for update skip locked))
    returning tenant, last_time as time
)
select tenant, count(*) as count, max(time) as until from removed group by tenant"""


OLD_WEBHOOKS: Final[LiteralString] = """
select '-' as tenant, count(*) as count from webhook_event where receive_time < $1 having count(*) > 0"""

# An event tells whose books changed and not which tenant's.
REMOVE_WEBHOOKS: Final[LiteralString] = """
with removed as (
    delete from webhook_event where ctid = any(array(
        select ctid from webhook_event where receive_time >= $3 and receive_time < $1
        order by receive_time
        limit $2
        for update skip locked))
    returning receive_time as time
)
select '-' as tenant, count(*) as count, max(time) as until from removed having count(*) > 0"""


# By whole months; the function refuses what no checkpoint covers.
OLD_AUDIT: Final[LiteralString] = """
select tenant, count(*) as count from audit_event
where recorded_at < date_trunc('month', $1::timestamptz, 'UTC') and not exists (select from legal_hold)
group by tenant"""

RETIRE_AUDIT: Final[LiteralString] = """
select tenant, sum(last - first + 1)::bigint as count, $1::timestamptz as until
from audit_retire(case when exists (select from legal_hold) then '-infinity' else $1::timestamptz end)
where $2::integer > 0 and $3::timestamptz < $1
group by tenant"""

CONVERSATIONS = Kind("conversations", OLD_CONVERSATIONS, REMOVE_CONVERSATIONS)
PROPOSALS = Kind("proposals", OLD_PROPOSALS, REMOVE_PROPOSALS)
LEARNT_WORDS = Kind("learnt_words", OLD_WORDS, REMOVE_WORDS)
ORDER_EVENTS = _by_age("order_events", "order_event", "time")
KEPT_ANSWERS = _by_age("kept_answers", "idempotency", "created_at")
WEBHOOK_EVENTS = Kind("webhook_events", OLD_WEBHOOKS, REMOVE_WEBHOOKS)
DESTROYED_KEYS = _by_age("destroyed_keys", "subject_key", "destroyed_at")
AUDIT = Kind("audit_log", OLD_AUDIT, RETIRE_AUDIT, patience=600.0)  # it reads whole months before it drops them

ANSWERS_DAYS = 7  # CONTRACT: what a request_id is good for
WEBHOOK_DAYS = 30  # an event is not delivered again after that
TOMBSTONE_DAYS = 90  # what says of a leftover box that its key was destroyed and not lost


def cutoffs(days: RetentionDays, now: datetime) -> Mapping[str, tuple[Kind, datetime]]:
    """Each kind by name, with the time before which it is too old."""
    kept = {
        CONVERSATIONS: days.conversations,
        PROPOSALS: days.conversations,
        LEARNT_WORDS: days.learnt_words,
        ORDER_EVENTS: days.order_events,
        KEPT_ANSWERS: ANSWERS_DAYS,
        WEBHOOK_EVENTS: WEBHOOK_DAYS,
        DESTROYED_KEYS: TOMBSTONE_DAYS,
        AUDIT: days.audit,
    }
    return {kind.name: (kind, now - timedelta(days=count)) for kind, count in kept.items()}
