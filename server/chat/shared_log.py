"""The logs of runs in Redis, for every process but the one that has the run: a stream each, with ids of our own.

    run:{<tenant>/<run>}:log    <epoch>-<seq>  e <box>    an event
                                               t <box>    the terminal event
                                <epoch>-0      a <seq>    a new owner, whose events come after this number

A box is the bytes of the `ChatEvent`, sealed with the key of the person whom the run answers. Redis refuses ids that do
not grow, and the scripts refuse gaps, so an owner of an older epoch writes nothing once a newer one has written, and a
write that is repeated is written once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from server.audit.sealing import SubjectKey

AWAY = (RedisError, OSError, TimeoutError)
"""What Redis raises when it is away or ill."""

_MOST = 20_000  # events of one run; no answer has as many
_PLACE = "run log"

_TOP = """
local function top(key)
    local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
    if not last then return 0, 0, '' end
    local epoch, seq = string.match(last[1], '(%d+)-(%d+)')
    if last[2][1] == 'a' then seq = last[2][2] end
    return tonumber(epoch), tonumber(seq), last[2][1]
end
"""

_APPEND = (
    _TOP
    + """
local epoch, first = tonumber(ARGV[1]), tonumber(ARGV[2])
local have_epoch, have, kind = top(KEYS[1])
if have_epoch > epoch or (kind == 't' and have_epoch < epoch) then return {1, have} end
if have < first - 1 then return {2, have} end
local skip = have - first + 1
for place = 5 + 2 * skip, #ARGV, 2 do
    local id = epoch .. '-' .. string.format('%.0f', first + (place - 5) / 2)
    redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[4], id, ARGV[place], ARGV[place + 1])
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return {0, math.max(have, first - 1 + (#ARGV - 4) / 2)}
"""
)
"""KEYS: the log. ARGV: epoch, first seq, seconds to live, most entries, then kind and box of each event. Returns what
became of it and the last seq that is there."""

_CLAIM = (
    _TOP
    + """
local epoch = tonumber(ARGV[1])
local have_epoch, have, kind = top(KEYS[1])
if have_epoch >= epoch then return {1, have} end
if have_epoch == 0 then return {2, 0} end
if kind == 't' then return {3, have} end
redis.call('XADD', KEYS[1], epoch .. '-0', 'a', have)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {0, have}
"""
)
"""KEYS: the log. ARGV: the new epoch, seconds to live. Returns what became of it and the last seq that is there."""


class Written(IntEnum):
    """What became of a write."""

    DONE = 0
    FENCED = 1  # the run has another owner by now
    GAP = 2  # earlier events are missing: the log is not there, or was lost in part
    ENDED = 3


@dataclass(frozen=True, slots=True)
class Sealed:
    """One event as it lies in the log."""

    epoch: int
    seq: int
    terminal: bool
    box: bytes


@dataclass(frozen=True, slots=True)
class News:
    """What a log has that is new, up to the id `last`."""

    last: str
    events: Sequence[Sealed]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one run adds to its log: boxes of the events from `first` on, with whether each is the terminal."""

    tenant: str
    run: str
    epoch: int
    first: int
    boxes: Sequence[tuple[bool, bytes]]


def place(run: str, seq: int) -> tuple[str, ...]:
    """Where a box belongs."""
    return _PLACE, run, str(seq)


def seal(key: SubjectKey, run: str, seq: int, wire: bytes) -> bytes:
    return key.seal_bytes(wire, *place(run, seq))


def log_key(tenant: str, run: str) -> str:
    """The key of a run's log. The braces put what belongs to a run into one slot of a cluster."""
    return f"run:{{{tenant}/{run}}}:log"


class SharedLog:
    """Writes and reads logs. What Redis raises when it is away (`AWAY`) goes to the caller."""

    def __init__(self, client: redis.asyncio.Redis, ttl: float) -> None:
        self._client = client
        self._ttl = round(ttl)

    async def append(self, batches: Sequence[Batch]) -> list[tuple[Written, int]]:
        """Writes what several runs have to say in one round trip; of each, what became of it, and the last number
        that is there now."""
        pipe = self._client.pipeline(transaction=False)
        for batch in batches:
            flat = [part for terminal, box in batch.boxes for part in (b"t" if terminal else b"e", box)]
            pipe.eval(_APPEND, 1, log_key(batch.tenant, batch.run), batch.epoch, batch.first, self._ttl, _MOST, *flat)
        return [(Written(int(code)), int(last)) for code, last in await pipe.execute()]

    async def claim(self, tenant: str, run: str, epoch: int) -> tuple[Written, int]:
        """Shuts out the owners of earlier epochs; the last number that they wrote."""
        code, last = await self._client.eval(_CLAIM, 1, log_key(tenant, run), str(epoch), str(self._ttl))
        return Written(int(code)), int(last)

    async def read(self, tenant: str, run: str) -> News | None:
        """Everything that is there; None when there is no log."""
        rows: Any = await self._client.xrange(log_key(tenant, run))
        return news_of(rows) if rows else None


class LogReader:
    """One connection of a process that waits for news of any number of logs."""

    def __init__(self, client: redis.asyncio.Redis, bell: redis.asyncio.Redis, owner: str, wait: float = 5.0) -> None:
        self._client = client
        self._bell_client = bell
        self._wait = wait
        self._bell = f"run:bell:{owner}"
        self._rung = "0-0"

    async def ring(self) -> None:
        """Ends a `news` that waits: the caller wants to ask for other logs."""
        await self._bell_client.xadd(self._bell, {"x": ""}, maxlen=1)
        await self._bell_client.expire(self._bell, 60)

    async def news(self, after: Mapping[str, str]) -> dict[str, News]:
        """What the logs, by key, have after these ids; waits for a while when there is nothing."""
        asked: dict[Any, Any] = {self._bell: self._rung, **after}
        answer: Any = await self._client.xread(asked, count=200, block=round(self._wait * 1000))
        found: dict[str, News] = {}
        for name, pages in (answer or {}).items():
            rows = [row for page in pages for row in page]
            if name.decode() == self._bell:
                self._rung = rows[-1][0].decode()
            else:
                found[name.decode()] = news_of(rows)
        return found


def news_of(rows: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> News:
    """What Redis returns, without the marks of new owners."""
    events = []
    for id, fields in rows:
        epoch, _, seq = id.decode().partition("-")
        [(kind, box)] = fields.items()
        if kind != b"a":
            events.append(Sealed(int(epoch), int(seq), kind == b"t", box))
    return News(rows[-1][0].decode(), events)
