"""Messages are shown by what their fields are declared to contain."""

from __future__ import annotations

import json
import math

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.pii.messages import MAX_FIELDS, MAX_ITEMS, MAX_TEXT, redacted
from server.pii.pseudonym import Pseudonyms
from tests.suites.wire_fuzzing import methods, requests
from tria.policy.v1 import policy_pb2

_F = descriptor_pb2.FieldDescriptorProto
_PII = policy_pb2.FieldPolicy


def _build() -> type[Message]:
    """A message with one field of every kind, made from a descriptor so that no real proto has to change for a test."""
    file = descriptor_pb2.FileDescriptorProto(
        name="tests/redaction.proto",
        package="tests.redaction",
        syntax="proto3",
        dependency=["tria/policy/v1/policy.proto", "google/protobuf/timestamp.proto", "google/protobuf/struct.proto"],
    )
    colour = file.enum_type.add(name="Colour")
    colour.value.add(name="NONE", number=0)
    colour.value.add(name="RED", number=1)
    message = file.message_type.add(name="Everything")
    entry = message.nested_type.add(name="LabelsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_F.TYPE_STRING, label=_F.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=_F.TYPE_STRING, label=_F.LABEL_OPTIONAL)

    def add(
        name: str,
        kind: _F.Type.ValueType,
        pii: _PII.Pii.ValueType = _PII.PII_UNSPECIFIED,
        *,
        repeated: bool = False,
        type_name: str = "",
    ) -> None:
        label = _F.LABEL_REPEATED if repeated else _F.LABEL_OPTIONAL
        field = message.field.add(name=name, number=len(message.field) + 1, type=kind, label=label)
        if type_name:
            field.type_name = type_name
        if pii:
            field.options.Extensions[policy_pb2.field].pii = pii

    add("email", _F.TYPE_STRING, _PII.EMAIL)
    add("phones", _F.TYPE_STRING, _PII.PHONE, repeated=True)
    add("note", _F.TYPE_STRING, _PII.FREE_TEXT)
    add("password", _F.TYPE_STRING, _PII.SECRET)
    add("name", _F.TYPE_STRING)
    add("count", _F.TYPE_INT64)
    add("raw", _F.TYPE_BYTES)
    add("colour", _F.TYPE_ENUM, type_name=".tests.redaction.Colour")
    add("colours", _F.TYPE_ENUM, repeated=True, type_name=".tests.redaction.Colour")
    add("child", _F.TYPE_MESSAGE, type_name=".tests.redaction.Everything")
    add("children", _F.TYPE_MESSAGE, repeated=True, type_name=".tests.redaction.Everything")
    add("home", _F.TYPE_MESSAGE, _PII.ADDRESS, type_name=".tests.redaction.Everything")
    add("labels", _F.TYPE_MESSAGE, _PII.FREE_TEXT, repeated=True, type_name=".tests.redaction.Everything.LabelsEntry")
    add("time", _F.TYPE_MESSAGE, type_name=".google.protobuf.Timestamp")
    add("open", _F.TYPE_MESSAGE, type_name=".google.protobuf.Struct")
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.redaction.Everything"))


Everything = _build()


@pytest.mark.parametrize("time", [{"seconds": 2**62}, {"seconds": 5, "nanos": -1}])
def test_a_time_that_is_none_is_shown_as_such(time: dict[str, int]) -> None:
    assert redacted(Everything(time=time, count=7)) == {"count": 7, "time": "[no valid Timestamp]"}


def test_an_open_value_that_json_does_not_know_is_shown_as_such() -> None:
    assert redacted(Everything(open={"a": math.inf}, count=7)) == {"count": 7, "open": "[no valid Struct]"}


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_request_can_be_shown(data: st.DataObject) -> None:
    method = data.draw(st.sampled_from(methods()))
    assert method.request_type is not None
    request = message_factory.GetMessageClass(method.request_type).FromString(data.draw(requests(method)))
    json.dumps(redacted(request))


def test_each_kind_of_field() -> None:
    message = Everything(
        email="jo@example.com",
        phones=["91234567", "81234567"],
        note="call 91234567 about the boxes",
        password="hunter2",
        name="orders/1",
        count=7,
        raw=b"12345",
        colour=1,
        colours=[1, 0],
        child={"note": "mail a@example.com"},
        home={"name": "somewhere"},
        labels={"k": "hp 91234567"},
        time={"seconds": 5},
        open={"a": "a@example.com"},
    )
    shown = redacted(message)
    assert shown == {
        "email": "[EMAIL]",
        "phones": ["[PHONE]", "[PHONE]"],
        "note": "call [PHONE] about the boxes",
        "name": "orders/1",
        "count": 7,
        "raw": "[5 bytes]",
        "colour": "RED",
        "colours": ["RED", "NONE"],
        "child": {"note": "mail [EMAIL]"},
        "home": "[ADDRESS]",
        "labels": {"k": "hp [PHONE]"},
        "time": "1970-01-01T00:00:05Z",
        "open": "{'a': '[EMAIL]'}",
    }
    json.dumps(shown)


def test_pseudonyms_take_the_place_of_markers() -> None:
    pseudonyms = Pseudonyms({1: b"k" * 32})
    one = redacted(Everything(email="jo@example.com"), tenant="t1", pseudonyms=pseudonyms)
    assert one == redacted(Everything(email="JO@example.com"), tenant="t1", pseudonyms=pseudonyms)
    assert one != redacted(Everything(email="jo@example.com"), tenant="t2", pseudonyms=pseudonyms)
    assert str(one["email"]).startswith("EMAIL:v1:")


def test_size_is_bounded() -> None:
    wide = Everything(note="x" * 100_000, children=[{"colours": [1] * 50} for _ in range(100)])
    shown = redacted(wide)
    assert len(str(shown["note"])) == MAX_TEXT
    assert isinstance(shown["children"], list)
    assert len(shown["children"]) <= MAX_ITEMS + 1
    assert str(shown["children"][-1]).startswith("…")
    assert len(json.dumps(shown)) < MAX_FIELDS * 30


def test_depth_is_bounded() -> None:
    message = Everything(name="leaf")
    for _ in range(50):
        message = Everything(child=message)
    assert json.dumps(redacted(message)).count("child") < 10


@pytest.mark.parametrize("cut", range(495, 520))
def test_a_value_across_the_cut_is_still_hidden(cut: int) -> None:
    shown = str(redacted(Everything(note="x" * cut + " hp 91234567 "))["note"])
    assert "9123" not in shown
