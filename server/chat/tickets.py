"""Tickets that open one run's event stream to a browser's EventSource, which can send no header of its own.

A ticket is random and lives 60 s. What it stands for lies in Redis under a digest of it, sealed with a key made from
it: whoever reads Redis can use nothing. Its first use binds it to where it came from. EventSource comes back by itself
with the same URL: then, and only from there, with the `Last-Event-ID` that it got, the used ticket opens the rest of
the same run, for as long as no gap is longer than the window and the credential behind it is good.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import redis.asyncio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from server.caller import AuthMethod, Caller, Role
from server.chat.shared_log import AWAY
from server.errors import AppError, Code, Reason

_LIFE = 60  # seconds until the first use
_WINDOW = 120  # seconds without a stream after which a used ticket opens nothing any more
_LONGEST = 3600.0  # seconds in which one may be used again and again
_NONCE = 12

_REDEEM = """
local held = redis.call('HMGET', KEYS[1], 'box', 'from')
if not held[1] then return nil end
if held[2] and (held[2] ~= ARGV[1] or ARGV[2] ~= '1') then return nil end
redis.call('HSET', KEYS[1], 'from', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return held[1]
"""
"""KEYS: the ticket. ARGV: where it is used, whether this is a return, seconds that it may be used again."""


class TicketsAway(Exception):
    """Redis is away: nobody can say what a ticket is worth."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A new ticket."""

    ticket: str
    expire_time: datetime


class Tickets:
    """Makes and takes tickets. Without Redis none are made: that one is used once could not be promised."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def issue(self, caller: Caller, run: str) -> Ticket:
        """A ticket for this caller and run. Raises STORE_UNAVAILABLE."""
        ticket = secrets.token_urlsafe(32)
        until = min(caller.expires_at or time.time() + _LONGEST, time.time() + _LONGEST)
        content = {
            "tenant": caller.tenant,
            "subject": caller.subject,
            "roles": sorted(caller.roles),
            "auth_method": caller.auth_method,
            "outlet": caller.outlet,
            "person": caller.person,
            "until": until,
        }
        nonce = os.urandom(_NONCE)
        box = nonce + _cipher(ticket, run).encrypt(nonce, json.dumps(content).encode(), None)
        pipe = self._client.pipeline()
        pipe.hset(_key(ticket, run), "box", box)
        pipe.expire(_key(ticket, run), _LIFE)
        try:
            await pipe.execute()
        except AWAY as cause:
            raise AppError(
                Code.UNAVAILABLE,
                Reason.STORE_UNAVAILABLE,
                "no tickets at the moment; follow the run with ResumeRun",
                retry_after=5.0,
            ) from cause
        return Ticket(ticket, datetime.now(UTC) + timedelta(seconds=_LIFE))

    async def redeem(self, ticket: str, run: str, place: str, *, returning: bool) -> Caller:
        """Whom the ticket stands for. `place` is where the request comes from, `returning` whether it knows an event.

        Raises TICKET_INVALID for one that is used, expired, of another run or from elsewhere, and TicketsAway.
        """
        origin = hmac.new(ticket.encode(), place.encode(), hashlib.sha256).hexdigest()
        try:
            box: bytes | None = await self._client.eval(
                _REDEEM, 1, _key(ticket, run), origin, str(int(returning)), str(_WINDOW)
            )
        except AWAY as cause:
            raise TicketsAway from cause
        if box is None:
            raise _invalid()
        try:
            content = json.loads(_cipher(ticket, run).decrypt(box[:_NONCE], box[_NONCE:], None))
        except InvalidTag as cause:
            raise _invalid() from cause
        if time.time() > content["until"]:
            raise _invalid()
        return Caller(
            content["tenant"],
            content["subject"],
            frozenset(Role(role) for role in content["roles"]),
            AuthMethod(content["auth_method"]),
            content["outlet"],
            expires_at=content["until"],
            person=content["person"],
        )

    async def keep(self, ticket: str, run: str) -> None:
        """The stream goes on: the window begins anew. Nothing happens while Redis is away."""
        try:
            await self._client.expire(_key(ticket, run), _WINDOW)
        except AWAY:
            return


def _derived(purpose: str, ticket: str, run: str) -> bytes:
    return hmac.new(ticket.encode(), f"tria stream ticket {purpose}\x1f{run}".encode(), hashlib.sha256).digest()


def _key(ticket: str, run: str) -> str:
    return f"ticket:{_derived('name', ticket, run).hex()}"


def _cipher(ticket: str, run: str) -> AESGCM:
    return AESGCM(_derived("key", ticket, run))


def _invalid() -> AppError:
    return AppError(Code.UNAUTHENTICATED, Reason.TICKET_INVALID, "the ticket is used, expired or for something else")
