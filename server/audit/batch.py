"""What the sequencer does with a batch before it is written: pure, so that it can be tested without a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from server.audit.leaf import Leaf, clean, decode, leaf_hash
from server.audit.merkle import Frontier

_EMPTY = Frontier()


@dataclass(frozen=True, slots=True)
class Pending:
    """A row of audit_pending. `known`: an event with this id is in the log already."""

    id: int
    tenant: str
    event_id: str
    encoded: bytes
    known: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """A leaf and its place in the log."""

    id: int
    seq: int
    leaf: Leaf
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class Tree:
    """The head of a tenant's tree as it is stored."""

    frontier: Frontier
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Growth:
    """What one batch adds to one tenant's tree."""

    before: Frontier
    after: Frontier
    hashes: Sequence[bytes]


@dataclass(slots=True)
class Sorted:
    """A batch, sorted: what is appended, by tenant, and what is wrong with the rest, by id of the row."""

    placed: list[Placed] = field(default_factory=list)
    growth: dict[str, Growth] = field(default_factory=dict)
    again: list[Pending] = field(default_factory=list)
    unfit: dict[int, str] = field(default_factory=dict)


def read(row: Pending) -> Leaf:
    """The leaf of a row. Raises ValueError when the bytes are no leaf, or not the leaf that the row says."""
    leaf = decode(row.encoded)
    texts = (leaf.tenant, leaf.event_id, leaf.actor.id, leaf.request_id, *leaf.targets)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("not an audit leaf")
    if (clean(leaf.tenant), leaf.event_id) != (row.tenant, row.event_id):
        raise ValueError("the leaf belongs to another row")
    return leaf


def place(rows: Sequence[Pending], trees: Mapping[str, Tree]) -> Sorted:
    """Gives each leaf its number, in the order of the rows, and grows the trees."""
    found = Sorted()
    hashes: dict[str, list[bytes]] = {}
    for row in rows:
        if row.known:
            found.again.append(row)
            continue
        try:
            leaf = read(row)
        except ValueError as problem:
            found.unfit[row.id] = str(problem)
            continue
        grown = hashes.setdefault(row.tenant, [])
        grown.append(leaf_hash(row.encoded))
        seq = _before(row.tenant, trees).size + len(grown) - 1
        found.placed.append(Placed(row.id, seq, leaf, grown[-1]))
    for tenant, added in hashes.items():
        before = _before(tenant, trees)
        found.growth[tenant] = Growth(before, before.extend(added), added)
    return found


def _before(tenant: str, trees: Mapping[str, Tree]) -> Frontier:
    tree = trees.get(tenant)
    return tree.frontier if tree else _EMPTY
