"""Questions to Redis that may go unanswered: bounded in time and number, and not put for a moment after a failure."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import TypeVar

from redis.exceptions import RedisError

log = logging.getLogger(__name__)
T = TypeVar("T")

_PATIENCE = 1.5  # seconds that one question may take; a busy loop alone may take some tenths
_REST = 1.0  # seconds without asking after a failure
_AT_ONCE = 32  # questions; a crowd waits here rather than opening a connection each


class Away(Exception):
    """Redis does not answer."""


class RedisGate:
    """One user's way to Redis. `meanwhile` says in the log what happens without it."""

    def __init__(self, meanwhile: str) -> None:
        self._meanwhile = meanwhile
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._away_until = 0.0

    @property
    def away(self) -> bool:
        """True for a moment after Redis failed."""
        return time.monotonic() < self._away_until

    async def ask(self, question: Awaitable[T]) -> T:
        """The answer. Raises Away."""
        try:
            async with self._places:
                if self.away:
                    raise Away
                async with asyncio.timeout(_PATIENCE):
                    return await question
        except (RedisError, OSError) as gone:  # TimeoutError is an OSError
            if not self.away:
                log.warning("Redis does not answer (%s): %s", type(gone).__name__, self._meanwhile)
            self._away_until = time.monotonic() + _REST
            raise Away from gone
        finally:
            # A question that was never put must not complain that nobody waited for it.
            if asyncio.iscoroutine(question):
                question.close()
