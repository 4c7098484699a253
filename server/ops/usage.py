"""What runs cost, from their rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from server.db.pool import Database
from server.errors import AppError, Code, Reason

_LONGEST = timedelta(days=400)


class Granularity(StrEnum):
    """How finely usage is cut, as PostgreSQL's date_trunc names it."""

    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class UsageSlice:
    """Usage of one model in one hour or day."""

    start: datetime
    model: str
    runs: int
    input_tokens: int
    output_tokens: int
    cost_micros: int
    saved_micros: int


@dataclass(frozen=True, slots=True)
class UsageSum:
    """A tenant's usage of a period; `kinds` counts runs by how they ended."""

    runs: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_micros: int
    estimated_micros: int
    saved_micros: int
    currency: str
    kinds: dict[str, int]
    slices: tuple[UsageSlice, ...]


USAGE_SUM = """
select count(*) as runs,
    coalesce(sum(input_tokens), 0)::bigint as input_tokens,
    coalesce(sum(cached_input_tokens), 0)::bigint as cached_input_tokens,
    coalesce(sum(output_tokens), 0)::bigint as output_tokens,
    coalesce(sum(cost_micros), 0)::bigint as cost_micros,
    coalesce(sum(cost_micros) filter (where estimated), 0)::bigint as estimated_micros,
    coalesce(sum(saved_micros), 0)::bigint as saved_micros,
    coalesce(max(currency), 'USD') as currency
from run
where tenant = $1 and end_time >= $2 and end_time < $3 and end_time is not null
"""

USAGE_KINDS = """
select coalesce(message.answer_kind, run.state) as kind, count(*) as runs
from run
left join message on message.tenant = run.tenant and message.conversation = run.conversation
    and message.id = run.answer
where run.tenant = $1 and run.end_time >= $2 and run.end_time < $3 and run.end_time is not null
group by 1 order by 1
"""

USAGE_SLICES = """
select date_trunc($4, end_time, 'UTC') as start, model, count(*) as runs,
    sum(input_tokens)::bigint as input_tokens, sum(output_tokens)::bigint as output_tokens,
    sum(cost_micros)::bigint as cost_micros, sum(saved_micros)::bigint as saved_micros
from run
where tenant = $1 and end_time >= $2 and end_time < $3 and end_time is not null
group by 1, 2 order by 1, 2 limit 1000
"""


async def usage_of(
    database: Database, tenant: str, start: datetime | None, end: datetime | None, cut: Granularity | None
) -> UsageSum:
    """The tenant's runs that ended between `start` (today's beginning) and `end` (now). Raises INVALID_ARGUMENT."""
    until = end or datetime.now(UTC)
    since = start or until.replace(hour=0, minute=0, second=0, microsecond=0)
    if not since < until <= since + _LONGEST:
        message = "start_time must be before end_time, and not more than 400 days"
        raise AppError(Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, message)
    async with database.connection() as connection:
        row = await connection.fetchrow(USAGE_SUM, tenant, since, until)
        kinds = await connection.fetch(USAGE_KINDS, tenant, since, until)
        cuts = await connection.fetch(USAGE_SLICES, tenant, since, until, cut.value) if cut else []
    if row is None:
        raise RuntimeError("a sum without a row")
    slices = tuple(UsageSlice(**dict(each)) for each in cuts)
    return UsageSum(**dict(row), kinds={each["kind"]: each["runs"] for each in kinds}, slices=slices)
