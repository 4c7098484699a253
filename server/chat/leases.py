"""Whose runs are whose, in PostgreSQL: leases, what was shown, who waits. SQL only.

`epoch` grows whenever a run changes hands, so that a process that was slow and not dead cannot end a run, or say a
first word of it, once another has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

from server.db.pool import Connection

CHANNEL = "run_news"
"""Notified with `cancel <tenant> <run name>` when a run is to stop, `released` when runs look for another process."""


@dataclass(frozen=True, slots=True)
class Leased:
    """A run of this process, and the epoch in which it has it."""

    tenant: str
    conversation: str
    id: str
    epoch: int

    @property
    def name(self) -> str:
        return f"conversations/{self.conversation}/runs/{self.id}"


@dataclass(frozen=True, slots=True)
class Renewed:
    """A renewed lease. `stop` when the run is to end: somebody asked for that, or somebody else speaks for the desk."""

    lease: Leased
    stop: bool


RENEW: Final[LiteralString] = """
update run set lease_until = now() + make_interval(secs => $2)
from unnest($3::text[], $4::bigint[]) as mine (id, epoch)
where run.owner = $1 and run.id = mine.id and run.epoch = mine.epoch and run.state in ('QUEUED', 'RUNNING')
returning run.tenant, run.conversation, run.id, run.epoch, run.cancel_requested or run.controller_epoch <> (
    select controller_epoch from conversation where tenant = run.tenant and id = run.conversation
) as stop"""


async def renew(connection: Connection, owner: str, lease: float, held: Sequence[Leased]) -> list[Renewed]:
    """Renews the leases of the runs that a process really has; what is not in the answer is not its own any more."""
    ids, epochs = [run.id for run in held], [run.epoch for run in held]
    rows = await connection.fetch(RENEW, owner, lease, ids, epochs)
    return [Renewed(Leased(row["tenant"], row["conversation"], row["id"], row["epoch"]), row["stop"]) for row in rows]


# A run that two processes lost in the middle is not tried a third time: it may be what they died of.
TAKE_OVER: Final[LiteralString] = """
update run set
    owner = $1, epoch = epoch + 1, state = 'QUEUED', lease_until = now() + make_interval(secs => $2)
where (tenant, conversation, id) in (
    select tenant, conversation, id from run
    where state in ('QUEUED', 'RUNNING') and lease_until < now() and (owner = '' or $4)
        and not told and not cancel_requested and asker_box is not null and epoch < 3
    order by lease_until limit $3
    for update skip locked
)
returning tenant, conversation, id, epoch"""


async def take_over(connection: Connection, owner: str, lease: float, most: int, *, orphans: bool) -> list[Leased]:
    """Makes runs that nobody has any more, and of which nothing was shown, this owner's in a new epoch: those that were
    given away, and with `orphans` those whose lease ran out."""
    return [Leased(*row) for row in await connection.fetch(TAKE_OVER, owner, lease, most, orphans)]


EXPIRE: Final[LiteralString] = """
update run set state = 'INTERRUPTED', end_time = now(), epoch = epoch + 1, asker_box = null
where (tenant, conversation, id) in (
    select tenant, conversation, id from run
    where state in ('QUEUED', 'RUNNING') and lease_until < now()
        and (told or cancel_requested or asker_box is null or epoch >= 3)
    for update skip locked
)
returning tenant, conversation, id, epoch"""


async def expire(connection: Connection) -> list[Leased]:
    """Ends the runs that nobody has any more and that cannot be made anew; in the epoch of their ending."""
    return [Leased(*row) for row in await connection.fetch(EXPIRE)]


RELEASE: Final[LiteralString] = """
with mine as (
    select run.tenant, run.conversation, run.id
    from run join unnest($2::text[], $3::bigint[]) as asked (id, epoch) using (id, epoch)
    where owner = $1 and state in ('QUEUED', 'RUNNING') and not told and not cancel_requested
    order by run.id
    for update of run skip locked
)
update run set lease_until = now() - interval '1 second', owner = ''
from mine
where (run.tenant, run.conversation, run.id) = (mine.tenant, mine.conversation, mine.id)
returning run.tenant, run.conversation, run.id, run.epoch"""


async def release(connection: Connection, owner: str, held: Sequence[Leased]) -> list[Leased]:
    """Gives away those of the runs of which nothing was shown and whose rows nobody else holds, when the transaction
    commits. From then on they are nobody's: who had them can neither renew them nor say or store anything."""
    rows = await connection.fetch(RELEASE, owner, [run.id for run in held], [run.epoch for run in held])
    if rows:
        await connection.execute("select pg_notify($1, 'released')", CHANNEL)
    return [Leased(*row) for row in rows]


TELL: Final[LiteralString] = """
update run set told = true
where tenant = $1 and conversation = $2 and id = $3 and owner = $4 and epoch = $5 and state = 'RUNNING'
    and newest = $6 and not cancel_requested
    and controller_epoch = (select controller_epoch from conversation where tenant = $1 and id = $2)
returning true"""


async def tell(connection: Connection, lease: Leased, owner: str, newest: int) -> bool:
    """Before the first word: from now on the run is not made anew. False when it is another's, was ended, is to stop,
    somebody else speaks for the desk, or a newer message was merged into it meanwhile."""
    row = (lease.tenant, lease.conversation, lease.id, owner, lease.epoch, newest)
    return bool(await connection.fetchval(TELL, *row))


SET_LAST_SEQ: Final[LiteralString] = """
update run set last_seq = $5
where tenant = $1 and conversation = $2 and id = $3 and epoch = $4 and state = 'INTERRUPTED'"""


async def set_last_seq(connection: Connection, lease: Leased, last_seq: int) -> None:
    """The number of the terminal event that was written for a lost run."""
    await connection.execute(SET_LAST_SEQ, lease.tenant, lease.conversation, lease.id, lease.epoch, last_seq)


TOUCH: Final[LiteralString] = """
update run set followed_at = now()
from unnest($1::text[], $2::text[], $3::text[]) as followed (tenant, conversation, id)
where run.tenant = followed.tenant and run.conversation = followed.conversation and run.id = followed.id
    and run.state in ('QUEUED', 'RUNNING')"""


async def touch(connection: Connection, followed: Sequence[tuple[str, str, str]]) -> None:
    """Somebody waits for these runs, (tenant, conversation, id), at a process that does not have them."""
    await connection.execute(TOUCH, *(list(column) for column in zip(*followed, strict=True)))


GOING_ON: Final[LiteralString] = """
select run.tenant, run.conversation, run.id
from run join unnest($1::text[], $2::text[], $3::text[]) as asked (tenant, conversation, id)
    on run.tenant = asked.tenant and run.conversation = asked.conversation and run.id = asked.id
where run.state in ('QUEUED', 'RUNNING')"""


async def going_on(connection: Connection, asked: Sequence[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    """Those of the runs, (tenant, conversation, id), that have not ended."""
    rows = await connection.fetch(GOING_ON, *(list(column) for column in zip(*asked, strict=True)))
    return {(row["tenant"], row["conversation"], row["id"]) for row in rows}


ALONE: Final[LiteralString] = """
select id from run
where owner = $1 and id = any($2::text[]) and state in ('QUEUED', 'RUNNING')
    and (followed_at is null or followed_at < now() - make_interval(secs => $3))"""


async def alone(connection: Connection, owner: str, ids: Sequence[str], patience: float) -> set[str]:
    """Those of the owner's runs that nobody has followed at another process for `patience` seconds."""
    return {row["id"] for row in await connection.fetch(ALONE, owner, ids, patience)}
