"""Signed tree heads: C2SP tlog-checkpoint in a C2SP signed note, Ed25519. Pure; the offline verifier uses it too.

    tria/acme                                       the origin: which log
    12345                                           its size
    BASE64                                          its root
                                                    (an empty line)
    — NAME BASE64(key hash ‖ signature)             one line a signature; it signs the lines above the empty one

The key hash is the first four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key). Public keys travel as
`NAME+HASH+BASE64(0x01 ‖ public key)`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519 = b"\x01"  # the algorithm byte of signed notes
_SIGNATURE = 64
_MOST_SIGNATURES = 16
_NAME = re.compile(r"[^\s+]{1,128}")
_SIZE = re.compile(r"0|[1-9]\d{0,18}")
_MARK = "— "  # em dash, space


class NoteInvalid(Exception):
    """Not a checkpoint, or not signed by a key that is known."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What verifies. `name` is shown in the signature line."""

    name: str
    key: bytes

    @property
    def hash(self) -> bytes:
        """Four bytes that say which key signed; they prove nothing."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.key).digest()[:4]

    @property
    def id(self) -> str:
        """The hash as text."""
        return self.hash.hex()

    def __str__(self) -> str:
        return f"{self.name}+{self.id}+{base64.b64encode(_ED25519 + self.key).decode()}"

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """The key behind `NAME+HASH+BASE64`. Raises ValueError."""
        name, _, rest = text.strip().partition("+")
        id, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raw = b""
        if len(raw) != 33 or raw[:1] != _ED25519 or not _NAME.fullmatch(name):
            raise ValueError("must be NAME+HASH+KEY, the public Ed25519 key of a signed note")
        key = cls(name, raw[1:])
        if key.id != id:
            raise ValueError(f"is damaged: the hash of the key {name} is {key.id}")
        return key

    def signed(self, text: bytes, signature: bytes) -> bool:
        """Whether this key signed the text."""
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, text)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """What signs: `seed` is the private key (32 bytes, RFC 8032) and is not shown."""

    name: str
    seed: bytes

    def __repr__(self) -> str:
        return f"SigningKey({self.name})"

    @property
    def public(self) -> PublicKey:
        """The other half."""
        return PublicKey(self.name, self._private().public_key().public_bytes_raw())

    def line(self, text: str) -> str:
        """The signature line for `text`."""
        signature = self._private().sign(text.encode())
        return f"{_MARK}{self.name} {base64.b64encode(self.public.hash + signature).decode()}\n"

    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


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


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(_MARK).partition(" ")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not line.startswith(_MARK) or not _NAME.fullmatch(name) or len(raw) < 5:
        raise NoteInvalid("a signature line is not understood")
    return name, raw[:4], raw[4:]
