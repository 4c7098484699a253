"""What OCSF and CSV make of single events; whole exports are in tests/rpc/test_audit_export.py."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.audit.actions import Action, Decision
from server.audit.events import Event
from server.audit.export_csv import COLUMNS, CsvFormat, defused
from server.audit.export_ocsf import OcsfFormat
from server.audit.export_plan import Plan
from server.audit.leaf import encode, leaf_hash
from server.audit.ocsf_classes import CLASSES, class_of
from tests.support.trail import some_event

PLAN = Plan("acme", 0, 0, 1, bytes(32), "", ())


def placed(**fields: Any) -> Event:
    encoded = encode(some_event(1, **fields))
    return Event("acme", 0, datetime(2026, 1, 1, tzinfo=UTC), encoded, leaf_hash(encoded))


def test_every_action_has_its_ocsf_class() -> None:
    assert set(CLASSES) == set(Action)


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("decision", list(Decision))
def test_every_action_makes_an_ocsf_record(action: Action, decision: Decision) -> None:
    record = json.loads(OcsfFormat(PLAN).event(placed(action=action, decision=decision)))["data"]
    assert record["class_uid"] == class_of(action).class_uid
    assert record["type_uid"] == record["class_uid"] * 100 + record["activity_id"]
    assert record["status_id"] == (1 if decision is Decision.ALLOWED else 2)
    assert record["unmapped"]["action"] == action.value


@given(text=st.text(max_size=40))
def test_no_cell_is_a_formula_and_none_is_lost(text: str) -> None:
    shown = defused(text)
    assert not shown.startswith(("=", "+", "-", "@", "\t", "\r", "\n", " ", "|", "%", "＝", "＋", "－", "＠"))
    assert shown.removeprefix("'") == text or shown == text


@given(text=st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_row_is_one_line(text: str) -> None:
    """Whatever a leaf holds: control characters never get into one."""
    row = CsvFormat(PLAN).event(placed(request_id=text, rpc=text, details={"t": text})).decode()
    [cells] = list(csv.reader(io.StringIO(row)))
    assert len(cells) == len(COLUMNS)
    assert row.count("\n") == 1
