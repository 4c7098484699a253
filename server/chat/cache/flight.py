"""One computation for many who ask the same at once, in this process and in all others.

Whoever boards first leads; the rest wait for what the leader lands. Across processes the leadership is a key in Redis
with a token and a short lease that the leader renews: one that dies is followed by another within seconds.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass

from redis.asyncio import Redis

from server.chat.cache.entry import Entry
from server.chat.cache.keys import Key
from server.chat.cache.shelf import Shelf, entry_of
from server.chat.redis_gate import Away

_LEASE = 4.0  # seconds; renewed at a third of it
_LOOK = (0.03, 0.25)  # seconds between looks at a leader elsewhere: first and longest
_PATIENCE = 60.0  # seconds that anybody waits for somebody else's answer

_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


@dataclass(frozen=True, slots=True)
class Landed:
    """What a leader brought; `entry` None when everybody has to make their own answer. `again` says that it gave up."""

    entry: Entry | None
    again: bool = False


class Lead:
    """The right to make the answer, until `land` or `give_up`."""

    def __init__(self, flights: Flights, key: Key, token: str, landed: asyncio.Future[Landed]) -> None:
        self._flights = flights
        self._key = key
        self._token = token
        self._landed = landed
        self._renewing = asyncio.create_task(flights.keep(key, token), name="cache-lead") if token else None

    async def land(self, entry: Entry | None) -> None:
        """Gives the answer to all who wait here; those elsewhere find it where answers are kept."""
        self._settle(Landed(entry))
        await self._release()

    async def give_up(self) -> None:
        """Lets somebody else lead."""
        self._settle(Landed(None, again=True))
        await self._release()

    def _settle(self, landed: Landed) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
        if not self._landed.done():
            self._landed.set_result(landed)
        self._flights.leave(self._key, self._landed)

    async def _release(self) -> None:
        if self._token:
            await self._flights.release(self._key, self._token)


class Flights:
    """The computations that go on, as one process sees them."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        redis: Redis = shelf.redis
        self._renew, self._release = redis.register_script(_RENEW), redis.register_script(_RELEASE)
        self._here: dict[Key, asyncio.Future[Landed]] = {}

    async def board(self, key: Key) -> Lead | Entry | None:
        """The lead, somebody's answer, or None: then it is not shared, and the asker makes an own one."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            ahead = self._here.get(key)
            if ahead is None:
                return await self._lead(key, deadline)
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    landed = await asyncio.shield(ahead)
            except TimeoutError:
                return None
            if not landed.again:
                return landed.entry
        return None

    async def _lead(self, key: Key, deadline: float) -> Lead | Entry | None:
        landed = self._here[key] = asyncio.get_running_loop().create_future()
        boarded: Lead | Landed = Landed(None, again=True)
        try:
            boarded = await self._against_others(key, deadline, landed)
        finally:
            if isinstance(boarded, Landed):
                landed.set_result(boarded)
                self.leave(key, landed)
        return boarded if isinstance(boarded, Lead) else boarded.entry

    async def _against_others(self, key: Key, deadline: float, landed: asyncio.Future[Landed]) -> Lead | Landed:
        token, pause = secrets.token_hex(8), _LOOK[0]
        while time.monotonic() < deadline:
            try:
                taken = await self._shelf.ask(self._shelf.redis.set(key.lock, token, nx=True, px=round(_LEASE * 1000)))
            except Away:
                return Lead(self, key, "", landed)
            # Looked at after the lock: the leader before keeps its answer first and lets go afterwards.
            value = await self._shelf.get(key)
            if value is not None:
                if taken:
                    await self.release(key, token)
                return Landed(entry_of(value))
            if taken:
                return Lead(self, key, token, landed)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LOOK[1])
        return Landed(None)

    async def keep(self, key: Key, token: str) -> None:
        """Root of a leader's task: renews the lease until cancelled."""
        while True:
            await asyncio.sleep(_LEASE / 3)
            try:
                await self._shelf.ask(self._renew(keys=[key.lock], args=[token, round(_LEASE * 1000)]))
            except Away:
                continue

    async def release(self, key: Key, token: str) -> None:
        """Lets go; a lead that cannot be given back ends with its lease."""
        try:
            await self._shelf.ask(self._release(keys=[key.lock], args=[token]))
        except Away:
            return

    def leave(self, key: Key, landed: asyncio.Future[Landed]) -> None:
        """Forgets a flight that has landed."""
        if self._here.get(key) is landed:
            del self._here[key]
