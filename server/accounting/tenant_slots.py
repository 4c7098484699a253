"""Jobs of one kind share their slots: a tenant whose calls hang keeps a few of them, and never all."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import orjson

from server.jobs import Postpone

_PAUSE = 1.0  # seconds, about, until a job that found no slot is run again

Handler: TypeAlias = Callable[[bytes], Awaitable[None]]


def shared_by_tenants(handler: Handler, most: int) -> Handler:
    """The handler, run for each tenant at most `most` times at once in this process; payloads name their `tenant`."""
    running = Counter[str]()

    async def run(payload: bytes) -> None:
        tenant = orjson.loads(payload)["tenant"]
        if running[tenant] >= most:
            pause = _PAUSE * random.uniform(0.5, 1.5)  # noqa: S311 - a spread, not a secret
            raise Postpone(pause, "the tenant has its share of slots")
        running[tenant] += 1
        try:
            await handler(payload)
        finally:
            running[tenant] -= 1
            if not running[tenant]:
                del running[tenant]

    return run
