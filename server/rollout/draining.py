"""Ends a gateway gently. Envoy cuts every stream within milliseconds of SIGTERM, so this comes before it."""

from __future__ import annotations

import asyncio
import re
import time

import aiohttp

_ACTIVE = re.compile(r"^http\.edge\.downstream_rq_active: (\d+)$", re.MULTILINE)
_LOOK = 0.2


class NotDrained(Exception):
    """Nobody answered at the admin port."""


async def drain(admin: str, patience: float) -> int:
    """Fails health checks, closes the listeners, waits at most `patience` seconds; returns how many calls still run."""
    deadline = time.monotonic() + patience
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            for path in ("/healthcheck/fail", "/drain_listeners?graceful"):
                async with session.post(admin + path) as answer:
                    answer.raise_for_status()
            while True:
                left = await _active(session, admin)
                if left == 0 or time.monotonic() > deadline:
                    return left
                await asyncio.sleep(_LOOK)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotDrained(f"{admin}: {type(error).__name__} {error}") from error


async def _active(session: aiohttp.ClientSession, admin: str) -> int:
    async with session.get(f"{admin}/stats", params={"filter": r"^http\.edge\.downstream_rq_active$"}) as answer:
        found = _ACTIVE.search(await answer.text())
        return int(found[1]) if found else 0
