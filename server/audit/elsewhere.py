"""What Redis holds under a person's names: budgets, caches, streams.

Whatever its prefix, a key that names the person or a conversation of theirs goes.
"""

from __future__ import annotations

from collections.abc import Sequence

import redis.asyncio

_PAGE = 1000
_MOST_ROUNDS = 10


async def forget_in_redis(client: redis.asyncio.Redis, names: Sequence[str]) -> int:
    """Removes the keys with one of the names in them until a look at all keys finds none; returns how many there were.

    Raises RuntimeError when new ones keep coming, and Redis' own errors: the job that called is tried again.
    """
    gone = 0
    wanted = [name.encode() for name in names]
    for _ in range(_MOST_ROUNDS):
        found = [key async for key in client.scan_iter(count=_PAGE) if any(name in key for name in wanted)]
        if not found:
            return gone
        for start in range(0, len(found), _PAGE):
            gone += await client.unlink(*found[start : start + _PAGE])
    raise RuntimeError("keys of an erased person keep coming")
