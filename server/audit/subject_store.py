"""SQL of the keys of people, of legal holds, and of erasures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString
from uuid import UUID

from server.db.pool import Connection


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A key as it is stored. `settled` when another transaction has committed it."""

    id: UUID
    person: str
    wrapped: bytes
    settled: bool


# A row of this very transaction may still be rolled back; `now()` is the start of the transaction that wrote it.
SELECT_CURRENT: Final[LiteralString] = """
select key_id, person, wrapped, created_at <> now() as settled from subject_key
where tenant = $1 and person = $2 and wrapped is not null"""


async def current(connection: Connection, tenant: str, person: str) -> WrappedKey | None:
    """The key that seals what the person writes now."""
    row = await connection.fetchrow(SELECT_CURRENT, tenant, person)
    return WrappedKey(row["key_id"], row["person"], row["wrapped"], row["settled"]) if row else None


ADD_KEY: Final[LiteralString] = """
insert into subject_key (tenant, key_id, person, wrapped) values ($1, $2, $3, $4)
on conflict (tenant, person) where wrapped is not null do nothing"""


async def add(connection: Connection, tenant: str, id: UUID, person: str, wrapped: bytes) -> None:
    """Stores the person's key, unless somebody else was first."""
    await connection.execute(ADD_KEY, tenant, id, person, wrapped)


SELECT_KEYS: Final[LiteralString] = """
select key_id, person, wrapped, created_at <> now() as settled from subject_key
where tenant = $1 and key_id = any($2::uuid[]) and wrapped is not null"""


async def by_id(connection: Connection, tenant: str, ids: Sequence[UUID]) -> list[WrappedKey]:
    """Those of the keys that exist still."""
    rows = await connection.fetch(SELECT_KEYS, tenant, ids)
    return [WrappedKey(row["key_id"], row["person"], row["wrapped"], row["settled"]) for row in rows]


# The notification reaches every process that listens when this commits; before that the key still opens.
DESTROY_KEYS: Final[LiteralString] = """
with destroyed as (
    update subject_key set wrapped = null, destroyed_at = now()
    where tenant = $1 and person = $2 and wrapped is not null
    returning key_id
)
select count(*), pg_notify('subject_erased', $1 || ' ' || $2) from destroyed"""


async def destroy(connection: Connection, tenant: str, person: str) -> int:
    """Destroys the person's keys; what they sealed is noise from the commit on. Returns how many there were."""
    row = await connection.fetchrow(DESTROY_KEYS, tenant, person)
    destroyed: int = row["count"] if row else 0
    return destroyed


KEYS_SEALED_WITH: Final[LiteralString] = """
select tenant, key_id, wrapped from subject_key
where wrapped is not null and (tenant, key_id) > ($1, $2::uuid)
order by tenant, key_id
limit $3"""


async def keys_after(connection: Connection, tenant: str, id: UUID, limit: int) -> list[tuple[str, UUID, bytes]]:
    """(tenant, key id, wrapped key), in order, behind the given one."""
    rows = await connection.fetch(KEYS_SEALED_WITH, tenant, id, limit)
    return [(row["tenant"], row["key_id"], row["wrapped"]) for row in rows]


REWRAP: Final[LiteralString] = """
update subject_key set wrapped = $4 where tenant = $1 and key_id = $2 and wrapped = $3"""


async def rewrap(connection: Connection, tenant: str, id: UUID, old: bytes, new: bytes) -> None:
    """Puts the key into another box, unless it was destroyed or rewrapped meanwhile."""
    await connection.execute(REWRAP, tenant, id, old, new)


# Whoever erases and whoever places a hold take turns on the person, so that none of them overlooks the other.
TAKE_PERSON: Final[LiteralString] = "select pg_advisory_xact_lock(hashtextextended('person ' || $1 || ' ' || $2, 0))"


async def take_person(connection: Connection, tenant: str, person: str) -> None:
    """Holds the person until the transaction ends, against another erasure or hold."""
    await connection.execute(TAKE_PERSON, tenant, person)


SELECT_HOLD: Final[LiteralString] = "select placed_at from legal_hold where tenant = $1 and person = $2"


async def hold_since(connection: Connection, tenant: str, person: str) -> datetime | None:
    """Since when the person is on hold; None when not."""
    since: datetime | None = await connection.fetchval(SELECT_HOLD, tenant, person)
    return since


PLACE_HOLD: Final[LiteralString] = """
insert into legal_hold (tenant, person, reason_box, placed_by) values ($1, $2, $3, $4)
on conflict do nothing
returning true"""


async def place_hold(connection: Connection, tenant: str, person: str, reason_box: bytes, placed_by: str) -> bool:
    """False when the person is on hold already."""
    return bool(await connection.fetchval(PLACE_HOLD, tenant, person, reason_box, placed_by))


RELEASE_HOLD: Final[LiteralString] = "delete from legal_hold where tenant = $1 and person = $2 returning true"


async def release_hold(connection: Connection, tenant: str, person: str) -> bool:
    """False when there was none."""
    return bool(await connection.fetchval(RELEASE_HOLD, tenant, person))


@dataclass(frozen=True, slots=True)
class StoredErasure:
    """An erasure; `stores` is JSON."""

    tenant: str
    id: UUID
    person: str
    erased_at: datetime


ADD_ERASURE: Final[LiteralString] = """
insert into erasure (tenant, id, person, erased_at, stores, signed_note) values ($1, $2, $3, $4, $5, $6)"""


async def add_erasure(connection: Connection, erasure: StoredErasure, stores: str, signed_note: str) -> None:
    """Remembers what was done, and that it is still to be looked over."""
    await connection.execute(
        ADD_ERASURE, erasure.tenant, erasure.id, erasure.person, erasure.erased_at, stores, signed_note
    )


SELECT_ERASURE: Final[LiteralString] = """
select tenant, id, person, erased_at from erasure where tenant = $1 and id = $2 and verified_at is null"""


async def unverified(connection: Connection, tenant: str, id: UUID) -> StoredErasure | None:
    """The erasure, unless it was looked over already."""
    row = await connection.fetchrow(SELECT_ERASURE, tenant, id)
    return StoredErasure(row["tenant"], row["id"], row["person"], row["erased_at"]) if row else None


COUNT_ATTEMPT: Final[LiteralString] = "update erasure set attempts = attempts + 1 where tenant = $1 and id = $2"

VERIFIED: Final[LiteralString] = "update erasure set verified_at = now() where tenant = $1 and id = $2"


async def count_attempt(connection: Connection, erasure: StoredErasure) -> None:
    await connection.execute(COUNT_ATTEMPT, erasure.tenant, erasure.id)


HELD: Final[LiteralString] = "update erasure set held_at = now() where tenant = $1 and id = $2"


async def held(connection: Connection, erasure: StoredErasure) -> None:
    """Something is left that a legal hold keeps."""
    await connection.execute(HELD, erasure.tenant, erasure.id)


RELEASE_ERASURES: Final[LiteralString] = """
update erasure set held_at = null
where tenant = $1 and person = $2 and held_at is not null and verified_at is null
returning id"""


async def release_erasures(connection: Connection, tenant: str, person: str) -> list[UUID]:
    """The erasures that a hold kept from their end; they wait for nothing any more."""
    return [row["id"] for row in await connection.fetch(RELEASE_ERASURES, tenant, person)]


async def verified(connection: Connection, erasure: StoredErasure) -> None:
    """Every store was found empty."""
    await connection.execute(VERIFIED, erasure.tenant, erasure.id)
