"""The log in PostgreSQL, written. Only the sequencer calls this, inside one transaction a batch.

`audit_sequencer` is the fence: whoever appends locks its row first and must find its own epoch there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import LiteralString

import orjson

from server.audit.batch import Growth, Pending, Placed, Tree
from server.audit.events import SEARCHED
from server.audit.leaf import Leaf, clean
from server.audit.merkle import TILE_WIDTH, Frontier, TileId, filled_tiles, perfect_root
from server.audit.tree_store import partial
from server.db.pool import Connection


class Overtaken(Exception):
    """Another sequencer leads now."""


_TAKE_OVER: LiteralString = "update audit_sequencer set epoch = epoch + 1, leader = $1, since = now() returning epoch"


async def take_over(connection: Connection, leader: str) -> int:
    """The epoch of a new leader; whoever led before can append no more."""
    epoch: int = await connection.fetchval(_TAKE_OVER, leader)
    return epoch


_FENCE: LiteralString = "select epoch, clock_timestamp() as now from audit_sequencer for update"


async def fence(connection: Connection, epoch: int) -> datetime:
    """Holds the log until the end of the transaction; the database's time. Raises Overtaken."""
    row = await connection.fetchrow(_FENCE)
    if row is None or row["epoch"] != epoch:
        raise Overtaken
    now: datetime = row["now"]
    return now


_TAKE: LiteralString = """
    select id, tenant, event_id::text, leaf as encoded,
           exists (select from audit_event_id as known where known.event_id = pending.event_id) as known
    from audit_pending as pending order by id limit $1
"""


async def take(connection: Connection, limit: int) -> list[Pending]:
    """The oldest leaves that wait; they stay until `append`, `set_aside` or `forget` takes them out."""
    return [Pending(*row) for row in await connection.fetch(_TAKE, limit)]


_TREES: LiteralString = """
    select tenant, size, frontier, recorded_at from audit_tree where tenant = any($1) order by tenant for update
"""


async def lock_trees(connection: Connection, tenants: Collection[str]) -> dict[str, Tree]:
    """The trees of these tenants; one without events is not there."""
    rows = await connection.fetch(_TREES, list(tenants))
    return {row["tenant"]: Tree(Frontier.from_bytes(row["size"], row["frontier"]), row["recorded_at"]) for row in rows}


_PARTITION: LiteralString = "select audit_partition($1)"


async def make_partition(connection: Connection, at: datetime) -> None:
    """Makes sure that events recorded at that time have a place."""
    await connection.execute(_PARTITION, at)


_APPEND: LiteralString = """
    with placed as (
        select * from unnest($2::bigint[], $3::bigint[], $4::bytea[], $5::timestamptz[], $6::text[], $7::text[],
                             $8::text[], $9::text[], $10::text[], $11::text[], $12::text[])
            as placed (id, seq, leaf_hash, occurred_at, kind, action, actor, resource, others, decision, request_id)
    ), taken as (
        delete from audit_pending as pending using placed where pending.id = placed.id
        returning pending.tenant, pending.event_id, pending.leaf, placed.*
    ), known as (
        insert into audit_event_id (event_id, tenant, seq) select event_id, tenant, seq from taken
    )
    insert into audit_event (tenant, seq, recorded_at, event_id, occurred_at, leaf, leaf_hash, kind, action, actor,
                             resource, others, decision, request_id)
    select tenant, seq, $1, event_id, occurred_at, leaf, leaf_hash, kind, action, actor, resource,
           case when others is null then '{}' else array(select jsonb_array_elements_text(others::jsonb)) end,
           decision, request_id
    from taken
"""


async def append(connection: Connection, recorded_at: datetime, placed: Sequence[Placed]) -> None:
    """Moves the leaves from audit_pending into the log. Raises Overtaken when one is not there any more."""
    leaves = [item.leaf for item in placed]
    status = await connection.execute(
        _APPEND,
        recorded_at,
        [item.id for item in placed],
        [item.seq for item in placed],
        [item.leaf_hash for item in placed],
        [leaf.occurred_at for leaf in leaves],
        [leaf.kind.value for leaf in leaves],
        [leaf.action.value for leaf in leaves],
        [clean(leaf.actor.id)[:SEARCHED] for leaf in leaves],
        [clean(leaf.targets[0])[:SEARCHED] if leaf.targets else "" for leaf in leaves],
        [_others(leaf) for leaf in leaves],
        [leaf.decision.value for leaf in leaves],
        [clean(leaf.request_id) for leaf in leaves],
    )
    if status != f"INSERT 0 {len(placed)}":
        raise Overtaken


