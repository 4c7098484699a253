"""The rows of connections to the books. Tokens come and go sealed; times are the database's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from server.db.pool import Connection


@dataclass(frozen=True, slots=True)
class Row:
    """One tenant's connection. `left` is how many seconds its token is still good, by the database's clock."""

    state: str
    organisation_id: str
    organisation: str
    scopes: tuple[str, ...]
    sealed: bytes | None
    left: float
    expires_at: datetime | None
    version: int
    last_success: datetime | None
    last_error: str


READ: Final = """
select state, organisation_id, organisation, scopes, sealed_tokens,
       coalesce(extract(epoch from token_expires_at - now()), 0)::float8 as left_s,
       token_expires_at, version, last_success, last_error
from accounting_connection where tenant = $1"""


async def read(connection: Connection, tenant: str) -> Row | None:
    found = await connection.fetchrow(READ, tenant)
    if found is None:
        return None
    state, organisation_id, organisation, scopes, sealed, left, expires_at, version, success, error = found
    return Row(state, organisation_id, organisation, tuple(scopes), sealed, left, expires_at, version, success, error)


CONNECT: Final = """
insert into accounting_connection
    (tenant, state, organisation_id, organisation, scopes, sealed_tokens, token_expires_at, last_success)
values ($1, 'CONNECTED', $2, $3, $4, $5, now() + make_interval(secs => $6), now())
on conflict (tenant) do update set
    state = 'CONNECTED', organisation_id = excluded.organisation_id, organisation = excluded.organisation,
    scopes = excluded.scopes, sealed_tokens = excluded.sealed_tokens, token_expires_at = excluded.token_expires_at,
    version = accounting_connection.version + 1, renewing_until = null, last_success = excluded.last_success,
    last_error = '', update_time = now()"""


async def connect(
    connection: Connection,
    tenant: str,
    organisation_id: str,
    organisation: str,
    scopes: Sequence[str],
    sealed: bytes,
    expires_in: float,
) -> None:
    """Connects anew, in place of whatever was there."""
    await connection.execute(CONNECT, tenant, organisation_id, organisation, list(scopes), sealed, expires_in)


CLAIM: Final = """
update accounting_connection set renewing_until = now() + make_interval(secs => $3)
where tenant = $1 and version = $2 and state = 'CONNECTED' and coalesce(renewing_until < now(), true)
returning sealed_tokens"""


async def claim(connection: Connection, tenant: str, version: int, seconds: float) -> bytes | None:
    """The sealed tokens, for the one caller that may renew them within `seconds`; None for all others."""
    sealed: bytes | None = await connection.fetchval(CLAIM, tenant, version, seconds)
    return sealed


RENEW: Final = """
update accounting_connection
set sealed_tokens = $3, token_expires_at = now() + make_interval(secs => $4), version = version + 1,
    renewing_until = null, update_time = now()
where tenant = $1 and version = $2 and state = 'CONNECTED'
returning version"""


async def renew(connection: Connection, tenant: str, version: int, sealed: bytes, expires_in: float) -> bool:
    """New tokens in place of those of `version`; False when these were replaced, or the connection ended, meanwhile."""
    return await connection.fetchval(RENEW, tenant, version, sealed, expires_in) is not None


UNCLAIM: Final = """
update accounting_connection set renewing_until = null, last_error = $3, update_time = now()
where tenant = $1 and version = $2"""


async def unclaim(connection: Connection, tenant: str, version: int, why: str) -> None:
    """Lets others try to renew: this attempt came to nothing."""
    await connection.execute(UNCLAIM, tenant, version, why)


END: Final = """
update accounting_connection
set state = 'DISCONNECTED', sealed_tokens = null, token_expires_at = null, renewing_until = null,
    version = version + 1, last_error = $3, update_time = now()
where tenant = $1 and state = 'CONNECTED' and version = coalesce($2, version)
returning version"""


async def end(connection: Connection, tenant: str, version: int | None, why: str) -> bool:
    """Ends the connection and forgets its tokens; False when those of `version` (None: any) are not there any more."""
    return await connection.fetchval(END, tenant, version, why) is not None


# Once a minute is often enough for a person who looks, and seldom enough for a busy tenant.
SUCCEEDED: Final = """
update accounting_connection set last_success = now(), last_error = '', update_time = now()
where tenant = $1 and state = 'CONNECTED'
  and (last_error <> '' or coalesce(last_success < now() - interval '1 minute', true))"""


async def succeeded(connection: Connection, tenant: str) -> None:
    await connection.execute(SUCCEEDED, tenant)


FAILED: Final = """
update accounting_connection set last_error = $2, update_time = now()
where tenant = $1 and state = 'CONNECTED' and last_error <> $2"""


async def failed(connection: Connection, tenant: str, why: str) -> None:
    await connection.execute(FAILED, tenant, why)


TENANTS_OF: Final = """
select tenant from accounting_connection where state = 'CONNECTED' and ($1::text = '' or organisation_id = $1)"""


async def tenants_of(connection: Connection, organisation_id: str) -> list[str]:
    """Who is connected to the organisation; everybody who is connected for ''."""
    return [str(row["tenant"]) for row in await connection.fetch(TENANTS_OF, organisation_id)]
