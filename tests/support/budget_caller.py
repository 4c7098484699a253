"""A process that calls as often as its budget lets it, and says when: `python -m tests.support.budget_caller`.

Arguments: Redis URL, BudgetLimits as JSON, seconds that a call takes, seconds to go on. Each line on standard output is
`start ID TIME` or `end ID TIME`, by the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import redis.asyncio

from server.accounting.books import Throttled
from server.accounting.budget import Budget, BudgetLimits, Lane, Spent


def say(what: str, id: str) -> None:
    os.write(1, f"{what} {id} {time.monotonic()}\n".encode())  # whole lines, even from a process that is killed


async def call(budget: Budget, takes: float, number: int) -> None:
    try:
        place = await budget.take("t", Lane.PEOPLE, 0.3)
    except Throttled:
        await asyncio.sleep(0.05)
        return
    id = f"{os.getpid()}.{number}"
    say("start", id)
    await asyncio.sleep(takes)
    say("end", id)
    await budget.give_back(place, Spent())


async def main(url: str, limits: str, takes: str, lasts: str) -> None:
    async with redis.asyncio.Redis.from_url(url, socket_timeout=1.0) as client:
        budget = Budget(client, BudgetLimits(**json.loads(limits)))
        until = time.monotonic() + float(lasts)

        async def keep_calling(lane: int) -> None:
            number = lane
            while time.monotonic() < until:
                await call(budget, float(takes), number)
                number += 10

        await asyncio.gather(*(keep_calling(lane) for lane in range(3)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
