"""Tenants: one exists as soon as somebody whom its issuer vouches for writes for it."""

from __future__ import annotations

from typing import Final

from server.db.pool import Connection

ENSURE_TENANT: Final = "insert into tenant (id, name) values ($1, $1) on conflict (id) do nothing returning id"


async def ensure_tenant(connection: Connection, tenant: str) -> bool:
    """Makes the row that everything of the tenant refers to; True when it was not there yet."""
    return await connection.fetchval(ENSURE_TENANT, tenant) is not None
