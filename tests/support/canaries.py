"""Canaries: values that belong to one field of one call, planted everywhere and looked for everywhere else.

What is free text by the contract carries a word that no recogniser knows, because such fields must not show at all;
the others carry personal data that a recogniser does know. Every value is invented, and found again by `hits`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.pii.identity import nric_is_valid
from tria.policy.v1 import policy_pb2

# Shapes of resource names and file names that the contract's patterns ask for.
_SHAPES = (
    "{}",
    "conversations/{}",
    "conversations/x/runs/{}",
    "conversations/x/messages/{}",
    "orders/{}",
    "outlets/{}",
    "products/{}",
    "proposals/{}",
    "documents/{}",
    "{}.txt",
)
_DEEPEST = 4


@dataclass
class Canaries:
    """Everything planted so far: what to look for, by whom it was planted."""

    places: dict[str, str] = field(default_factory=dict)

    def mail(self, place: str) -> str:
        """A new address, found by its local part, which survives most ways of writing it down."""
        needle = f"c{len(self.places):05d}.canary"
        self.places[needle] = place
        return f"{needle}@mail.example"

    def word(self, place: str) -> str:
        """A new address behind a word that no recogniser finds."""
        mail = self.mail(place)
        needle = f"zqcanary{len(self.places):05d}"
        self.places[needle] = place
        return f"{needle} {mail}"

    def identity(self, place: str) -> str:
        """A new identity number with a right check letter: personal data made of letters and digits only."""
        digits = f"{9_000_000 + len(self.places):07d}"
        number = next(f"S{digits}{letter}" for letter in "ABCDEFGHIJZ" if nric_is_valid(f"S{digits}{letter}"))
        self.places[number] = place
        return number

    def hits(self, content: bytes) -> list[str]:
        """The planted values in `content`, each with the field it was planted in."""
        text = content.decode("utf-8", "replace")
        found = re.findall(r"c\d{5}\.canary|zqcanary\d{5}|S9\d{6}[A-Z]", text)
        return sorted({f"{value} (planted in {self.places[value]})" for value in found if value in self.places})


def planted(canaries: Canaries, method: MethodDescriptor, *, valid: bool) -> Message:
    """A request with a canary in every text field: with `valid` where the field's own rules allow one, else anyway."""
    request: Message = GetMessageClass(method.input_type)()
    _plant(canaries, request, f"{method.full_name}", valid=valid, depth=0)
    return request


def _plant(canaries: Canaries, message: Message, place: str, *, valid: bool, depth: int) -> None:
    for item in message.DESCRIPTOR.fields:
        where = f"{place}.{item.name}"
        if item.message_type is not None:
            if depth < _DEEPEST and not _is_closed(item.message_type):
                inner = getattr(message, item.name)
                _plant(canaries, inner.add() if item.is_repeated else inner, where, valid=valid, depth=depth + 1)
        elif item.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}:
            value = _value(canaries, item, where, valid=valid)
            if value is None:
                continue
            given = value.encode() if item.type == FieldDescriptor.TYPE_BYTES else value
            if item.is_repeated:
                getattr(message, item.name).append(given)
            else:
                setattr(message, item.name, given)


def _is_closed(descriptor: Any) -> bool:
    name: str = descriptor.full_name
    return bool(descriptor.GetOptions().map_entry) or name.startswith(("google.protobuf.", "google.type."))


def _value(canaries: Canaries, item: Any, place: str, *, valid: bool) -> str | None:
    free = item.GetOptions().Extensions[policy_pb2.field].pii in {
        policy_pb2.FieldPolicy.FREE_TEXT,
        policy_pb2.FieldPolicy.SECRET,
    }
    value = canaries.word(place) if free else canaries.mail(place)
    rules = item.GetOptions().Extensions[validate_pb2.field]
    text = rules.repeated.items.string if item.is_repeated else rules.string
    if not valid or _fits(text, value):
        return value
    if text.uuid:
        return str(uuid4())
    shapes = (shape.format(canaries.identity(place)) for shape in _SHAPES)
    return next((shape for shape in shapes if _fits(text, shape)), None)


def _fits(rules: validate_pb2.StringRules, value: str) -> bool:
    return (
        not rules.uuid
        and len(value) >= rules.min_len
        and (not rules.HasField("max_len") or len(value) <= rules.max_len)
        and (not rules.pattern or re.search(rules.pattern, value) is not None)
    )


def methods(services: Iterable[ServiceDescriptor]) -> Iterator[MethodDescriptor]:
    """Every method of these services."""
    for service in services:
        yield from service.methods
