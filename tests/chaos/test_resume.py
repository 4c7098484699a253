"""A client that loses its connection again and again and comes back by another door to another process.

CHAOS_RUNS says how many runs (`make chaos-resume RUNS=1000`). Each run is read in pieces: some events by gRPC, some by
gRPC-Web, some as JSON, some as an EventSource that is cut at a random byte; whatever the pieces were, together they
are the log, byte for byte.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterable
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest
from llmock.pytest_plugin import LLMock

from tests.support.llmock import model_variables
from tests.support.reading import TERMINALS, check_stream
from tests.support.replicas import Events, Replica, Replicas, replicas
from tria.chat.v1 import chat_event_pb2, chat_service_pb2

RUNS = int(os.environ.get("CHAOS_RUNS", "40"))
AT_ONCE = 6
QUESTION = "When do you deliver, and what does it cost on Sentosa?"


class Client:
    """Somebody with a very bad connection, following one run."""

    def __init__(self, over: Replicas, dice: random.Random, number: int) -> None:
        self.over = over
        self.dice = dice
        self.token = over.token(f"someone-{number}")
        self.seen: list[chat_event_pb2.ChatEvent] = []
        self.connections = 0

    @property
    def ended(self) -> bool:
        return bool(self.seen) and self.seen[-1].WhichOneof("event") in TERMINALS

    async def whole_run(self) -> str:
        await self._begin(self.dice.choice(self.over.all))
        run = self.seen[0].run
        while not self.ended:
            self.connections += 1
            assert self.connections < 400, "it gets nowhere"
            await self._piece(run, self.dice.choice(self.over.all))
        return run

    async def _begin(self, replica: Replica) -> None:
        stub, who = self.over.stub(replica), (("authorization", f"Bearer {self.token}"),)
        made = await stub.CreateConversation(chat_service_pb2.CreateConversationRequest(), metadata=who)
        call = stub.SendMessage(
            chat_service_pb2.SendMessageRequest(conversation=made.name, text=QUESTION), metadata=who
        )
        await self._take(call_events(call), self.dice.randint(1, 4))

    async def _piece(self, run: str, replica: Replica) -> None:
        after = self.seen[-1].seq
        door = self.dice.choice(("grpc", "web", "json", "sse"))
        most = self.dice.choice((1, 1, 2, 3, 8))
        if door == "grpc":
            await self._take(self.over.by_grpc(replica, run, after, self.token), most)
        elif door == "web":
            await self._take(self.over.by_grpc_web(replica, run, after, self.token), most)
        elif door == "json":
            await self._take(self.over.by_json(replica, run, after, self.token), most)
        else:
            ticket = await self.over.ticket(self.dice.choice(self.over.all), run, self.token)
            size = self.dice.randint(40, 2500)
            try:
                await self._take(self.over.by_sse(replica, run, after, ticket, size), 1000)
            except httpx.HTTPStatusError as refused:  # the public door is limited by address, and all come from one
                if refused.response.status_code != 429:
                    raise

    async def _take(self, events: Events, most: int) -> None:
        """Reads `most` events of the run, then the connection is gone."""
        async with aclosing(events):
            async for event in events:
                if not event.seq:
                    continue
                assert not self.ended, "something followed the terminal"
                expected = self.seen[-1].seq + 1 if self.seen else 1
                assert event.seq == expected, f"{event.seq} instead of {expected}"
                self.seen.append(event)
                most -= 1
                if not most:
                    return


async def call_events(call: AsyncIterable[chat_event_pb2.ChatEvent]) -> Events:
    async for event in call:
        yield event


@pytest.mark.timeout(180 + 3 * RUNS)
async def test_a_transcript_in_pieces_is_the_log(
    tmp_path: Path, filled_dsn: str, redis_url: str, chroma_url: str, llmock: LLMock
) -> None:
    llmock.reply("Deliveries leave on Wednesday and Saturday, 每周三和周六. " * 2, times=None).pace(8)
    urls = {"TRIA_DATABASE_URL": filled_dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": chroma_url}
    model = {
        **model_variables(llmock.base_url()),
        "TRIA_POOL_MAX": "8",
    }
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}, {RUNS} runs")  # noqa: T201  # to try it again
    dice, places, pieces = random.Random(seed), asyncio.Semaphore(AT_ONCE), 0  # not a secret
    async with replicas(tmp_path, urls, model) as over:

        async def one(number: int) -> int:
            async with places:
                client = Client(over, random.Random(dice.random()), number)  # not a secret
                run = await client.whole_run()
                check_stream(client.seen)
                for replica in over.all:
                    whole = [event async for event in over.by_grpc(replica, run, 0, client.token)]
                    assert whole == client.seen, f"{run} is not what its log says"
                if number % 50 == 49:
                    print(f"{number + 1} runs begun", flush=True)  # noqa: T201
                return client.connections

        results = await asyncio.gather(*(one(number) for number in range(RUNS)), return_exceptions=True)
        broken = [result for result in results if isinstance(result, BaseException)]
        pieces = sum(result for result in results if isinstance(result, int))
        print(f"{RUNS - len(broken)} of {RUNS} transcripts equal the log; {pieces} reconnects")  # noqa: T201
        if broken:
            pytest.fail(f"{len(broken)} of {RUNS}: {broken[0]!r}")
