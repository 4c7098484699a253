"""Opaque, signed page tokens (AIP-158): a token only opens the query and the caller that it was made for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass

from server.errors import AppError, Code, Reason
from server.settings import Secret

DEFAULT_SIZE = 50
LARGEST_SIZE = 500
_TAG_BYTES = 16


def page_size(asked: int, *, default: int = DEFAULT_SIZE, largest: int = LARGEST_SIZE) -> int:
    """What was asked for, the default for 0, and never more than the largest (AIP-158 coerces, it does not refuse)."""
    return min(asked, largest) if asked > 0 else default


@dataclass(frozen=True, slots=True)
class Page:
    """One page to fetch: `size` rows after the row whose sort key is `after` (None on the first page)."""

    size: int
    after: tuple[str, ...] | None


class PageTokens:
    """Makes and reads tokens. The tag is HMAC-SHA-256, truncated to 128 bits, over the query and the position."""

    def __init__(self, secret: Secret) -> None:
        self._key = hmac.digest(secret.reveal().encode(), b"tria page tokens v1", hashlib.sha256)

    def make(self, query: str, after: tuple[str, ...]) -> str:
        """`query` names the method, the tenant and every filter; `after` is the sort key of the last row given."""
        position = json.dumps(after, separators=(",", ":"), ensure_ascii=False).encode()
        return base64.urlsafe_b64encode(self._tag(query, position) + position).decode().rstrip("=")

    def read(self, query: str, token: str, size: int) -> Page:
        """Raises INVALID_ARGUMENT (PAGE_TOKEN_INVALID) for a token that is forged, damaged or of another query."""
        if not token:
            return Page(size, None)
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (binascii.Error, ValueError):
            raise _refused() from None
        tag, position = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(query, position)):
            raise _refused()
        return Page(size, tuple(json.loads(position)))

    def _tag(self, query: str, position: bytes) -> bytes:
        length = len(query.encode()).to_bytes(4, "big")
        return hmac.digest(self._key, length + query.encode() + position, hashlib.sha256)[:_TAG_BYTES]


def _refused() -> AppError:
    return AppError(Code.INVALID_ARGUMENT, Reason.PAGE_TOKEN_INVALID, "page_token is not one of this query")
