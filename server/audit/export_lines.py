"""The records of an NDJSON export, one JSON object a line (server/audit/README.md describes them for any language).

    header      whose log, which range of it, the tree that it is proven in, the keys that signed it
    checkpoint  the signed note
    cover       hashes that the range is proven with (server/audit/cover.py), in one or more records
    leaf        one for each seq of the range, in order: the bytes, their hash, and columns to search by
    end         what was given; or `cut`: where to go on

Nothing stands in a record that a verifier could not check.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

FORMAT = "tria-audit-export"
VERSION = 1
COVER_RECORD = 512
"""Most hashes in one cover record."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Header:
    """Which records [first_seq, last_seq] of whose log, in the tree of which size. `keys` are the C2SP verifier keys
    whose signatures the checkpoint carries, in their order."""

    tenant: str
    origin: str
    first_seq: int
    last_seq: int
    tree_size: int
    keys: Sequence[str]


def header_line(header: Header) -> bytes:
    return _line({"type": "header", "format": FORMAT, "version": VERSION, **asdict(header)})


def checkpoint_line(note: str) -> bytes:
    return _line({"type": "checkpoint", "note": note})


def cover_line(hashes: Sequence[bytes]) -> bytes:
    return _line({"type": "cover", "hashes": [text_of(digest) for digest in hashes]})


def leaf_line(seq: int, encoded: bytes, digest: bytes) -> bytes:
    return _line(leaf_record(seq, encoded, digest, orjson.loads(encoded)))


def end_line(header: Header, root: bytes) -> bytes:
    return _line(end_record(header, root))


def cut_line(next_seq: int, reason: str) -> bytes:
    """The server stops here; the rest comes from an export that starts at `next_seq`, appended to this one."""
    return _line({"type": "cut", "next_seq": next_seq, "reason": reason})


def leaf_record(seq: int, encoded: bytes, digest: bytes, event: Mapping[str, Any]) -> dict[str, object]:
    """The whole record of a leaf; `event` is what its bytes say. Raises KeyError, IndexError, TypeError when they say
    nothing of the kind."""
    targets = event["targets"]
    return {
        "type": "leaf",
        "seq": seq,
        "leaf": base64.b64encode(encoded).decode(),
        "hash": text_of(digest),
        "event_id": event["event_id"],
        "occurred_at": time_of(event["occurred_at"]),
        "action": event["action"],
        "actor": event["actor"]["id"],
        "decision": event["decision"],
        "resource": targets[0] if targets else "",
        "request_id": event["request_id"],
    }


def end_record(header: Header, root: bytes) -> dict[str, object]:
    return {
        "type": "end",
        "first_seq": header.first_seq,
        "last_seq": header.last_seq,
        "count": header.last_seq - header.first_seq + 1,
        "tree_size": header.tree_size,
        "root_hash": text_of(root),
    }


def cover_lines(hashes: Sequence[bytes]) -> Iterator[bytes]:
    """The cover in as many records as it needs."""
    for start in range(0, len(hashes), COVER_RECORD):
        yield cover_line(hashes[start : start + COVER_RECORD])


def text_of(digest: bytes) -> str:
    """Bytes in base64 (RFC 4648, padded)."""
    return base64.b64encode(digest).decode()


def time_of(microseconds: int) -> str:
    """RFC 3339 in UTC, always with microseconds."""
    return f"{_EPOCH + timedelta(microseconds=microseconds):%Y-%m-%dT%H:%M:%S.%fZ}"


def _line(record: Mapping[str, object]) -> bytes:
    return orjson.dumps(record) + b"\n"
