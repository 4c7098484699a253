"""Waiting for news of many runs where Redis is a cluster.

No command may wait for keys of several slots, and a waiting connection for each run would be thousands. So the logs are
looked at in turn, all of them in one pipeline, more seldom the more there are: a look costs about 30 µs a log, and at
half a millisecond between looks for each the price stays a few hundredths of a core.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from server.chat.shared_log import News, news_of
from server.waiting import within

_QUICKEST = 0.03  # seconds between two looks at few logs: what a delta may be late by on another process
_EACH = 0.0005
_SLOWEST = 1.0


class ClusterReader:
    """Does what LogReader does. A node that is away hides its own logs only."""

    def __init__(self, client: redis.asyncio.Redis, wait: float = 5.0) -> None:
        self._client = client
        self._wait = wait
        self._rung = asyncio.Event()

    async def ring(self) -> None:
        """Ends a `news` that waits: the caller wants to ask for other logs."""
        self._rung.set()

    async def news(self, after: Mapping[str, str]) -> dict[str, News]:
        """What the logs, by key, have after these ids; waits for a while when there is nothing. Raises what Redis
        raises when no node answers."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait
        pause = min(_SLOWEST, _QUICKEST + _EACH * len(after))
        self._rung.clear()
        while not (found := await self._look(after)) and loop.time() < deadline:
            if await within(self._rung, pause):
                break
        return found

    async def _look(self, after: Mapping[str, str]) -> dict[str, News]:
        if not after:
            return {}
        pipe = self._client.pipeline(transaction=False)
        for key, position in after.items():
            pipe.xread({key: position}, count=200)
        answers: list[Any]
        try:
            answers = await pipe.execute(raise_on_error=False)
        except (RedisError, OSError):  # of one node that is away: the pipeline gives up the others' answers with it
            reads = (self._client.xread({key: position}, count=200) for key, position in after.items())
            answers = await asyncio.gather(*reads, return_exceptions=True)
        failed = [answer for answer in answers if isinstance(answer, BaseException)]
        if defects := [each for each in failed if not isinstance(each, RedisError | OSError)]:
            raise defects[0]
        if len(failed) == len(answers):
            raise failed[0]
        found: dict[str, News] = {}
        for answer in answers:
            if isinstance(answer, dict):
                for name, pages in answer.items():
                    found[name.decode()] = news_of([row for page in pages for row in page])
        return found
