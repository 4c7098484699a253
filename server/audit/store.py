"""`audit_pending`: leaves on their way into the log. The sequencer takes them out again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import LiteralString

from server.audit.leaf import Leaf, clean, decode, encode
from server.db.pool import Connection

log = logging.getLogger(__name__)

UNENCODABLE: Mapping[str, str] = {"unencodable": "true"}
"""Stands for details that the encoding cannot hold."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A leaf together with its canonical bytes, fixed once."""

    leaf: Leaf
    encoded: bytes

    @classmethod
    def of(cls, leaf: Leaf) -> Entry:
        """Encodes the leaf. Details that cannot be encoded are left out and said to be: that something was done, and by
        whom, is never lost for the sake of how."""
        try:
            return cls(leaf, encode(leaf))
        except ValueError:
            log.exception("the details of an audit leaf cannot be encoded", extra={"rpc": leaf.rpc})
            bare = replace(leaf, details=UNENCODABLE)
            return cls(bare, encode(bare))

    @property
    def bare(self) -> bool:
        """Whether the details had to be left out."""
        return self.leaf.details is UNENCODABLE

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Entry:
        """The entry behind canonical bytes; raises ValueError when they are not a leaf."""
        return cls(decode(encoded), encoded)


CHANNEL: LiteralString = "tria_audit"
"""Where the sequencer listens."""

_ADD: LiteralString = """
    insert into audit_pending (tenant, event_id, occurred_at, leaf, action, actor, resource, decision, request_id)
    select * from unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::bytea[], $5::text[], $6::text[], $7::text[],
                         $8::text[], $9::text[])
    on conflict (event_id) do nothing
"""


async def add(connection: Connection, entries: Sequence[Entry]) -> None:
    """Inserts the leaves in one statement; one whose event_id is already there stays as it is (a replay)."""
    leaves = [entry.leaf for entry in entries]
    await connection.execute(
        _ADD,
        [clean(leaf.tenant) for leaf in leaves],
        [leaf.event_id for leaf in leaves],
        [leaf.occurred_at for leaf in leaves],
        [entry.encoded for entry in entries],
        [leaf.action.value for leaf in leaves],
        [clean(leaf.actor.id) for leaf in leaves],
        [clean(leaf.targets[0]) if leaf.targets else "" for leaf in leaves],
        [leaf.decision.value for leaf in leaves],
        [clean(leaf.request_id) for leaf in leaves],
    )


_WAKE: LiteralString = f"notify {CHANNEL}"


async def wake(connection: Connection) -> None:
    """Tells the sequencer that leaves wait. Outside transactions, and seldom: commits with a NOTIFY go one by one."""
    await connection.execute(_WAKE)
