"""References to people: what rows that are somebody's are marked with, instead of the name that their token carries.

A reference is a keyed hash, so a copy of the database does not say whose a row is, and nobody can try names without the
key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import string
from functools import lru_cache

from server.settings import Secret

_PHONE = re.compile(r"\+[0-9 ()-]{7,}")
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_SEPARATOR = "\x1f"
_LENGTH = 26  # base32 characters: 130 bits
_REMEMBERED = 4096


def spelling(subject: str) -> str:
    """The one spelling of a subject. Addresses differ in the case of A to Z, and numbers that begin with `+` in blanks,
    hyphens and brackets; every other subject is taken as it stands. Two ids that differ in case are two people, and
    digits are an id: a guess that they are a telephone number would make one person of two."""
    plain = subject.strip()
    if _PHONE.fullmatch(plain):
        return "+" + "".join(c for c in plain if c.isdigit())
    return plain.translate(_LOWER) if "@" in plain else subject


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
        return "p1_" + self.blind(tenant, "person", spelling(subject))
