"""How documents are named."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

from server.errors import invalid

_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9._-]+")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def document_name(filename: str) -> str:
    """`documents/{file name without its extension}`. What a name may not hold becomes "-"; when letters were lost that
    way (配送.md), eight hex digits of the name's SHA-256 keep such files apart."""
    stem = PurePosixPath(filename).stem
    cleaned = _NOT_ALLOWED.sub("-", stem).strip("-._")[:90]
    if not stem.isascii() or not cleaned:
        digest = hashlib.sha256(stem.encode()).hexdigest()[:8]
        cleaned = f"{cleaned}-{digest}" if cleaned else f"document-{digest}"
    return f"documents/{cleaned}"


def document_id(name: str) -> str:
    """The id in `documents/{id}`; raises INVALID_ARGUMENT for anything else."""
    prefix, separator, id = name.partition("/")
    if prefix != "documents" or not separator or not _ID.fullmatch(id):
        raise invalid("name", "must be documents/{id} with letters, digits, '.', '_' and '-'")
    return id
