"""`python -m tests.support.owner KIND DIR`: own an embedded store until standard input ends; it may be killed.

Prints one line "CHILD_PID URL" when the store is up.
"""

from __future__ import annotations

import asyncio
import sys

from server.embedded.chroma import EmbeddedChroma
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.valkey import EmbeddedValkey

KINDS = {"postgres": EmbeddedPostgres, "valkey": EmbeddedValkey, "chroma": EmbeddedChroma}


async def main(kind: str, folder: str) -> None:
    store = KINDS[kind](folder)
    url = await store.start()
    sys.stdout.write(f"{store.pid} {url}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await store.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
