"""Writes that may be sent twice: the same request_id with the same body gets the first answer (CONTRACT.md §2).

The row is inserted by the write's own transaction, so a second call waits on the primary key until the first has
committed or rolled back: there is no moment between a check and an insert.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from server.caller import Caller
from server.db.pool import Connection
from server.errors import AppError, Code, Reason

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Idempotency(Generic[T]):
    """What makes one call repeatable. `request_id` may be empty: then the call is simply done. `body` is the request
    without its request_id, in bytes; `encode` turns the answer into the bytes that are kept and sent."""

    method: str
    request_id: str
    body: bytes
    encode: Callable[[T], bytes]


@dataclass(frozen=True, slots=True)
class Once:
    """An answer as encoded, and whether it is the first one replayed."""

    answer: bytes
    replayed: bool


_CLAIM = """
insert into idempotency (tenant, principal, method, request_id, body_sha256)
values ($1, $2, $3, $4::uuid, $5)
on conflict do nothing
returning true
"""

_FIRST_ANSWER = """
select body_sha256, response from idempotency
where tenant = $1 and principal = $2 and method = $3 and request_id = $4::uuid
"""

_KEEP_ANSWER = """
update idempotency set response = $5
where tenant = $1 and principal = $2 and method = $3 and request_id = $4::uuid
"""


async def once(
    connection: Connection,
    caller: Caller,
    idempotency: Idempotency[T],
    produce: Callable[[], Awaitable[T]],
) -> Once:
    """Runs `produce` inside the caller's transaction, or gives the first answer again.

    Raises ALREADY_EXISTS (IDEMPOTENCY_KEY_REUSED) when the id came before with another body.
    """
    if not idempotency.request_id:
        return Once(idempotency.encode(await produce()), replayed=False)
    # The same person speaking for another outlet is another principal: what it sees differs.
    principal = f"{caller.subject} {caller.outlet}" if caller.outlet else caller.subject
    key = (caller.tenant, principal, idempotency.method, idempotency.request_id)
    digest = hashlib.sha256(idempotency.body).digest()
    if await connection.fetchval(_CLAIM, *key, digest):
        answer = idempotency.encode(await produce())
        await connection.execute(_KEEP_ANSWER, *key, answer)
        return Once(answer, replayed=False)
    first = await connection.fetchrow(_FIRST_ANSWER, *key)
    if first is None or first["body_sha256"] != digest:
        raise AppError(
            Code.ALREADY_EXISTS,
            Reason.IDEMPOTENCY_KEY_REUSED,
            "this request_id was used with another body",
            metadata={"request_id": idempotency.request_id},
        )
    return Once(first["response"], replayed=True)
