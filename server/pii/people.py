"""References to people: what rows that are somebody's are marked with, instead of the name that their token carries.

A reference is a keyed hash, so a copy of the database does not say whose a row is, and nobody can try names without the
key. Spellings of one address or telephone number give one reference; every other subject is taken as it stands, because
two ids that differ in case are two people.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from functools import lru_cache

from server.pii.kinds import Kind
from server.pii.pseudonym import normalised
from server.settings import Secret

_PHONE = re.compile(r"[+\d][\d ()-]{6,}")
_SEPARATOR = "\x1f"
_LENGTH = 26  # base32 characters: 130 bits
_REMEMBERED = 4096


class People:
    """Makes references with a key derived from `secret`; another secret makes other people of them."""

    def __init__(self, secret: Secret) -> None:
        self._key = hmac.new(secret.reveal().encode(), b"tria people v1", hashlib.sha256).digest()
        self.reference = lru_cache(_REMEMBERED)(self._reference)

    def blind(self, tenant: str, purpose: str, text: str) -> str:
        """A keyed hash of text that is only ever looked up by equality."""
        message = _SEPARATOR.join((tenant, purpose, text)).encode("utf-8", "surrogatepass")
        digest = hmac.new(self._key, message, hashlib.sha256).digest()
        return base64.b32encode(digest).decode("ascii")[:_LENGTH].lower()

    def _reference(self, tenant: str, subject: str) -> str:
        """`p1_…` for a person of the tenant; empty for nobody."""
        if not tenant or not subject:
            return ""
        plain = subject.strip()
        if _PHONE.fullmatch(plain):
            plain = normalised(Kind.PHONE, plain)
        elif "@" in plain:
            plain = normalised(Kind.EMAIL, plain)
        return "p1_" + self.blind(tenant, "person", plain)
