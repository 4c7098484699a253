"""Background tasks that a process cannot be without: they end with it, and it ends with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from contextlib import AsyncExitStack

log = logging.getLogger(__name__)


def own(stack: AsyncExitStack, task: asyncio.Task[None], broken: asyncio.Event) -> None:
    """Ends the task with the stack. One that ends by itself is broken, and the process with it: without its leases or
    its health checks a server only looks alive."""

    def ended(done: asyncio.Task[None]) -> None:
        if not done.cancelled():
            log.critical("background task ended", extra={"task_name": done.get_name()}, exc_info=done.exception())
            broken.set()

    task.add_done_callback(ended)

    stack.push_async_callback(end, {task})


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Returns when the tasks have ended. A cancellation is repeated, because `asyncio.wait_for` of Python 3.11 may
    swallow one that comes as what it waits for ends (python/cpython issue 86296)."""
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=1.0)
