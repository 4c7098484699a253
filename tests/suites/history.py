"""The judge of a chaos run. It knows two things: what clients were told, and what the stores hold in the end.

It shares no code with the server and none with whoever broke things: order states, numbers and hashes are compared as
plain data. Each rule gives sentences; no sentence means that the rule held.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.support import naive_tree

STANDING = {"CONFIRMED", "ACCEPTED", "FULFILLING", "COMPLETED"}
GONE = {"VOIDED", "DELETED"}


@dataclass(frozen=True, slots=True)
class Placed:
    """An order as its customer knows it: each step is acknowledged or its outcome is unknown."""

    request_id: str
    order: str = ""  # empty: nobody ever said that it exists
    total: Decimal = Decimal()
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Followed:
    """A stream as its reader saw it: the numbers in the order in which they came, over all connections. `broken`: it
    ended in an error, and may lack its end."""

    run: str
    numbers: Sequence[int]
    terminals: Sequence[str]
    text_sha256: str
    told_sha256: str
    broken: bool = False


@dataclass(slots=True)
class History:
    """What clients were told."""

    orders: list[Placed] = field(default_factory=list)
    streams: list[Followed] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stored:
    """The final state. `orders`: state by name; `invoices`: (number, order) of ours; `booked`: rows of the books'
    list, with number, status and total; `leaves`: the audit trail in order, with the size and root that are kept."""

    orders: Mapping[str, str]
    invoices: Sequence[tuple[str, str]]
    booked: Sequence[Mapping[str, Any]]
    numbers: Sequence[int]
    leaves: Sequence[bytes]
    size: int
    root: bytes


def judge(history: History, stored: Stored) -> dict[str, list[str]]:
    """What is wrong, by rule."""
    return {
        "no order lost": lost_orders(history, stored),
        "no order made up": made_up_orders(history, stored),
        "no invoice doubled, none missing": wrong_invoices(history, stored),
        "audit unbroken": broken_audit(stored),
        "every acknowledged change is in the audit": unrecorded(history, stored),
        "no stream with a gap": broken_streams(history),
    }


def lost_orders(history: History, stored: Stored) -> list[str]:
    found = []
    for placed in history.orders:
        if not placed.order:
            continue
        state = stored.orders.get(placed.order)
        if state is None:
            found.append(f"{placed.order} was acknowledged and is not stored")
        elif placed.confirmed and state not in STANDING:
            found.append(f"{placed.order} was confirmed and is {state}")
    return found


def made_up_orders(history: History, stored: Stored) -> list[str]:
    """An order that nobody was told of may stem from a request without an outcome, but only one from each."""
    known = [placed.order for placed in history.orders if placed.order]
    found = [f"{order} answers {count} requests" for order, count in Counter(known).items() if count > 1]
    unknown = len(history.orders) - len(known)
    strangers = set(stored.orders) - set(known)
    if len(strangers) > unknown:
        found.append(f"{len(strangers)} orders that nobody was told of, from {unknown} requests without an outcome")
    return found


def wrong_invoices(history: History, stored: Stored) -> list[str]:
    found = [
        f"{number} is booked {count} times"
        for number, count in Counter(row["number"] for row in stored.booked).items()
        if count > 1
    ]
    order_of = dict(stored.invoices)
    standing: dict[str, list[Mapping[str, Any]]] = {}
    for row in stored.booked:
        if row["number"] not in order_of:
            found.append(f"{row['number']} is booked and belongs to no order")
        elif row["status"] not in GONE:
            standing.setdefault(order_of[row["number"]], []).append(row)
    found += [f"{order} has {len(rows)} invoices" for order, rows in standing.items() if len(rows) > 1]
    for placed in history.orders:
        if placed.confirmed:
            rows = standing.get(placed.order, [])
            if not rows:
                found.append(f"{placed.order} was confirmed and is not in the books")
            elif Decimal(rows[0]["total"]) != placed.total:
                found.append(
                    f"{placed.order} was {placed.total} to its customer and is {rows[0]['total']} in the books"
                )
    return found


def broken_audit(stored: Stored) -> list[str]:
    found = []
    if list(stored.numbers) != list(range(len(stored.leaves))):
        found.append("the numbers of the trail have a hole")
    if stored.size != len(stored.leaves):
        found.append(f"the tree has {stored.size} leaves and the trail {len(stored.leaves)}")
    if stored.root != naive_tree.mth(stored.leaves):
        found.append("the root is not that of the leaves")
    ids = Counter(json.loads(leaf)["event_id"] for leaf in stored.leaves)
    found += [f"event {event} is there {count} times" for event, count in ids.items() if count > 1]
    return found


def unrecorded(history: History, stored: Stored) -> list[str]:
    changes = Counter(
        target
        for leaf in map(json.loads, stored.leaves)
        if leaf["kind"] == "CHANGE" and leaf["action"] == "ORDER_CREATE"
        for target in leaf["targets"]
        if target.startswith("orders/")
    )
    return [
        f"{placed.order} is recorded {changes[placed.order]} times"
        for placed in history.orders
        if placed.order and changes[placed.order] != 1
    ]


def broken_streams(history: History) -> list[str]:
    found = []
    for followed in history.streams:
        if list(followed.numbers) != list(range(1, len(followed.numbers) + 1)):
            found.append(f"{followed.run} was told as {followed.numbers}")
        if len(followed.terminals) > 1 or not (followed.terminals or followed.broken):
            found.append(f"{followed.run} ended {len(followed.terminals)} times")
        if followed.told_sha256 and followed.told_sha256 != followed.text_sha256:
            found.append(f"the words of {followed.run} are not those of its hash")
    return found


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
