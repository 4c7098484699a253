"""The judge of chaos runs finds what went wrong: each kind of damage to a good history is told by its rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.suites.history import Followed, History, Placed, Stored, hash_of, judge
from tests.support import naive_tree

Case = tuple[History, Stored]


def leaf(number: int) -> bytes:
    targets = [f"orders/{number}", "outlets/o"]
    return json.dumps(
        {"event_id": f"e-{number}", "kind": "CHANGE", "action": "ORDER_CREATE", "targets": targets}
    ).encode()


def good() -> Case:
    orders = [Placed(f"r-{number}", f"orders/{number}", Decimal("63.22"), confirmed=True) for number in range(3)]
    orders.append(Placed("r-lost"))  # it may be stored or not
    streams = [Followed("runs/1", [1, 2, 3], ["completed"], hash_of("hello"), hash_of("hello"))]
    leaves = [leaf(number) for number in range(3)]
    booked = [{"number": f"INV-{number}", "status": "AUTHORISED", "total": "63.22"} for number in range(3)]
    stored = Stored(
        {f"orders/{number}": "CONFIRMED" for number in range(3)},
        [(f"INV-{number}", f"orders/{number}") for number in range(3)],
        booked,
        [0, 1, 2],
        leaves,
        3,
        naive_tree.mth(leaves),
    )
    return History(orders, streams), stored


def test_a_good_history_has_nothing_wrong() -> None:
    assert not any(judge(*good()).values())


def test_an_order_without_outcome_may_be_stored() -> None:
    history, stored = good()
    assert not judge(history, replace(stored, orders={**stored.orders, "orders/x": "DRAFT"}))["no order made up"]


def _stored(**changes: object) -> Callable[[Case], Case]:
    return lambda case: (case[0], replace(case[1], **changes))  # type: ignore[arg-type]


def _without_order(case: Case) -> Case:
    return case[0], replace(case[1], orders={key: case[1].orders[key] for key in ("orders/0", "orders/1")})


def _cancelled(case: Case) -> Case:
    return case[0], replace(case[1], orders={**case[1].orders, "orders/1": "CANCELLED"})


def _invented(case: Case) -> Case:
    return case[0], replace(case[1], orders={**case[1].orders, "orders/x": "DRAFT", "orders/y": "DRAFT"})


def _answered_twice(case: Case) -> Case:
    return History([*case[0].orders, Placed("r-9", "orders/0")], case[0].streams), case[1]


def _booked(*rows: dict[str, str]) -> Callable[[Case], Case]:
    return lambda case: (case[0], replace(case[1], booked=[*case[1].booked, *rows]))


def _second_number(case: Case) -> Case:
    row = {"number": "INV-0b", "status": "AUTHORISED", "total": "63.22"}
    stored = replace(case[1], booked=[*case[1].booked, row], invoices=[*case[1].invoices, ("INV-0b", "orders/0")])
    return case[0], stored


def _voided(case: Case) -> Case:
    return case[0], replace(case[1], booked=[{**case[1].booked[0], "status": "VOIDED"}, *case[1].booked[1:]])


def _other_total(case: Case) -> Case:
    return case[0], replace(case[1], booked=[{**case[1].booked[0], "total": "63.23"}, *case[1].booked[1:]])


def _edited_leaf(case: Case) -> Case:
    edited = case[1].leaves[0].replace(b"outlets/o", b"outlets/p")
    return case[0], replace(case[1], leaves=[edited, *case[1].leaves[1:]])


def _cut(case: Case) -> Case:
    leaves = case[1].leaves[:2]
    return case[0], replace(case[1], leaves=leaves, numbers=[0, 1], size=2, root=naive_tree.mth(leaves))


def _doubled_leaf(case: Case) -> Case:
    leaves = [*case[1].leaves, case[1].leaves[0]]
    return case[0], replace(case[1], leaves=leaves, numbers=[0, 1, 2, 3], size=4, root=naive_tree.mth(leaves))


def _stream(**changes: object) -> Callable[[Case], Case]:
    return lambda case: (History(case[0].orders, [replace(case[0].streams[0], **changes)]), case[1])  # type: ignore[arg-type]


DAMAGE: list[tuple[str, Callable[[Case], Case]]] = [
    ("no order lost", _without_order),
    ("no order lost", _cancelled),
    ("no order made up", _invented),
    ("no order made up", _answered_twice),
    ("no invoice doubled, none missing", _booked({"number": "INV-1", "status": "AUTHORISED", "total": "63.22"})),
    ("no invoice doubled, none missing", _booked({"number": "X-1", "status": "AUTHORISED", "total": "1.00"})),
    ("no invoice doubled, none missing", _second_number),
    ("no invoice doubled, none missing", _voided),
    ("no invoice doubled, none missing", _other_total),
    ("audit unbroken", _stored(numbers=[0, 1, 3])),
    ("audit unbroken", _stored(size=4)),
    ("audit unbroken", _stored(root=b"x" * 32)),
    ("audit unbroken", _edited_leaf),
    ("audit unbroken", _doubled_leaf),
    ("every acknowledged change is in the audit", _cut),
    ("every acknowledged change is in the audit", _doubled_leaf),
    ("no stream with a gap", _stream(numbers=[1, 3])),
    ("no stream with a gap", _stream(numbers=[1, 2, 2, 3])),
    ("no stream with a gap", _stream(terminals=[])),
    ("no stream with a gap", _stream(terminals=[], numbers=[1, 3], broken=True)),
    ("no stream with a gap", _stream(terminals=["completed", "completed"])),
    ("no stream with a gap", _stream(text_sha256=hash_of("hell"))),
]


@pytest.mark.parametrize(("rule", "damage"), DAMAGE)
def test_damage_is_found_by_its_rule(rule: str, damage: Callable[[Case], Case]) -> None:
    assert judge(*damage(good()))[rule]
