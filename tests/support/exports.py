"""Exports made without a server: invented events, a tree by the book, a key of the test's own."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from server.audit import cover, export_lines
from server.audit.actions import Action, Decision, LeafKind
from server.audit.checkpoint import Checkpoint, origin_of, sign
from server.audit.export_lines import Header
from server.audit.leaf import Actor, Leaf, encode, leaf_hash
from server.signing import SigningKey
from tests.support.trees import naive_root

KEY = SigningKey("tria", b"k" * 32)
OTHER_KEY = SigningKey("tria", b"o" * 32)
_SINCE = datetime(2026, 1, 1, 8, 30, tzinfo=UTC)
_ACTIONS = (Action.ORDER_CREATE, Action.DATA_READ, Action.ACCESS_DENY, Action.MESSAGE_SEND)


def some_leaf(number: int, tenant: str = "acme") -> bytes:
    """The canonical bytes of event `number`, always the same."""
    return encode(
        Leaf(
            tenant=tenant,
            action=_ACTIONS[number % len(_ACTIONS)],
            actor=Actor("STAFF", f"ada-{number % 7}", "JWT"),
            decision=Decision.DENIED if number % 4 == 2 else Decision.ALLOWED,
            kind=LeafKind.ACCESS,
            targets=(f"orders/{number:08x}",) if number % 2 else (),
            rpc="/tria.order.v1.OrderService/GetOrder",
            request_id=str(uuid.UUID(int=number)),
            details={"ms": number, "note": 'a "quoted" 12 寸披萨盒'},
            event_id=str(uuid.UUID(int=number + 1)),
            occurred_at=_SINCE + timedelta(seconds=number),
        )
    )


def some_leaves(count: int, tenant: str = "acme") -> list[bytes]:
    return [some_leaf(number, tenant) for number in range(count)]


def note_of(leaves: Sequence[bytes], tenant: str = "acme", key: SigningKey = KEY) -> str:
    """A signed checkpoint over the leaves."""
    return sign(Checkpoint(origin_of(tenant), len(leaves), naive_root(leaves)), key)


def export_of(
    leaves: Sequence[bytes], first: int = 0, last: int | None = None, *, tenant: str = "acme", key: SigningKey = KEY
) -> list[bytes]:
    """The lines of an export of [first, last] in the tree over all the leaves."""
    last = len(leaves) - 1 if last is None else last
    header = Header(tenant, origin_of(tenant), first, last, len(leaves), (str(key.public),))
    stop = last + 1
    pieces = [*cover.before(first), *cover.within(first, stop), *cover.after(stop, len(leaves))]
    hashes = [naive_root(leaves[piece.start : piece.start + piece.size]) for piece in pieces]
    return [
        export_lines.header_line(header),
        export_lines.checkpoint_line(note_of(leaves, tenant, key)),
        *export_lines.cover_lines(hashes),
        *(export_lines.leaf_line(seq, leaves[seq], leaf_hash(leaves[seq])) for seq in range(first, stop)),
        export_lines.end_line(header, naive_root(leaves)),
    ]
