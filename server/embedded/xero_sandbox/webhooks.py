"""Signed news of what changed, sent until somebody takes it; scripted, it comes twice, never, or forged."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import string
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import aiohttp
from pydantic import BeforeValidator, Field

from server.embedded.xero_sandbox.models import Strict
from server.embedded.xero_sandbox.settings import TENANT_ID, SandboxSettings
from server.embedded.xero_sandbox.store import Store
from server.embedded.xero_sandbox.wire import Document, dumps

_TIMEOUT = aiohttp.ClientTimeout(total=5)  # Xero waits no longer
_QUEUE = "INSERT INTO delivery (body, signature) VALUES (?, ?)"
_FIRST = "SELECT seq, body, signature FROM delivery ORDER BY seq LIMIT 1"
_DONE = "DELETE FROM delivery WHERE seq = ?"
_FORGED = base64.b64encode(bytes(32)).decode()


class Delivery(StrEnum):
    """What becomes of an event."""

    ONCE = "once"
    DUPLICATED = "duplicated"
    DROPPED = "dropped"  # its number is missing in what arrives
    FORGED = "forged"  # comes with a wrong signature


def _delivery(value: object) -> object:
    return Delivery(value) if isinstance(value, str) else value


class DeliveryIn(Strict):
    """A script: what becomes of the next `times` events."""

    delivery: Annotated[Delivery, BeforeValidator(_delivery)]
    times: int = Field(1, ge=1, le=1_000)


class Webhooks:
    """One target. Events are queued in the transaction that made them and go out in order, one delivery each."""

    def __init__(self, store: Store, settings: SandboxSettings, api: Callable[[], str]) -> None:
        self._store = store
        self._settings = settings
        self._api = api
        self._script: deque[Delivery] = deque()
        self._news = asyncio.Event()
        self.taken = 0
        self.given_up = 0

    def script(self, delivery: Delivery | str, times: int = 1) -> None:
        """What becomes of the next events."""
        self._script.extend([Delivery(delivery)] * times)

    def announce(self, category: str, kind: str, path: str, id: str) -> None:
        """Queues an event; called inside the transaction of the change."""
        if not self._settings.webhook_url:
            return
        number = self._store.next("event")
        fate = self._script.popleft() if self._script else Delivery.ONCE
        if fate is Delivery.DROPPED:
            return
        moment = datetime.fromtimestamp(self._settings.clock(), UTC).replace(tzinfo=None)
        event = {
            "resourceUrl": f"{self._api()}{path}",
            "resourceId": id,
            "eventDateUtc": moment.isoformat(timespec="milliseconds"),
            "eventType": kind,
            "eventCategory": category,
            "tenantId": TENANT_ID,
            "tenantType": "ORGANISATION",
        }
        body = _payload([event], number)
        signature = _FORGED if fate is Delivery.FORGED else self._sign(body)
        for _ in range(2 if fate is Delivery.DUPLICATED else 1):
            self._store.database.execute(_QUEUE, (body, signature))
        self._news.set()

    def pending(self) -> int:
        return int(self._store.database.execute("SELECT count(*) FROM delivery").fetchone()[0])

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            while True:
                self._news.clear()
                row = self._store.database.execute(_FIRST).fetchone()
                if row is None:
                    await self._news.wait()
                    continue
                number, body, signature = row
                if await self._deliver(session, body, signature):
                    self.taken += 1
                else:
                    self.given_up += 1
                self._store.database.execute(_DONE, (number,))

    async def intent_to_receive(self) -> dict[str, int | None]:
        """Asks the target as Xero does before it sends news: it must answer 200 to the right signature and 401 to a
        wrong one. The status of each; None where nothing came."""
        body = _payload([], 0)
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            return {
                "right": await self._post(session, body, self._sign(body)),
                "wrong": await self._post(session, body, _FORGED),
            }

    async def _deliver(self, session: aiohttp.ClientSession, body: str, signature: str) -> bool:
        for wait in (*self._settings.webhook_retry, None):
            status = await self._post(session, body, signature)
            if status == 200:
                return True
            if signature == _FORGED or wait is None:
                return False
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns")

    async def _post(self, session: aiohttp.ClientSession, body: str, signature: str) -> int | None:
        headers = {"Content-Type": "application/json", "x-xero-signature": signature}
        with suppress(aiohttp.ClientError, TimeoutError):
            target = self._settings.webhook_url
            async with session.post(target, data=body.encode(), headers=headers, allow_redirects=False) as answer:
                return answer.status
        return None

    def _sign(self, body: str) -> str:
        digest = hmac.digest(self._settings.webhook_key.encode(), body.encode(), hashlib.sha256)
        return base64.b64encode(digest).decode()


def _payload(events: list[Document], number: int) -> str:
    entropy = "".join(secrets.choice(string.ascii_uppercase) for _ in range(20))
    return dumps({"events": events, "firstEventSequence": number, "lastEventSequence": number, "entropy": entropy})
