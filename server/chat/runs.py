"""Runs in PostgreSQL: SQL and row mapping only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import asyncpg

from server.chat.assistant import Usage
from server.chat.leases import Leased
from server.chat.messages import Message
from server.db.pool import Connection


class RunState(StrEnum):
    """Where a run stands; all but the first two are final."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    INTERRUPTED = "INTERRUPTED"
    FAILED = "FAILED"

    @property
    def final(self) -> bool:
        return self not in {RunState.QUEUED, RunState.RUNNING}


@dataclass(frozen=True, slots=True)
class Run:
    """One production of an answer. `message` and `answer` are message ids; `error_*` are set when it FAILED; `newest`
    is the ordinal of the newest message that it answers, `controller_epoch` the conversation's when the first came."""

    id: str
    conversation: str
    message: str
    ordinal: int
    answer: str | None
    state: RunState
    owner: str
    last_seq: int
    epoch: int
    usage: Usage
    time_to_first_token_ms: int
    error_code: int | None
    error_reason: str | None
    error_message: str | None
    create_time: datetime
    end_time: datetime | None
    newest: int
    controller_epoch: int = 1

    @property
    def name(self) -> str:
        return f"conversations/{self.conversation}/runs/{self.id}"

    def leased(self, tenant: str) -> Leased:
        """The run as its owner has it."""
        return Leased(tenant, self.conversation, self.id, self.epoch)


_RUN = (
    "id, conversation, message, ordinal, answer, state, owner, last_seq, epoch, model, input_tokens, "
    "cached_input_tokens, output_tokens, reasoning_tokens, cost_micros, currency, estimated, "
    "time_to_first_token_ms, error_code, error_reason, error_message, create_time, end_time, newest, controller_epoch, "
    "saved_micros"
)

INSERT_RUN = f"""
insert into run (
    tenant, conversation, id, message, ordinal, newest, state, owner, lease_until, asker_box, controller_epoch
)
select $1, $2, $3, $4, $5, $5, 'QUEUED', $6, now() + make_interval(secs => $7), $8, controller_epoch
from conversation where tenant = $1 and id = $2
returning {_RUN}
"""


async def insert_run(
    connection: Connection, tenant: str, id: str, message: Message, owner: str, lease: float, asker_box: bytes
) -> Run:
    """A run that waits for its turn to answer `message`, leased to `owner` for `lease` seconds."""
    [row] = await connection.fetch(
        INSERT_RUN, tenant, message.conversation, id, message.id, message.ordinal, owner, lease, asker_box
    )
    return _run(row)


INSERT_UNANSWERED = f"""
insert into run (
    tenant, conversation, id, message, ordinal, newest, state, owner, lease_until, controller_epoch, last_seq, end_time
)
select $1, $2, $3, $4, $5, $5, 'COMPLETED', $6, now(), controller_epoch, $7, now()
from conversation where tenant = $1 and id = $2
returning {_RUN}
"""


async def insert_unanswered(
    connection: Connection, tenant: str, id: str, message: Message, owner: str, last_seq: int
) -> Run:
    """The run of a message that a person answers: over as soon as it is stored."""
    [row] = await connection.fetch(
        INSERT_UNANSWERED, tenant, message.conversation, id, message.id, message.ordinal, owner, last_seq
    )
    return _run(row)


SELECT_RUN = f"select {_RUN} from run where tenant = $1 and conversation = $2 and id = $3"


async def get_run(connection: Connection, tenant: str, conversation: str, id: str) -> Run | None:
    row = await connection.fetchrow(SELECT_RUN, tenant, conversation, id)
    return _run(row) if row else None


ACTIVE_RUNS = f"""
select {_RUN} from run
where tenant = $1 and conversation = $2 and state in ('QUEUED', 'RUNNING')
order by ordinal
"""


async def active_runs(connection: Connection, tenant: str, conversation: str) -> list[Run]:
    """Runs that wait or work, oldest first."""
    return [_run(row) for row in await connection.fetch(ACTIVE_RUNS, tenant, conversation)]


START_RUN = """
update run set state = 'RUNNING'
where tenant = $1 and conversation = $2 and id = $3 and owner = $4 and epoch = $5
    and state = 'QUEUED' and not cancel_requested
    and controller_epoch = (select controller_epoch from conversation where tenant = $1 and id = $2)
returning true
"""


async def start_run(connection: Connection, lease: Leased, owner: str) -> bool:
    """From QUEUED to RUNNING; False when it was cancelled or taken away meanwhile, or somebody else speaks now."""
    row = (lease.tenant, lease.conversation, lease.id, owner, lease.epoch)
    return bool(await connection.fetchval(START_RUN, *row))


# A run that began under another controller falls silent: it must not take a message with it.
JOIN_RUN = """
select true from run
where tenant = $1 and conversation = $2 and id = $3 and state in ('QUEUED', 'RUNNING')
    and not told and not cancel_requested and controller_epoch = $4
for update
"""


