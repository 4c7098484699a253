"""Keys of internal services in PostgreSQL."""

from __future__ import annotations

from typing import LiteralString

from server.caller import StoredKey
from server.db.pool import Database

_FIND: LiteralString = """
    select tenant, subject, roles, secret_sha256, expires_at, revoked_at from api_key where key_id = $1
"""


async def find(database: Database, key_id: str) -> StoredKey | None:
    """The key of this id; AppError UNAVAILABLE when PostgreSQL is away."""
    async with database.connection(timeout=2.0) as connection:
        row = await connection.fetchrow(_FIND, key_id)
    if row is None:
        return None
    return StoredKey(
        tenant=row["tenant"],
        subject=row["subject"],
        roles=tuple(row["roles"]),
        sha256=row["secret_sha256"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
    )
