"""Runs in PostgreSQL: SQL and row mapping only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import asyncpg

from server.chat.assistant import Usage
from server.chat.conversations import Message
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
    """One production of an answer. `message` and `answer` are message ids; `error_*` are set when it FAILED."""

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

    @property
    def name(self) -> str:
        return f"conversations/{self.conversation}/runs/{self.id}"


_RUN = (
    "id, conversation, message, ordinal, answer, state, owner, last_seq, epoch, model, input_tokens, "
    "cached_input_tokens, output_tokens, reasoning_tokens, cost_micros, currency, estimated, "
    "time_to_first_token_ms, error_code, error_reason, error_message, create_time, end_time, saved_micros"
)

INSERT_RUN = f"""
insert into run (tenant, conversation, id, message, ordinal, state, owner, lease_until)
values ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8))
returning {_RUN}
"""


async def insert_run(
    connection: Connection, tenant: str, conversation: str, id: str, message: Message, owner: str, lease: float
) -> Run:
    """A run that waits for its turn to answer `message`, leased to `owner` for `lease` seconds."""
    [row] = await connection.fetch(
        INSERT_RUN, tenant, conversation, id, message.id, message.ordinal, RunState.QUEUED, owner, lease
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
where tenant = $1 and conversation = $2 and id = $3 and owner = $4 and state = 'QUEUED' and not cancel_requested
returning true
"""


async def start_run(connection: Connection, tenant: str, conversation: str, id: str, owner: str) -> bool:
    """From QUEUED to RUNNING; False when it was cancelled or taken away meanwhile."""
    return bool(await connection.fetchval(START_RUN, tenant, conversation, id, owner))


END_RUN = """
update run set
    state = $5, answer = $6, last_seq = $7, model = $8, input_tokens = $9, cached_input_tokens = $10,
    output_tokens = $11, reasoning_tokens = $12, cost_micros = $13, currency = $14, estimated = $15,
    time_to_first_token_ms = $16, error_code = $17, error_reason = $18, error_message = $19, end_time = now(),
    saved_micros = $20
where tenant = $1 and conversation = $2 and id = $3 and owner = $4 and state in ('QUEUED', 'RUNNING')
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


async def end_run(connection: Connection, tenant: str, conversation: str, id: str, owner: str, ending: Ending) -> bool:
    """Settles a run; False when it is not this owner's any more, and then nothing may be stored for it."""
    usage = ending.usage
    return bool(
        await connection.fetchval(
            END_RUN,
            tenant,
            conversation,
            id,
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
            usage.saved_micros,
        )
    )


REQUEST_CANCEL = """
update run set cancel_requested = true
where tenant = $1 and conversation = $2 and id = $3 and state in ('QUEUED', 'RUNNING')
"""


async def request_cancel(connection: Connection, tenant: str, conversation: str, id: str) -> None:
    """Asks the run's owner, wherever it is, to stop it at its next lease renewal."""
    await connection.execute(REQUEST_CANCEL, tenant, conversation, id)


RENEW_LEASES = """
update run set lease_until = now() + make_interval(secs => $2)
where owner = $1 and id = any($3::text[]) and state in ('QUEUED', 'RUNNING')
returning tenant, conversation, id, cancel_requested
"""


async def renew_leases(connection: Connection, owner: str, lease: float, ids: Sequence[str]) -> list[tuple[str, str]]:
    """Renews the leases of the runs that a process really has; returns (tenant, run name) of those asked to stop."""
    rows = await connection.fetch(RENEW_LEASES, owner, lease, ids)
    return [
        (row["tenant"], f"conversations/{row['conversation']}/runs/{row['id']}")
        for row in rows
        if row["cancel_requested"]
    ]


EXPIRE_LEASES = """
update run set state = 'INTERRUPTED', end_time = now()
where state in ('QUEUED', 'RUNNING') and lease_until < now()
returning tenant, conversation, id
"""


async def expire_leases(connection: Connection) -> list[tuple[str, str]]:
    """Ends the runs that nobody has any more; returns their (tenant, run name)."""
    rows = await connection.fetch(EXPIRE_LEASES)
    return [(row["tenant"], f"conversations/{row['conversation']}/runs/{row['id']}") for row in rows]


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
    )
