"""One audit event and its canonical bytes: what is hashed, signed for and exported, and never re-encoded afterwards.

The encoding, version 1 (test vectors: tests/unit/data/leaf_vectors.json):

- one JSON object in UTF-8, without whitespace, keys sorted by code point at every depth;
- every key below is always present; strings, integers within ±(2^53 - 1), arrays and objects only (no float, no
  boolean, no null), so that every JSON library of every language writes the same bytes;
- only `"`, `\\` are escaped (with a backslash), because control characters and lone surrogates are removed from strings
  before they are written; everything else stands as itself;
- `occurred_at` is in microseconds since 1970-01-01T00:00:00Z; bytes are base64 (RFC 4648, padded).

    {"action","actor":{"auth_method","id","kind","on_behalf_of"},"decision","details":{},"event_id","kind","occurred_at",
     "request_id","rpc","sealed":[{"ciphertext","field","key_id","nonce","subject"}],"source":{"agent","ip_hash"},
     "status","targets":[],"tenant","trace_id","v":1}

The hash of a leaf is SHA-256(0x00 ‖ bytes), as in RFC 9162 §2.1.1.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import uuid4

import orjson

from server.audit.actions import Action, Decision, LeafKind

VERSION = 1
NO_TENANT = "-"
"""The log of what belongs to no tenant: refusals before an identity was known, and what the system does by itself."""

Plain: TypeAlias = str | int | Mapping[str, "Plain"] | Sequence["Plain"]

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DEEPEST = 8
_LARGEST = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it: `kind` is a role, SYSTEM or ANONYMOUS; `id` is opaque or a keyed pseudonym, never a name."""

    kind: str
    id: str = ""
    auth_method: str = "NONE"
    on_behalf_of: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where it came from: keyed hash of the address, and the kind of client."""

    ip_hash: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True)
class SealedValue:
    """A personal field, encrypted with its subject's key (server/audit/sealing.py)."""

    field: str
    subject: str
    key_id: str
    nonce: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class Leaf:
    """One event. `details` holds text and whole numbers only, and nothing personal."""

    tenant: str
    action: Action
    actor: Actor
    decision: Decision
    kind: LeafKind
    status: str = "OK"
    targets: tuple[str, ...] = ()
    rpc: str = ""
    request_id: str = ""
    trace_id: str = ""
    source: Source = Source()
    details: Mapping[str, Plain] = field(default_factory=dict)
    sealed: tuple[SealedValue, ...] = ()
    event_id: str = field(default_factory=lambda: str(uuid4()))
    occurred_at: datetime = field(default_factory=lambda: datetime.now(UTC))


def encode(leaf: Leaf) -> bytes:
    """The canonical bytes. Raises ValueError for what the encoding cannot hold (details that are nested too deeply)."""
    tree = _tree(leaf)
    try:
        encoded = orjson.dumps(tree, option=_OPTIONS)
    except orjson.JSONEncodeError:
        encoded = b"\\"  # a lone surrogate or a huge integer: the careful way decides
    if b"\\" not in encoded and b"\x7f" not in encoded:
        return encoded
    try:
        return orjson.dumps(_cleaned(tree), option=_OPTIONS)
    except orjson.JSONEncodeError as cause:
        raise ValueError(f"not encodable as an audit leaf: {cause}") from cause


def decode(encoded: bytes) -> Leaf:
    """The event behind canonical bytes. Raises ValueError when they are not a leaf of this version."""
    try:
        tree: dict[str, Any] = orjson.loads(encoded)
        if tree["v"] != VERSION:
            raise ValueError(f"leaf version {tree['v']} is not {VERSION}")
        return Leaf(
            tenant=tree["tenant"],
            action=Action(tree["action"]),
            actor=Actor(**tree["actor"]),
            decision=Decision(tree["decision"]),
            kind=LeafKind(tree["kind"]),
            status=tree["status"],
            targets=tuple(tree["targets"]),
            rpc=tree["rpc"],
            request_id=tree["request_id"],
            trace_id=tree["trace_id"],
            source=Source(**tree["source"]),
            details=tree["details"],
            sealed=tuple(_unsealed(item) for item in tree["sealed"]),
            event_id=tree["event_id"],
            occurred_at=_EPOCH + tree["occurred_at"] * _MICROSECOND,
        )
    except (KeyError, TypeError, OverflowError) as cause:
        raise ValueError("not an audit leaf") from cause


def leaf_hash(encoded: bytes) -> bytes:
    """SHA-256(0x00 ‖ bytes), 32 bytes (RFC 9162 §2.1.1: the prefix keeps leaves and nodes apart)."""
    return hashlib.sha256(b"\x00" + encoded).digest()


def clean(text: str) -> str:
    """The text without control characters and lone surrogates: one line in every log, storable in PostgreSQL."""
    return _UNFIT.sub("", text) if _UNFIT.search(text) else text


def plain(value: object, *, depth: int = 0) -> Plain:
    """Any JSON-like value in the leaf's alphabet: booleans, floats, null and integers that other languages round become
    text, keys become text.

    Raises ValueError when it is nested too deeply.
    """
    if depth > _DEEPEST:
        raise ValueError("details are nested too deeply")
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int():
            return value if -_LARGEST <= value <= _LARGEST else str(value)
        case None:
            return ""
        case dict() | Mapping():  # dict first: the check for an abstract Mapping costs ten times as much
            return {str(key): plain(item, depth=depth + 1) for key, item in value.items()}
        case list() | tuple():
            return [plain(item, depth=depth + 1) for item in value]
        case _:
            return str(value)


def _tree(leaf: Leaf) -> dict[str, Any]:
    actor, source = leaf.actor, leaf.source
    return {
        "v": VERSION,
        "tenant": leaf.tenant,
        "event_id": leaf.event_id,
        "occurred_at": (leaf.occurred_at - _EPOCH) // _MICROSECOND,
        "kind": leaf.kind.value,
        "action": leaf.action.value,
        "actor": {
            "kind": actor.kind,
            "id": actor.id,
            "auth_method": actor.auth_method,
            "on_behalf_of": actor.on_behalf_of,
        },
        "targets": list(leaf.targets),
        "decision": leaf.decision.value,
        "status": leaf.status,
        "rpc": leaf.rpc,
        "request_id": leaf.request_id,
        "trace_id": leaf.trace_id,
        "source": {"ip_hash": source.ip_hash, "agent": source.agent},
        "details": plain(leaf.details),
        "sealed": [_sealed(item) for item in leaf.sealed],
    }


def _sealed(item: SealedValue) -> dict[str, str]:
    return {
        "field": item.field,
        "subject": item.subject,
        "key_id": item.key_id,
        "nonce": base64.b64encode(item.nonce).decode(),
        "ciphertext": base64.b64encode(item.ciphertext).decode(),
    }


def _unsealed(item: Mapping[str, str]) -> SealedValue:
    return SealedValue(
        field=item["field"],
        subject=item["subject"],
        key_id=item["key_id"],
        nonce=base64.b64decode(item["nonce"]),
        ciphertext=base64.b64decode(item["ciphertext"]),
    )


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return clean(value)
        case dict():
            return {clean(key): _cleaned(item) for key, item in value.items()}
        case list():
            return [_cleaned(item) for item in value]
        case _:
            return value
