"""Checkpoints that were kept outside the database: the checkpoint file, a line of it, or a note."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from server.audit.checkpoint import Checkpoint, NoteInvalid, open_note
from server.signing import PublicKey

_ORIGIN = "tria/"


class BadKept(Exception):
    """A file holds no checkpoints that one of the keys signed."""


def read_kept(path: Path, keys: Sequence[PublicKey]) -> dict[str, list[Checkpoint]]:
    """The checkpoints of each tenant, by size; every one is signed. A last line that was cut off is passed over, as the
    disk that the file was saved from may have died while it was written. Two roots of one size stay both: one of them
    will not be proven. Raises BadKept, also when there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadKept(f"{path}: {error}") from error
    found: dict[str, dict[tuple[int, bytes], Checkpoint]] = {}
    for number, note in _notes(path, text):
        try:
            checkpoint = open_note(note, keys).checkpoint
        except NoteInvalid as error:
            raise BadKept(f"{path}, line {number}: {error}") from error
        of_tenant = found.setdefault(checkpoint.origin.removeprefix(_ORIGIN), {})
        of_tenant[checkpoint.size, checkpoint.root] = checkpoint
    if not found:
        raise BadKept(f"{path} holds no checkpoint")
    return {tenant: [heads[head] for head in sorted(heads)] for tenant, heads in found.items()}


def _notes(path: Path, text: str) -> Iterable[tuple[int, str]]:
    if not text.startswith("{"):
        yield 1, text
        return
    lines = text.rstrip().split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            found = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return  # cut off: whole JSON cannot be cut and stay JSON
            raise BadKept(f"{path}, line {number} is no checkpoint") from error
        if not isinstance(found, dict) or not isinstance(found.get("note"), str):
            raise BadKept(f"{path}, line {number} is no checkpoint")
        yield number, found["note"]


def together(files: Iterable[dict[str, list[Checkpoint]]]) -> dict[str, list[Checkpoint]]:
    """Those of several places; two of one size and another root stay both, and one of them will not be proven."""
    found: dict[str, list[Checkpoint]] = {}
    for file in files:
        for tenant, checkpoints in file.items():
            found.setdefault(tenant, []).extend(checkpoints)
    return {tenant: sorted(checkpoints, key=lambda each: each.size) for tenant, checkpoints in found.items()}
