"""What an answer from the cache saves, beside one from the model.

    python -m tests.performance.bench_cache [--rounds 40] [--first-token 0.4]

The model is llmock with a delay before the first token and between tokens; the store is a real Valkey. Each round asks
a new question (a miss) and the same one again (a hit), and for comparison without the cache. Exit status 1 when a hit
is not at least five times as fast as a miss.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis.asyncio
from llmock.pytest_plugin import LLMock
from llmock.testing import LLMockServer

from server.chat.assistant import Answered, Asker, Assistant, Turn
from server.chat.cache.caching import CacheParts, CachingAssistant, Made
from server.chat.cache.figures import Figures
from server.chat.cache.flight import Flights
from server.chat.cache.keys import Keys
from server.chat.cache.likeness import Likenesses
from server.chat.cache.shelf import Shelf
from server.embedded.valkey import EmbeddedValkey
from server.knowledge.embedding import OnnxEmbedder
from server.knowledge.lexical import Lexicon
from tests.support.cached import SECRET, Stated
from tests.support.llmock import DeskTools, desk

_FASTER = 5.0
_ANSWER = "You can order until 14:00 for the next delivery; orders after that go out with the one after it [1]."


async def _seconds(assistant: Assistant, question: str) -> float:
    started = time.perf_counter()
    turn = Turn(question, asker=Asker("t", "o", "CUSTOMER", "c"))
    events = [event async for event in assistant.reply(turn, DeskTools())]
    assert isinstance(events[-1], Answered)
    return time.perf_counter() - started


async def _measure(url: str, base_url: str, rounds: int) -> dict[str, list[float]]:
    embedder = OnnxEmbedder()
    found: dict[str, list[float]] = {"model alone": [], "miss": [], "hit": []}
    async with redis.asyncio.Redis.from_url(url) as client, desk(base_url) as at:
        shelf, keys = Shelf(client), Keys(SECRET)
        figures = Figures(shelf, keys, "USD")
        likenesses = Likenesses(Lexicon(), embedder)
        parts = CacheParts(shelf, Flights(shelf), keys, likenesses, figures, Stated())
        cached = CachingAssistant(at.assistant, Made("m", lambda _arm: "p"), parts)
        await _seconds(cached, "Warm up: when do you deliver?")
        for number in range(rounds):
            question = f"Until when can I order for delivery to zone {number}?"
            found["model alone"].append(await _seconds(at.assistant, question))
            found["miss"].append(await _seconds(cached, question))
            found["hit"].append(await _seconds(cached, question))
        await figures.close()
    await embedder.close()
    return found


@contextmanager
def _place() -> Iterator[Path]:
    """A directory that Valkey's system user can enter."""
    with tempfile.TemporaryDirectory(prefix="tria-bench-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


async def _run(rounds: int, first_token: float) -> bool:
    with _place() as folder, LLMockServer() as server:
        llmock = LLMock(server)
        llmock.slow_first_token(first_token, times=None)
        llmock.reply(_ANSWER, times=None)
        llmock.pace(10)
        valkey = EmbeddedValkey(folder / "valkey")
        try:
            found = await _measure(await valkey.start(), llmock.base_url(), rounds)
        finally:
            await valkey.stop()
    for name, seconds in found.items():
        tail = sorted(seconds)[int(len(seconds) * 0.95)]
        print(f"{name:12} median {statistics.median(seconds) * 1000:8.2f} ms   P95 {tail * 1000:8.2f} ms")
    ratio = statistics.median(found["miss"]) / statistics.median(found["hit"])
    print(f"a hit is {ratio:.1f} times as fast as a miss (at least {_FASTER:.0f} is wanted)")
    return ratio >= _FASTER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--first-token", type=float, default=0.4, help="seconds")
    given = parser.parse_args()
    sys.exit(0 if asyncio.run(_run(given.rounds, given.first_token)) else 1)


if __name__ == "__main__":
    main()
