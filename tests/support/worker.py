"""`python -m tests.support.worker DSN`: a worker whose jobs note what they do in the table `ran`; it may be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import asyncpg

from server.jobs import Entrypoint, JobRuntime, JobSettings

QUICK = JobSettings(heartbeat=1.0, poll=0.5, grace=0.5)
CREATE_RAN = "create table ran (id bigint generated always as identity, entrypoint text, payload text, what text)"


def entrypoints(dsn: str) -> list[Entrypoint]:
    """`quick` ends at once, `slow` after payload seconds, `poison` takes its process down."""

    async def note(name: str, payload: bytes, what: str) -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(
            "insert into ran (entrypoint, payload, what) values ($1, $2, $3)", name, payload.decode(), what
        )
        await connection.close()

    def noted(name: str, work: Callable[[bytes], Awaitable[None]]) -> Entrypoint:
        async def handle(payload: bytes) -> None:
            await note(name, payload, "start")
            await work(payload)
            await note(name, payload, "end")

        return Entrypoint(name, handle, max_attempts=3, first_delay=0.05, max_crashes=2)

    async def quick(_: bytes) -> None:
        await asyncio.sleep(0)

    async def slow(payload: bytes) -> None:
        await asyncio.sleep(float(payload))

    async def poison(_: bytes) -> None:
        os._exit(9)

    return [noted("quick", quick), noted("slow", slow), noted("poison", poison)]


async def main(dsn: str) -> None:
    runtime = JobRuntime(dsn, entrypoints(dsn), settings=QUICK)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, runtime.request_stop)
    await runtime.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
