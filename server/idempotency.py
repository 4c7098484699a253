"""Writes that may be sent twice: the same request_id with the same body gets the first answer (CONTRACT.md §2).

The row is inserted by the write's own transaction, so a second call waits on the primary key until the first has
committed or rolled back: there is no moment between a check and an insert.

Answers hold what people wrote, and so does a plain hash of a request, to whoever can guess. The row therefore holds
nothing that opens without the request_id, which is random and stored as a digest only: the answer is sealed with a key
derived from it, and the body's digest is keyed with it. Whoever repeats a call brings the key along.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar, runtime_checkable
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from server.caller import Caller
from server.db.pool import Connection
from server.errors import AppError, Code, Reason
from server.holdings import Erased, Records, affected, when

T = TypeVar("T")

_NONCE = 12


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


@runtime_checkable
class Personal(Protocol):
    """An answer that says whom it is about, whoever asked for it: it is erased with that person."""

    @property
    def person(self) -> str: ...


@dataclass(frozen=True, slots=True)
class _Row:
    """What a call is stored under, and the keys that only the call itself gives."""

    tenant: str
    principal: str
    method: str
    digest: UUID
    body_mac: bytes
    cipher: AESGCM

    @property
    def key(self) -> tuple[str, str, str, UUID]:
        return self.tenant, self.principal, self.method, self.digest

    def seal(self, answer: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self.cipher.encrypt(nonce, answer, self.body_mac)

    def open(self, box: bytes) -> bytes:
        try:
            return self.cipher.decrypt(box[:_NONCE], box[_NONCE:], self.body_mac)
        except InvalidTag as cause:
            raise AppError(Code.INTERNAL, Reason.INTERNAL, "the first answer was changed in the store") from cause


def _row(caller: Caller, method: str, request_id: str, body: bytes) -> _Row:
    secret = hashlib.sha256(b"tria idempotency v1" + UUID(request_id).bytes).digest()

    def derived(purpose: bytes, content: bytes) -> bytes:
        return hmac.new(secret, purpose + b"\x00" + content, hashlib.sha256).digest()

    # The same person speaking for another outlet is another principal: what it sees differs.
    who = f"{caller.subject}\x1f{caller.outlet}".encode()
    digest = UUID(bytes=derived(b"row", who)[:16])
    cipher = AESGCM(derived(b"answer", who))
    return _Row(caller.tenant, caller.person, method, digest, derived(b"body", body), cipher)


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
update idempotency set response = $5, about = $6
where tenant = $1 and principal = $2 and method = $3 and request_id = $4::uuid
"""


async def once(
    connection: Connection,
    caller: Caller,
    idempotency: Idempotency[T],
    produce: Callable[[], Awaitable[T]],
) -> Once:
    """Runs `produce` inside the caller's transaction, or gives the first answer again.

    Raises ALREADY_EXISTS (IDEMPOTENCY_KEY_REUSED) when the id came before with another body, NOT_FOUND when its answer
    was erased with the person whom it was about: what was done is not done again.
    """
    if not idempotency.request_id:
        return Once(idempotency.encode(await produce()), replayed=False)
    row = _row(caller, idempotency.method, idempotency.request_id, idempotency.body)
    if await connection.fetchval(_CLAIM, *row.key, row.body_mac):
        made = await produce()
        answer = idempotency.encode(made)
        about = made.person if isinstance(made, Personal) else ""
        await connection.execute(_KEEP_ANSWER, *row.key, row.seal(answer), about)
        return Once(answer, replayed=False)
    first = await connection.fetchrow(_FIRST_ANSWER, *row.key)
    if first is None or first["body_sha256"] != row.body_mac:
        raise AppError(
            Code.ALREADY_EXISTS,
            Reason.IDEMPOTENCY_KEY_REUSED,
            "this request_id was used with another body",
            metadata={"request_id": idempotency.request_id},
        )
    if first["response"] is None:
        raise AppError(Code.NOT_FOUND, Reason.RESOURCE_NOT_FOUND, "this was done, and its answer has been erased")
    return Once(row.open(first["response"]), replayed=True)


EMPTY_ANSWERS = """
update idempotency set response = null, about = ''
where tenant = $1 and (principal = $2 or about = $2) and response is not null and created_at < $3
"""

KEPT_ANSWERS = """
select method, created_at from idempotency
where tenant = $1 and (principal = $2 or about = $2) and response is not null
order by created_at
"""

COUNT_ANSWERS = """
select count(*) from idempotency where tenant = $1 and (principal = $2 or about = $2) and response is not null
"""

ANSWERS_LEFT = """
select count(*) from idempotency
where tenant = $1 and (principal = $2 or about = $2) and response is not null and created_at < $3
"""


class AnswersHolding:
    """First answers to a person's writes, and to the writes of others about that person. They open for whoever repeats
    the call; the rows stay, so that what was done is not done again."""

    async def count(self, connection: Connection, tenant: str, person: str) -> int:
        kept: int = await connection.fetchval(COUNT_ANSWERS, tenant, person)
        return kept

    async def export(self, connection: Connection, tenant: str, person: str) -> Mapping[str, Records]:
        rows = await connection.fetch(KEPT_ANSWERS, tenant, person)
        return {"kept_answers": [{"method": row["method"], "create_time": when(row["created_at"])} for row in rows]}

    async def erase(self, connection: Connection, tenant: str, person: str, until: datetime) -> Sequence[Erased]:
        emptied = affected(await connection.execute(EMPTY_ANSWERS, tenant, person, until))
        return [Erased("kept_answers", emptied)]

    async def remaining(self, connection: Connection, tenant: str, person: str, until: datetime) -> int:
        left: int = await connection.fetchval(ANSWERS_LEFT, tenant, person, until)
        return left
