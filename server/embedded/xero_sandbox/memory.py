"""Idempotency keys as Xero keeps them: the first answer again for the same call, for six minutes from the first."""

from __future__ import annotations

import hashlib

from server.embedded.xero_sandbox.settings import Clock
from server.embedded.xero_sandbox.store import Store
from server.embedded.xero_sandbox.wire import Malformed

_LONGEST = 128
_FORGET = "DELETE FROM remembered WHERE began <= ?"
_LOOK = "SELECT request, status, body FROM remembered WHERE key = ?"
_KEEP = "INSERT INTO remembered (key, request, status, body, began) VALUES (?, ?, ?, ?, ?)"


class Memory:
    """Answers by key. Refusals are remembered as well; what never reached the books is not."""

    def __init__(self, store: Store, clock: Clock, life: float) -> None:
        self._database = store.database
        self._clock = clock
        self._life = life

    def recall(self, key: str, request: str) -> tuple[int, str] | None:
        """Status and body of the first answer. Raises Malformed for a key that is too long or another call's."""
        if len(key) > _LONGEST:
            raise Malformed(f"Idempotency-Key must not be longer than {_LONGEST} characters")
        self._database.execute(_FORGET, (self._clock() - self._life,))
        row = self._database.execute(_LOOK, (key,)).fetchone()
        if row is None:
            return None
        if row[0] != request:
            raise Malformed("Idempotency-Key was used for another request (method, address or body differ)")
        return int(row[1]), str(row[2])

    def keep(self, key: str, request: str, status: int, body: str) -> None:
        self._database.execute(_KEEP, (key, request, status, body, self._clock()))


def fingerprint(method: str, target: str, body: bytes) -> str:
    """One call, byte for byte."""
    return hashlib.sha256(b"\n".join((method.encode(), target.encode(), body))).hexdigest()
