"""Keys of internal services: `x-api-key: <key_id>.<secret>`, stored as a SHA-256 (the secret is random and long)."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from server.caller import AuthMethod, Caller, Role, StoredKey
from server.errors import AppError, Code, Reason

log = logging.getLogger(__name__)

_FORM = re.compile(r"([A-Za-z0-9_-]{1,64})\.([A-Za-z0-9_-]{16,256})")
_REMEMBER = 30.0  # seconds until a revocation is noticed at the latest
_REMEMBERED = 1024
_NO_SECRET = bytes(32)


class ApiKeys:
    """Verifies keys; rows, and the absence of rows, are remembered for at most half a minute."""

    def __init__(self, find: Callable[[str], Awaitable[StoredKey | None]]) -> None:
        self._find = find
        self._rows: OrderedDict[str, tuple[float, StoredKey | None]] = OrderedDict()

    async def verify(self, key: str) -> Caller:
        """The caller that the key speaks for. Raises AppError UNAUTHENTICATED (API_KEY_INVALID), or UNAVAILABLE."""
        match = _FORM.fullmatch(key)
        if match is None:
            raise _invalid()
        key_id, secret = match.groups()
        row = await self._row(key_id)
        presented = hashlib.sha256(secret.encode()).digest()
        # Compared even without a row, so that time does not tell which ids exist.
        genuine = hmac.compare_digest(presented, row.sha256 if row else _NO_SECRET)
        if row is None or not genuine or not _in_force(row):
            raise _invalid()
        return _caller(key_id, row)

    async def _row(self, key_id: str) -> StoredKey | None:
        now = time.monotonic()
        if remembered := self._rows.get(key_id):
            since, row = remembered
            if now - since < _REMEMBER:
                self._rows.move_to_end(key_id)
                return row
        row = await self._find(key_id)
        self._rows[key_id] = (now, row)
        if len(self._rows) > _REMEMBERED:
            self._rows.popitem(last=False)
        return row


def _in_force(row: StoredKey) -> bool:
    return row.revoked_at is None and (row.expires_at is None or row.expires_at.timestamp() > time.time())


def _caller(key_id: str, row: StoredKey) -> Caller:
    try:
        roles = frozenset(Role(role) for role in row.roles)
    except ValueError as cause:
        log.warning("api key %s carries a role that does not exist", key_id)
        raise _invalid() from cause
    if Role.CUSTOMER in roles:  # a customer belongs to an outlet, and a key has none
        raise _invalid()
    return Caller(
        tenant=row.tenant,
        subject=row.subject,
        roles=roles,
        auth_method=AuthMethod.API_KEY,
        expires_at=row.expires_at.timestamp() if row.expires_at else None,
    )


def _invalid() -> AppError:
    return AppError(Code.UNAUTHENTICATED, Reason.API_KEY_INVALID, "the API key is not valid")
