"""SQL of feature flags."""

from __future__ import annotations

from dataclasses import dataclass

from server.db.pool import Connection


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag. `percent` is its share of conversations while it is on; `version` 0 is the default."""

    id: str
    description: str
    enabled: bool
    percent: int
    version: int = 0

    @property
    def etag(self) -> str:
        return f'W/"{self.version}"'


SELECT_FLAGS = "select id, description, enabled, percent, version from feature_flag where tenant = $1"


async def of_tenant(connection: Connection, tenant: str) -> dict[str, Flag]:
    """The flags that the tenant has changed, by id."""
    return {row["id"]: Flag(**dict(row)) for row in await connection.fetch(SELECT_FLAGS, tenant)}


LOCK_FLAG = """
insert into feature_flag (tenant, id, description, enabled, percent, version) values ($1, $2, $3, $4, $5, 0)
on conflict (tenant, id) do update set version = feature_flag.version
returning id, description, enabled, percent, version
"""


async def lock(connection: Connection, tenant: str, default: Flag) -> Flag:
    """The flag as it is, made from its default when nobody changed it before; others wait until we are done."""
    row = await connection.fetchrow(
        LOCK_FLAG, tenant, default.id, default.description, default.enabled, default.percent
    )
    if row is None:
        raise RuntimeError("an upsert returned nothing")
    return Flag(**dict(row))


PUT_FLAG = """
with changed as (
    update feature_flag
    set description = $3, enabled = $4, percent = $5, version = $6, update_time = now()
    where tenant = $1 and id = $2
)
select pg_notify('feature_flag', $1)
"""


async def put(connection: Connection, tenant: str, flag: Flag) -> None:
    """Changes a locked flag; all processes hear of it when the transaction commits."""
    await connection.execute(PUT_FLAG, tenant, flag.id, flag.description, flag.enabled, flag.percent, flag.version)