def _others(leaf: Leaf) -> str | None:
    if len(leaf.targets) < 2:
        return None
    return orjson.dumps([clean(target)[:SEARCHED] for target in leaf.targets[1:]]).decode()


_GROW: LiteralString = """
    insert into audit_tree (tenant, size, root, frontier, recorded_at)
    select *, $5 from unnest($1::text[], $2::bigint[], $3::bytea[], $4::bytea[])
    on conflict (tenant) do update set size = excluded.size, root = excluded.root, frontier = excluded.frontier,
                                       recorded_at = excluded.recorded_at
"""


async def grow(connection: Connection, recorded_at: datetime, growth: Mapping[str, Growth]) -> None:
    """Stores the new heads, and the tiles that became full. Call it after `append`, which the tiles are read from."""
    after = [item.after for item in growth.values()]
    await connection.execute(
        _GROW,
        list(growth),
        [frontier.size for frontier in after],
        [frontier.root() for frontier in after],
        [frontier.to_bytes() for frontier in after],
        recorded_at,
    )
    for tenant, item in growth.items():
        await _fill_tiles(connection, tenant, item)
    await connection.execute(_TELL, list(growth))


CHANNEL = "audit_event"
"""Notified with the tenant, in the transaction that appends."""

_TELL: LiteralString = "select pg_notify('audit_event', tenant) from unnest($1::text[]) as tenant"
"""Wakes who follows these logs (bell.py), when the batch commits."""

_ADD_TILES: LiteralString = """
    insert into audit_tile (tenant, level, index, root, hashes)
    select $1, $2, * from unnest($3::bigint[], $4::bytea[], $5::bytea[])
"""


async def _fill_tiles(connection: Connection, tenant: str, item: Growth) -> None:
    size, level = item.before.size, 0
    while full := filled_tiles(size, len(item.hashes), level):
        if level == 0:
            start = full.start * TILE_WIDTH
            earlier = await partial(connection, tenant, TileId(0, full.start), size - start) if size > start else []
            row = [*earlier, *item.hashes]
            tiles = [row[at : at + TILE_WIDTH] for at in range(0, len(full) * TILE_WIDTH, TILE_WIDTH)]
        else:
            tiles = [await partial(connection, tenant, TileId(level, number), TILE_WIDTH) for number in full]
        roots = [perfect_root(tile) for tile in tiles]
        await connection.execute(_ADD_TILES, tenant, level, list(full), roots, [b"".join(tile) for tile in tiles])
        level += 1


_SET_ASIDE: LiteralString = """
    with unfit as (
        select * from unnest($1::bigint[], $2::text[]) as unfit (id, reason)
    ), taken as (
        delete from audit_pending as pending using unfit where pending.id = unfit.id
        returning pending.*, unfit.reason
    )
    insert into audit_quarantine (id, tenant, event_id, occurred_at, leaf, reason)
    select id, tenant, event_id, occurred_at, leaf, reason from taken
"""


async def set_aside(connection: Connection, unfit: Mapping[int, str]) -> None:
    """Moves rows that are no leaves to where a person finds them; `unfit` says why, by id."""
    await connection.execute(_SET_ASIDE, list(unfit), [clean(reason) for reason in unfit.values()])


_SAME: LiteralString = """
    select pending.id from audit_pending as pending
    join audit_event_id as known using (event_id, tenant)
    join audit_event as event on event.tenant = known.tenant and event.seq = known.seq
    where pending.id = any($1) and event.leaf = pending.leaf
"""

_FORGET: LiteralString = "delete from audit_pending where id = any($1)"


async def forget_doubles(connection: Connection, again: Sequence[Pending]) -> list[int]:
    """Takes out leaves that are in the log already, byte for byte; the ids of those that only bear a known id."""
    ids = [row.id for row in again]
    same = [row["id"] for row in await connection.fetch(_SAME, ids)]
    await connection.execute(_FORGET, same)
    return sorted(set(ids) - set(same))
