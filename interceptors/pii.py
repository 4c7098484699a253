"""Innermost layer: decides what logs, audit and Sentry may see of a request, by the contract's field options.

It attaches a view and computes nothing: only who asks (`call.view()`) pays for it. What people write (FREE_TEXT) is
left out altogether, not scrubbed: the trail is for ever, and a scrubber that misses one name in a thousand is not good
enough for that. Other personal fields are replaced by pseudonyms or markers; the body itself is never given to anybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from interceptors.call import Call, Proceed, Redactor
from interceptors.policy import Method
from tria.policy.v1 import policy_pb2

_LEFT_OUT = frozenset({policy_pb2.FieldPolicy.FREE_TEXT, policy_pb2.FieldPolicy.SECRET})


@dataclass(frozen=True, slots=True)
class _Clearing:
    """What to clear in a message of one type: its own fields, and those inside its message fields."""

    fields: tuple[str, ...]
    inside: tuple[tuple[str, bool, _Clearing], ...]  # name, repeated, what to clear there

    def __bool__(self) -> bool:
        return bool(self.fields or self.inside)


class Pii:
    """The layer. `redacted` is `server.pii.messages.redacted`: a message as a dict without what is personal."""

    name = "pii"

    def __init__(self, redacted: Redactor) -> None:
        self._redacted = redacted

    def around(self, method: Method, proceed: Proceed) -> Proceed:
        if method.request_streaming or method.request_type is None:
            return proceed
        redacted = self._redacted
        clearing = _clearing(method.request_type, ())

        async def run(call: Call) -> Any:
            message: Message = call.message()

            def view() -> dict[str, object]:
                shown = message
                if clearing:
                    shown = type(message)()
                    shown.CopyFrom(message)
                    _clear(shown, clearing)
                return redacted(shown, tenant=call.caller.tenant)

            call.view = view
            return await proceed(call)

        return run


def _clearing(descriptor: Descriptor, above: tuple[str, ...]) -> _Clearing:
    fields, inside = [], []
    for field in descriptor.fields:
        if field.GetOptions().Extensions[policy_pb2.field].pii in _LEFT_OUT:
            fields.append(field.name)
            continue
        inner = field.message_type
        if inner is None or inner.GetOptions().map_entry or inner.full_name in above:
            continue
        if clearing := _clearing(inner, (*above, descriptor.full_name)):
            inside.append((field.name, field.is_repeated, clearing))
    return _Clearing(tuple(fields), tuple(inside))


def _clear(message: Message, clearing: _Clearing) -> None:
    for name in clearing.fields:
        message.ClearField(name)
    for name, repeated, inner in clearing.inside:
        if repeated:
            for item in getattr(message, name):
                _clear(item, inner)
        elif message.HasField(name):
            _clear(getattr(message, name), inner)
