"""Comparing an export with a checkpoint that was kept elsewhere, where need be by a consistency proof."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from server.audit.checkpoint import Checkpoint
from server.audit.proofs import verify_consistency
from server.audit.verifying import Proven


class Incomparable(Exception):
    """The two cannot be compared with what there is; the message says what is needed."""


@dataclass(frozen=True, slots=True)
class Link:
    """A consistency proof between two trees."""

    first: int
    second: int
    hashes: list[bytes]


def read_link(content: bytes) -> Link:
    """The answer of GetConsistencyProof as JSON. Raises ValueError."""
    try:
        found = json.loads(content)
        hashes = [base64.b64decode(text, validate=True) for text in found.get("hashes", [])]
        return Link(int(found["first"]), int(found["second"]), hashes)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError("not an answer of GetConsistencyProof") from error


def compare(found: Proven, older: Checkpoint, link: Link | None) -> bool:
    """True when both are of one log that only grew. Raises NotProven when they are not, Incomparable when nobody can
    tell."""
    if found.extends_older or older.size == 0:
        return found.extends_older
    size = found.header.tree_size
    if link is None or {link.first, link.second} != {older.size, size}:
        first, second = sorted((older.size, size))
        raise Incomparable(
            f"it is of {older.size} records, which this export does not reach; export from there on, or give the "
            f"proof from {first} to {second} with --proof"
        )
    if older.size <= size:
        verify_consistency(older.size, size, older.root, found.root, link.hashes)
    else:
        verify_consistency(size, older.size, found.root, older.root, link.hashes)
    return True
