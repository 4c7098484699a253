"""Which secrets a backup goes with, without holding any: a keyed hash of each, which only its owner can make again.

The master keys and the key of the log prove themselves by what they open and sign. By these two people are found again,
and nothing in a dump shows that they are others, until somebody asks for a person and is told that there is none.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from server.settings import long_secret, parse_pseudonym_keys

STATE_SECRET = "TRIA_STATE_SECRET"
PSEUDONYM_KEYS = "TRIA_PSEUDONYM_KEYS"
_PURPOSE = b"tria backup fingerprint"
_DIGITS = 16


def fingerprints(variables: Mapping[str, str]) -> dict[str, str]:
    """By the variable's name, with its version for a key of several; what is not set has none. Raises ValueError."""
    found = {}
    if secret := variables.get(STATE_SECRET, ""):
        found[STATE_SECRET] = _of(long_secret(secret).reveal().encode())
    for key in parse_pseudonym_keys(variables.get(PSEUDONYM_KEYS, "")):
        found[f"{PSEUDONYM_KEYS} {key.id}"] = _of(key.key)
    return found


def differences(made: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """What differs from when the backup was made, a phrase for each; more keys than then are none."""
    return [
        f"{name} is {'another one' if name in here else 'not set'}"
        for name, fingerprint in sorted(made.items())
        if not hmac.compare_digest(fingerprint, here.get(name, ""))
    ]


def _of(secret: bytes) -> str:
    return hmac.digest(secret, _PURPOSE, "sha256").hex()[:_DIGITS]
