"""Protobuf messages for logs, audit details and error reports: what each field contains decides what is shown of it.

The field option `(tria.policy.v1.field).pii` is read from the descriptors once per message type. SECRET fields are left
out, other marked fields but FREE_TEXT become a keyed pseudonym (or the marker of their kind), all other text is
scrubbed and shortened.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import NamedTuple

from google.protobuf import any_pb2, duration_pb2, struct_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.message import Message

from server.pii.pseudonym import Pseudonyms
from server.pii.scrub import scrub
from tria.policy.v1 import policy_pb2

MAX_DEPTH = 8
MAX_FIELDS = 400  # values shown of one message, all depths together
MAX_ITEMS = 20  # of one repeated field or map
MAX_TEXT = 512  # characters of one string
_CUT_MARGIN = 256  # scrubbed beyond the cut, so a value that straddles it is still recognised
_CUT = "…"

_Pii = policy_pb2.FieldPolicy.Pii
_PSEUDONYM_KINDS: dict[int, str] = {
    _Pii.EMAIL: "EMAIL",
    _Pii.PHONE: "PHONE",
    _Pii.NAME: "PERSON",
    _Pii.ADDRESS: "ADDRESS",
    _Pii.GOVERNMENT_ID: "GOVERNMENT_ID",
}
_TIMES = frozenset({timestamp_pb2.Timestamp.DESCRIPTOR.full_name, duration_pb2.Duration.DESCRIPTOR.full_name})
_OPEN_TYPES = frozenset(
    {
        struct_pb2.Struct.DESCRIPTOR.full_name,
        struct_pb2.Value.DESCRIPTOR.full_name,
        struct_pb2.ListValue.DESCRIPTOR.full_name,
    }
)
_ANY = any_pb2.Any.DESCRIPTOR.full_name


class _Shape(Enum):
    PLAIN = auto()  # numbers and booleans
    TEXT = auto()
    BYTES = auto()
    ENUM = auto()
    MESSAGE = auto()


class _Field(NamedTuple):
    name: str
    pii: int
    shape: _Shape
    repeated: bool
    map_value: FieldDescriptor | None
    enum_names: Mapping[int, str]


def _shape(field: FieldDescriptor) -> _Shape:
    if field.type == FieldDescriptor.TYPE_STRING:
        return _Shape.TEXT
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _Shape.BYTES
    if field.type == FieldDescriptor.TYPE_ENUM:
        return _Shape.ENUM
    return _Shape.MESSAGE if field.message_type is not None else _Shape.PLAIN


def _plan_field(field: FieldDescriptor) -> _Field:
    entry = field.message_type
    is_map = entry is not None and entry.GetOptions().map_entry
    value = entry.fields_by_name["value"] if entry is not None and is_map else None
    shown = value if value is not None else field
    names = {v.number: v.name for v in shown.enum_type.values} if shown.enum_type is not None else {}
    pii = field.GetOptions().Extensions[policy_pb2.field].pii
    return _Field(field.name, pii, _shape(shown), field.is_repeated, value, names)


@functools.cache
def _plan(descriptor: Descriptor) -> Mapping[int, _Field]:
    return {field.number: _plan_field(field) for field in descriptor.fields}


def redacted(message: Message, *, tenant: str = "", pseudonyms: Pseudonyms | None = None) -> dict[str, object]:
    """`message` as plain values fit for a log: at most 400 values, 8 levels, 20 items and 512 characters each.

    With `pseudonyms` the marked fields become keyed pseudonyms of `tenant`; without, the markers of their kinds.
    """
    return _Walk(tenant, pseudonyms).message(message, 0)


class _Walk:
    """One walk over one message; counts the values it has shown."""

    def __init__(self, tenant: str, pseudonyms: Pseudonyms | None) -> None:
        self._tenant = tenant
        self._pseudonyms = pseudonyms
        self._left = MAX_FIELDS

    def message(self, message: Message, depth: int) -> dict[str, object]:
        shown: dict[str, object] = {}
        plan = _plan(message.DESCRIPTOR)
        for descriptor, value in message.ListFields():
            field = plan.get(descriptor.number)
            if field is None or field.pii == _Pii.SECRET:
                continue
            if self._left <= 0:
                shown[_CUT] = "more fields"
                break
            shown[field.name] = self._field(field, value, depth)
        return shown

    def _field(self, field: _Field, value: object, depth: int) -> object:
        if field.map_value is not None and isinstance(value, Mapping):
            keys = list(value)[:MAX_ITEMS]
            return {_shorten(str(key)): self._value(field, value[key], depth) for key in keys}
        if field.repeated and isinstance(value, Iterable):
            items = list(value)
            shown = [self._value(field, item, depth) for item in items[:MAX_ITEMS] if self._left > 0]
            return shown if len(shown) == len(items) else [*shown, f"{_CUT} {len(items) - len(shown)} more"]
        return self._value(field, value, depth)

    def _value(self, field: _Field, value: object, depth: int) -> object:
        self._left -= 1
        if field.pii in _PSEUDONYM_KINDS:
            return self._hidden(_PSEUDONYM_KINDS[field.pii], value)
        if isinstance(value, Message):
            return self._nested(value, depth)
        if isinstance(value, str):
            return scrubbed(value)  # also where no text is expected: people write their names into any field
        if isinstance(value, bytes):
            return f"[{len(value)} bytes]"
        if field.shape is _Shape.ENUM and isinstance(value, int):
            return field.enum_names.get(value, value)
        return value

    def _hidden(self, kind: str, value: object) -> str:
        if self._pseudonyms is None or not isinstance(value, str):
            return f"[{kind}]"
        return self._pseudonyms.pseudonym(self._tenant, kind, value)

    def _nested(self, message: Message, depth: int) -> object:
        name = message.DESCRIPTOR.full_name
        if name in _TIMES:
            return str(_read(message))
        if name == _ANY:
            return {"type": getattr(message, "type_url", "")}
        if name in _OPEN_TYPES:  # no descriptor says what is inside
            return scrubbed(str(_read(message)))
        if depth + 1 >= MAX_DEPTH:
            return _CUT
        return self.message(message, depth + 1)


def _read(message: Message) -> object:
    """As its JSON form, if it has one: a caller may send a time outside any calendar, or a number that is none, also in
    a field that nobody reads, and the record of that call must be written all the same."""
    try:
        return MessageToDict(message)
    except (ValueError, SerializeToJsonError):
        return f"[no valid {message.DESCRIPTOR.name}]"


def scrubbed(text: str) -> str:
    """Free text for a log: scrubbed, at most 512 characters."""
    return _shorten(scrub(text[: MAX_TEXT + _CUT_MARGIN]))


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + _CUT
