"""Ed25519 keys of signed notes (C2SP signed-note), as checkpoints of the audit log are signed with.

The hash of a key is the first four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key). Public keys travel as
`NAME+HASH+BASE64(0x01 ‖ public key)`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MARK = "— "
"""What a signature line begins with: an em dash and a space."""

NAME = re.compile(r"[^\s+]{1,128}")
"""What a key may be called."""

_ED25519 = b"\x01"  # the algorithm byte of signed notes


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
        if len(raw) != 33 or raw[:1] != _ED25519 or not NAME.fullmatch(name):
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
        return f"{MARK}{self.name} {base64.b64encode(self.public.hash + signature).decode()}\n"

    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)
