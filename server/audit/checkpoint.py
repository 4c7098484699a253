"""Signed tree heads: C2SP tlog-checkpoint in a C2SP signed note, Ed25519. Pure; the offline verifier uses it too.

    tria/acme                                       the origin: which log
    12345                                           its size
    BASE64                                          its root
                                                    (an empty line)
    — NAME BASE64(key hash ‖ signature)             one line a signature; it signs the lines above the empty one

Keys and their hashes: server/signing.py.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from server.signing import MARK, NAME, PublicKey, SigningKey

_MOST_SIGNATURES = 16
_SIZE = re.compile(r"0|[1-9]\d{0,18}")


class NoteInvalid(Exception):
    """Not a checkpoint, or not signed by a key that is known."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head. `extensions` are further lines, which are signed and otherwise ignored."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """What is signed."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint and the known keys that signed it, in the order of their lines; at least one."""

    checkpoint: Checkpoint
    signers: tuple[PublicKey, ...]


def origin_of(tenant: str) -> str:
    """The origin line of a tenant's log."""
    return f"tria/{tenant}"


def sign(checkpoint: Checkpoint, key: SigningKey) -> str:
    """The signed note."""
    text = checkpoint.text()
    return f"{text}\n{key.line(text)}"


def countersign(note: str, key: SigningKey, keys: Sequence[PublicKey]) -> str:
    """The same note with one more signature: how a new key vouches for what an older one signed.

    Raises NoteInvalid when none of `keys` signed it.
    """
    text = open_note(note, keys).checkpoint.text()
    return note + key.line(text)


def open_note(note: str, keys: Sequence[PublicKey]) -> Opened:
    """The checkpoint, when at least one of `keys` signed it. Raises NoteInvalid.

    A line of an unknown key is passed over; one of a known key whose signature is wrong spoils the note.
    """
    text, separator, rest = note.rpartition("\n\n")
    lines = rest.split("\n")
    if not separator or lines.pop() or not 1 <= len(lines) <= _MOST_SIGNATURES:
        raise NoteInvalid("not a signed note")
    text += "\n"
    known = {(key.name, key.hash): key for key in keys}
    signers: list[PublicKey] = []
    for line in lines:
        name, mark, signature = _signature(line)
        key = known.get((name, mark))
        if key is None or key in signers:
            continue
        if not key.signed(text.encode(), signature):
            raise NoteInvalid(f"the signature of {name} is wrong")
        signers.append(key)
    if not signers:
        raise NoteInvalid("no known key signed it")
    return Opened(parse_text(text), tuple(signers))


def parse_text(text: str) -> Checkpoint:
    """The checkpoint in the signed text of a note. Raises NoteInvalid."""
    origin, *lines = text.removesuffix("\n").split("\n")
    if not origin or len(lines) < 2 or not text.endswith("\n") or not all(lines):
        raise NoteInvalid("not a checkpoint")
    size, encoded, *extensions = lines
    try:
        root = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        root = b""
    if not _SIZE.fullmatch(size) or len(root) != 32 or base64.b64encode(root).decode() != encoded:
        raise NoteInvalid("not a checkpoint")
    return Checkpoint(origin, int(size), root, tuple(extensions))


def signer(line: str) -> tuple[str, bytes]:
    """Name and hash of the key that a signature line is of. Raises NoteInvalid."""
    return _signature(line.removesuffix("\n"))[:2]


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(MARK).partition(" ")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not line.startswith(MARK) or not NAME.fullmatch(name) or len(raw) < 5:
        raise NoteInvalid("a signature line is not understood")
    return name, raw[:4], raw[4:]
