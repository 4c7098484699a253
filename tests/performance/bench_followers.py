"""What an idle follower costs in memory: the follower alone, without what grpc.aio holds for its stream (about 22 KiB).

python -m tests.performance.bench_followers [count [runs]]
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from pathlib import Path

from server.chat.events import TextPiece
from server.chat.runlog import RunLog


def rss() -> int:
    """Bytes that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def follow(log: RunLog) -> int:
    return sum([1 async for _ in log.follow(0, heartbeat=60.0, leave=lambda: None)])


async def measure(count: int, logs: int) -> None:
    held = [RunLog(f"conversations/c/runs/{number}", "t", "o") for number in range(logs)]
    before = rss()
    tasks = [asyncio.create_task(follow(held[place % logs])) for place in range(count)]
    await asyncio.sleep(0.5)
    cost = (rss() - before) / 1024 / count
    began = time.perf_counter()
    for log in held:
        log.append(TextPiece("x"))
    await asyncio.sleep(0)
    woken = (time.perf_counter() - began) * 1e6 / count
    print(f"{count} idle followers of {logs} runs: {cost:.1f} KiB each; an event costs each {woken:.1f} µs to wake")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    await measure(count, int(sys.argv[2]) if len(sys.argv) > 2 else count)


if __name__ == "__main__":
    asyncio.run(main())
