"""Keyed pseudonyms: the same value gets the same token inside a tenant, another one in every other tenant.

Plain hashes of telephone numbers are undone by trying them all; an HMAC is not without its key. The token names the
version of the key. Rotation adds a key with a higher version: what was stored keeps its token, new tokens are made with
the new key, and a person is found under all of them for as long as the old keys are held.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

from server.pii.kinds import Kind
from server.pii.normalise import fold

_LENGTH = 16  # base32 characters: 80 bits
_SHORTEST_KEY = 32  # bytes
_SEPARATOR = "\x1f"
_DIGIT_KINDS = frozenset({Kind.CREDIT_CARD, Kind.BANK_ACCOUNT, Kind.US_SSN, Kind.MY_NRIC})
_CODE_KINDS = frozenset({Kind.IBAN, Kind.SG_NRIC, Kind.CN_ID, Kind.UK_NINO, Kind.PASSPORT, "GOVERNMENT_ID"})


def normalised(kind: str, value: str) -> str:
    """The one spelling of a value that all its spellings share: what two people would call the same number. `kind` is a
    `Kind` or a kind of field of `tria.policy.v1`."""
    plain = fold(value).text.casefold()
    if kind == Kind.PHONE:
        digits = "".join(c for c in plain if c.isdigit())
        return digits.removeprefix("00").removeprefix("65") if len(digits) > 8 else digits
    if kind in _DIGIT_KINDS:
        return "".join(c for c in plain if c.isdigit())
    if kind in _CODE_KINDS:
        return "".join(c for c in plain if c.isalnum())
    return " ".join(plain.split())


class Pseudonyms:
    """Makes pseudonyms with the newest key of `keys` (version to key of at least 32 bytes).

    Raises ValueError when there is no key or one is too short.
    """

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        if not keys or any(len(key) < _SHORTEST_KEY for key in keys.values()):
            message = f"pseudonym keys must be given and have at least {_SHORTEST_KEY} bytes each"
            raise ValueError(message)
        self._keys = dict(keys)
        self.version = max(self._keys)

    def pseudonym(self, tenant: str, kind: str, value: str, *, version: int | None = None) -> str:
        """`EMAIL:v3:ABCDEFGHIJKLMNOP`: base32(HMAC-SHA-256(key, tenant‖kind‖normalised value))[:16] with its kind and
        key version. KeyError for a version that is not held."""
        return self.exactly(tenant, kind, normalised(kind, value), version=version)

    def exactly(self, tenant: str, kind: str, value: str, *, version: int | None = None) -> str:
        """The same of a value as it stands: for what names somebody, where two values must never get one token."""
        version = self.version if version is None else version
        message = _SEPARATOR.join((tenant, str(kind), value)).encode("utf-8", "surrogatepass")
        digest = hmac.new(self._keys[version], message, hashlib.sha256).digest()
        return f"{kind}:v{version}:{base64.b32encode(digest).decode('ascii')[:_LENGTH]}"

    def pseudonyms(self, tenant: str, kind: str, value: str) -> tuple[str, ...]:
        """The value's pseudonyms under every key that is held, the newest first: by one of them it was stored."""
        versions = sorted(self._keys, reverse=True)
        return tuple(self.pseudonym(tenant, kind, value, version=version) for version in versions)

    def stands_for(self, token: str, tenant: str, kind: str, value: str) -> bool:
        """Whether a stored pseudonym is that of the value; False when its key is not held any more."""
        return any(hmac.compare_digest(token.encode(), own.encode()) for own in self.pseudonyms(tenant, kind, value))
