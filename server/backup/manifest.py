"""What a backup says of itself: `manifest.json`, and `manifest.note`, which signs it with the key of the audit log.

The signature is a signed note like those of the log (server/audit/checkpoint.py), under an origin that no log has: the
size is that of the manifest, the root its SHA-256. The manifest holds the SHA-256 of every other file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from server.audit.checkpoint import Checkpoint, NoteInvalid, open_note, sign
from server.signing import PublicKey, SigningKey

FORMAT = "tria-backup"
VERSION = 1
MANIFEST = "manifest.json"
NOTE = "manifest.note"
DUMP = "database.dump"
BASE = "base"
_ORIGIN = "tria-backup"  # logs are called tria/…
_CHUNK = 1024 * 1024


class BadBackup(Exception):
    """The directory is not a whole backup, or not the one that was signed; the message says what is wrong."""


class Mode(StrEnum):
    """How the database was copied."""

    DUMP = "dump"
    BASE = "base"


@dataclass(frozen=True, slots=True)
class FileSum:
    """One file of the backup."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LogState:
    """A tenant's audit log as it was copied: all its records, those that are signed for, and the note that does it
    (empty while there is none)."""

    size: int
    signed: int
    note: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was copied, when, from what, by what. `pending` are audit records without a place in a log yet; `tables`
    counts rows (none are counted for a base backup, which is of no single moment). `verified` is the program that read
    a base backup again and compared it; empty: none did. `sealed` has for each master key one key of a person that it
    seals: tenant, id, the box in base64; it shows before a restore whether the master keys are the right ones.
    `secrets` are fingerprints of others that are needed (server/backup/fingerprints.py)."""

    mode: Mode
    created_at: datetime
    tria: str
    server: str
    server_major: int
    tool: str
    migration: int
    database_bytes: int
    master_keys: Sequence[str]
    pending: int
    logs: Mapping[str, LogState]
    tables: Mapping[str, int]
    files: Mapping[str, FileSum]
    verified: str = ""
    sealed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> bytes:
        found = {"format": FORMAT, "version": VERSION, **asdict(self), "created_at": self.created_at.isoformat()}
        return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def sum_of(path: Path, told: Callable[[int], None] = lambda _: None) -> FileSum:
    """Size and hash of a file; `told` hears how many bytes are done."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            told(size)
    return FileSum(size, digest.hexdigest())


def write(folder: Path, manifest: Manifest, key: SigningKey) -> None:
    """Writes both files."""
    content = manifest.to_json()
    (folder / MANIFEST).write_bytes(content)
    (folder / NOTE).write_text(sign(_head(content), key), encoding="utf-8")


def read(folder: Path, keys: Sequence[PublicKey]) -> Manifest:
    """The manifest, when one of `keys` signed it. Raises BadBackup."""
    try:
        content = (folder / MANIFEST).read_bytes()
        note = (folder / NOTE).read_text(encoding="utf-8")
    except FileNotFoundError as missing:
        raise BadBackup(f"{folder} is no whole backup: {Path(str(missing.filename)).name} is missing") from missing
    try:
        signed = open_note(note, keys).checkpoint
    except NoteInvalid as error:
        trusted = ", ".join(f"{key.name}+{key.id}" for key in keys)
        raise BadBackup(f"{NOTE} is not signed by {trusted} (TRIA_AUDIT_KEY, TRIA_AUDIT_KEYS_OLD): {error}") from error
    if signed != _head(content):
        raise BadBackup(f"{MANIFEST} is not the one that was signed")
    return _parsed(content)


def check_files(folder: Path, manifest: Manifest, told: Callable[[int], None] = lambda _: None) -> None:
    """Compares every file with the manifest; raises BadBackup for the first that differs."""
    before = 0
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise BadBackup(f"{name} is missing")
        if (size := path.stat().st_size) != expected.bytes:
            raise BadBackup(f"{name} has {size} bytes and was made with {expected.bytes}")
        if sum_of(path, lambda done, start=before: told(start + done)).sha256 != expected.sha256:  # type: ignore[misc]
            raise BadBackup(f"{name} is not what was written: its SHA-256 differs")
        before += size


def _head(content: bytes) -> Checkpoint:
    return Checkpoint(_ORIGIN, len(content), hashlib.sha256(content).digest())


def _parsed(content: bytes) -> Manifest:
    found: dict[str, Any] = json.loads(content)  # signed: nobody else wrote it
    if (found.get("format"), found.get("version")) != (FORMAT, VERSION):
        raise BadBackup(f"{MANIFEST} is of another version of TRIA: {found.get('format')} {found.get('version')}")
    known = {each.name: found[each.name] for each in fields(Manifest) if each.name in found}
    return Manifest(
        **known
        | {
            "mode": Mode(found["mode"]),
            "created_at": datetime.fromisoformat(found["created_at"]),
            "logs": {tenant: LogState(**state) for tenant, state in found["logs"].items()},
            "files": {name: FileSum(**state) for name, state in found["files"].items()},
        }
    )
