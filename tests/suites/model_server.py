"""A model with the delays of a real one: llmock in a process of its own.

`python -m tests.suites.model_server FIRST_TOKEN CHUNK_MS` prints its base URL and serves until standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llmock.pytest_plugin import LLMock
from llmock.testing import LLMockServer

MODEL = "desk-test"
ANSWER = (
    "Orders reach you on the delivery days of your zone, in the slot that you choose when you order [1]. "
    "Please check the goods when they arrive and note what is missing."
)
# Invented, of the size that small models cost in 2026: USD per million tokens.
PRICES = f"{MODEL}=0.40/0.10/1.60"


@asynccontextmanager
async def model_server(first_token: float = 0.6, chunk_ms: int = 25) -> AsyncIterator[dict[str, str]]:
    """Variables that make a server use it."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.suites.model_server", str(first_token), str(chunk_ms),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        url = (await asyncio.wait_for(child.stdout.readline(), 30)).decode().strip()
        yield {
            "TRIA_ASSISTANT": "openai",
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_BASE_URL": url,
            "OPENAI_MODEL": MODEL,
            "OPENAI_PRICES": PRICES,
            # the limits of a paying customer; waiting for smaller ones is what tests/rpc/test_model_queue.py is about
            "OPENAI_REQUESTS_PER_MINUTE": "10000",
        }
    finally:
        child.stdin.close()
        await asyncio.wait_for(child.wait(), 30)


def main(first_token: float, chunk_ms: int) -> None:
    """Serves."""
    with LLMockServer() as server:
        model = LLMock(server)
        model.slow_first_token(first_token, times=None).reply(ANSWER, times=None).pace(chunk_ms)
        sys.stdout.write(model.base_url() + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