async def may_join(connection: Connection, tenant: str, run: Run, controller_epoch: int) -> bool:
    """Whether the run can still answer another message; it stays so until the transaction ends."""
    return bool(await connection.fetchval(JOIN_RUN, tenant, run.conversation, run.id, controller_epoch))


SET_NEWEST = "update run set newest = $4 where tenant = $1 and conversation = $2 and id = $3"


async def join(connection: Connection, tenant: str, conversation: str, id: str, ordinal: int) -> None:
    """The run answers the message of this ordinal too."""
    await connection.execute(SET_NEWEST, tenant, conversation, id, ordinal)


GET_ASKER = "select asker_box from run where tenant = $1 and conversation = $2 and id = $3"


async def asker_box(connection: Connection, lease: Leased) -> bytes | None:
    """Who asked, sealed."""
    box: bytes | None = await connection.fetchval(GET_ASKER, lease.tenant, lease.conversation, lease.id)
    return box


END_RUN = """
update run set
    state = $5, answer = $6, last_seq = $7, model = $8, input_tokens = $9, cached_input_tokens = $10,
    output_tokens = $11, reasoning_tokens = $12, cost_micros = $13, currency = $14, estimated = $15,
    time_to_first_token_ms = $16, error_code = $17, error_reason = $18, error_message = $19, end_time = now(),
    asker_box = null, saved_micros = $22
where tenant = $1 and conversation = $2 and id = $3 and owner = $4 and epoch = $20 and state in ('QUEUED', 'RUNNING')
    and ($21::bigint is null or newest = $21)
returning true
"""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended."""

    state: RunState
    last_seq: int
    usage: Usage
    time_to_first_token_ms: int = 0
    answer: str | None = None
    error_code: int | None = None
    error_reason: str | None = None
    error_message: str | None = None
    newest: int | None = None


async def end_run(connection: Connection, lease: Leased, owner: str, ending: Ending) -> bool:
    """Settles a run; False when it is not this owner's any more, or must answer a newer message than `ending.newest`
    (None: whichever): then nothing may be stored for it."""
    usage = ending.usage
    return bool(
        await connection.fetchval(
            END_RUN,
            lease.tenant,
            lease.conversation,
            lease.id,
            owner,
            ending.state,
            ending.answer,
            ending.last_seq,
            usage.model,
            usage.input_tokens,
            usage.cached_input_tokens,
            usage.output_tokens,
            usage.reasoning_tokens,
            usage.cost_micros,
            usage.currency,
            usage.estimated,
            ending.time_to_first_token_ms,
            ending.error_code,
            ending.error_reason,
            ending.error_message,
            lease.epoch,
            ending.newest,
            usage.saved_micros,
        )
    )


REQUEST_CANCEL = """
with asked as (
    update run set cancel_requested = true
    where tenant = $1 and conversation = $2 and id = $3 and state in ('QUEUED', 'RUNNING') and not cancel_requested
    returning tenant, conversation, id
)
select pg_notify('run_news', 'cancel ' || tenant || ' conversations/' || conversation || '/runs/' || id) from asked
"""


async def request_cancel(connection: Connection, tenant: str, conversation: str, id: str) -> None:
    """Asks the run's owner, wherever it is, to stop it: it hears of it when the transaction commits."""
    await connection.execute(REQUEST_CANCEL, tenant, conversation, id)


WHOSE = """
select conversation.outlet, message.person
from run
join conversation on conversation.tenant = run.tenant and conversation.id = run.conversation
join message on message.tenant = run.tenant and message.conversation = run.conversation and message.id = run.message
where run.tenant = $1 and run.conversation = $2 and run.id = $3
"""


async def whose(connection: Connection, lease: Leased) -> tuple[str, str] | None:
    """The outlet that the run belongs to, and the person whom it answers."""
    row = await connection.fetchrow(WHOSE, lease.tenant, lease.conversation, lease.id)
    return (row["outlet"], row["person"]) if row else None


def _run(row: asyncpg.Record) -> Run:
    return Run(
        id=row["id"],
        conversation=row["conversation"],
        message=row["message"],
        ordinal=row["ordinal"],
        answer=row["answer"],
        state=RunState(row["state"]),
        owner=row["owner"],
        last_seq=row["last_seq"],
        epoch=row["epoch"],
        usage=Usage(
            input_tokens=row["input_tokens"],
            cached_input_tokens=row["cached_input_tokens"],
            output_tokens=row["output_tokens"],
            reasoning_tokens=row["reasoning_tokens"],
            cost_micros=row["cost_micros"],
            currency=row["currency"],
            estimated=row["estimated"],
            model=row["model"],
            saved_micros=row["saved_micros"],
        ),
        time_to_first_token_ms=row["time_to_first_token_ms"],
        error_code=row["error_code"],
        error_reason=row["error_reason"],
        error_message=row["error_message"],
        create_time=row["create_time"],
        end_time=row["end_time"],
        newest=row["newest"],
        controller_epoch=row["controller_epoch"],
    )
