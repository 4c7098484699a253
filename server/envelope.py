"""Sealing with master keys that come from the configuration: AES-256-GCM, each box naming the key that opens it.

    box = version (1 byte, 1) ‖ length of the key id (1 byte) ‖ key id ‖ nonce (12 bytes) ‖ ciphertext with tag

`context` is authenticated and not stored: a box opens only in the place that it was made for. Rotation: put the new key
first; boxes of the others still open and are sealed anew when they are written next. Nonces are random, which is safe
for 2^32 boxes a key (NIST SP 800-38D §8.3).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = 1
_NONCE = 12


class NotOpened(Exception):
    """The box was changed, belongs elsewhere, or its key is not here."""


@dataclass(frozen=True, slots=True, repr=False)
class MasterKey:
    """`id` is shown, `key` (32 bytes) is not."""

    id: str
    key: bytes

    def __repr__(self) -> str:
        return f"MasterKey({self.id})"


class MasterKeys:
    """The first key seals; all of them open."""

    def __init__(self, keys: Sequence[MasterKey]) -> None:
        if not keys:
            raise ValueError("at least one master key is needed")
        self._current = keys[0]
        self._by_id = {key.id: AESGCM(key.key) for key in keys}

    @property
    def current(self) -> str:
        """Id of the key that seals."""
        return self._current.id

    @property
    def ids(self) -> frozenset[str]:
        """Of all keys that open."""
        return frozenset(self._by_id)

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """A box that only `context` opens."""
        nonce, id = os.urandom(_NONCE), self._current.id.encode()
        sealed = self._by_id[self._current.id].encrypt(nonce, plaintext, context)
        return bytes([_VERSION, len(id)]) + id + nonce + sealed

    def sealed_with(self, box: bytes) -> str:
        """Id of the key that a box names; empty for what is no box."""
        return box[2 : 2 + box[1]].decode(errors="replace") if len(box) >= 2 and box[0] == _VERSION else ""

    def open(self, box: bytes, context: bytes) -> bytes:
        """What was sealed. Raises NotOpened."""
        if len(box) < 2 or box[0] != _VERSION:
            raise NotOpened("not a sealed box")
        end = 2 + box[1]
        cipher = self._by_id.get(box[2:end].decode(errors="replace"))
        if cipher is None:
            raise NotOpened("sealed with a key that is not configured")
        try:
            return cipher.decrypt(box[end : end + _NONCE], box[end + _NONCE :], context)
        except (InvalidTag, ValueError) as cause:
            raise NotOpened("changed, or made for another place") from cause
