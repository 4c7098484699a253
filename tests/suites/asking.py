"""Somebody who asks through the gateway by gRPC, and what came of each question.

Arrivals are given ahead and never wait for answers. Every time counts from the moment a question was due, not from
when this process came to send it: a system (or a generator) that falls behind shows in the figures.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from server.caller import Role
from server.embedded import demo
from server.embedded.issuer import Claims, Issuer
from tests.suites.questions import Question
from tests.support.reading import reason
from tria.chat.v1 import chat_event_pb2, chat_pb2, chat_service_pb2, chat_service_pb2_grpc

OUTLETS = ("pizza-pronto-bugis", "pizza-pronto-tampines", "golden-wok-clementi", "kopi-corner-sentosa")
CONNECTIONS = 8  # the gateway takes 100 calls on one
PATIENCE = 60.0  # seconds for one question


@dataclass(slots=True)
class Outcome:
    """One question. Times are seconds since the question was due."""

    kind: str
    due: float
    late: float = 0.0  # how late this process sent it
    first: float | None = None  # until the first words
    took: float = 0.0
    code: str = ""
    ended: str = ""
    answer: str = ""
    hit: bool = False
    gap: bool = False
    cost_micros: int = 0
    tokens: int = 0

    @property
    def good(self) -> bool:
        """Answered whole: one completed terminal and no number missing."""
        return self.code == "OK" and self.ended == "completed" and not self.gap


class Askers:
    """Connections to one gateway, and tokens of as many people as are wanted."""

    def __init__(self, target: str, issuer: Issuer, *, connections: int = CONNECTIONS) -> None:
        self._target = target
        self._issuer = issuer
        self._connections = connections
        self._stack = AsyncExitStack()
        self._stubs: list[chat_service_pb2_grpc.ChatServiceAsyncStub] = []
        self._tokens: dict[int, str] = {}

    @classmethod
    def of(cls, ready: dict[str, str]) -> Askers:
        """For the system that `tria up --json` announced with `ready`."""
        return cls(ready["grpc"], Issuer(Path(ready["state_dir"]) / "issuer"))

    async def __aenter__(self) -> Self:
        for _ in range(self._connections):
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 500)]
            channel = await self._stack.enter_async_context(grpc.aio.insecure_channel(self._target, options=options))
            self._stubs.append(chat_service_pb2_grpc.ChatServiceStub(channel))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def token(self, person: int) -> str:
        if person not in self._tokens:
            outlet = OUTLETS[person % len(OUTLETS)]
            claims = Claims(Role.CUSTOMER, demo.TENANT, f"asker-{person}", outlet, timedelta(hours=4))
            self._tokens[person] = self._issuer.mint(claims)
        return self._tokens[person]

    async def ask(self, person: int, question: Question, due: float, *, pause: float = 0.0) -> Outcome:
        """Asks and reads to the end; `pause` seconds before each event is read make a slow reader."""
        found = Outcome(question.kind, due, late=max(0.0, time.monotonic() - due))
        stub, metadata = self._stubs[person % len(self._stubs)], (("authorization", f"Bearer {self.token(person)}"),)
        request = chat_service_pb2.StreamChatRequest(message=question.text)
        try:
            seen = 0
            async for event in stub.StreamChat(request, metadata=metadata, timeout=PATIENCE):
                seen = _note(found, event, seen)
                if pause:
                    await asyncio.sleep(pause)
            found.code = "OK"
        except grpc.aio.AioRpcError as error:
            # without a reason it is the gateway or the network that speaks
            found.code = f"{error.code().name}:{reason(error) or (error.details() or '')[:60]}"
        found.took = time.monotonic() - due
        return found


def _note(found: Outcome, event: chat_event_pb2.ChatEvent, seen: int) -> int:
    """Takes down what an event says; the last number that was seen."""
    kind = event.WhichOneof("event") or ""
    if event.seq:
        found.gap = found.gap or event.seq != seen + 1
        seen = event.seq
    if kind == "run_accepted":
        found.hit = event.run_accepted.cache_hit
    elif kind == "text_delta" and found.first is None:
        found.first = time.monotonic() - found.due
    elif kind == "usage":
        found.cost_micros = event.usage.cost_micros
        found.tokens = event.usage.input_tokens + event.usage.output_tokens
    elif kind in {"completed", "cancelled", "interrupted", "failed"}:
        found.ended = kind
        if kind == "completed":
            found.answer = chat_pb2.AnswerKind.Name(event.completed.answer_kind)
    return seen


def arrivals(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Moments within `seconds` at which somebody comes, `rate` a second on average, as independent people come."""
    dice, now = random.Random(seed), 0.0
    while (now := now + dice.expovariate(rate)) < seconds:
        yield now


async def come(
    askers: Askers,
    moments: Sequence[float],
    pick: Callable[[], Question],
    people: Sequence[int],
    told: Callable[[Outcome], None],
    *,
    pause: float = 0.0,
) -> list[Outcome]:
    """Sends a question at each moment from now on, whoever still waits for an answer; all outcomes at the end."""
    began, asked = time.monotonic(), []

    async def one(number: int, due: float) -> Outcome:
        outcome = await askers.ask(people[number % len(people)], pick(), due, pause=pause)
        told(outcome)
        return outcome

    for number, moment in enumerate(moments):
        await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
        asked.append(asyncio.create_task(one(number, began + moment)))
    return list(await asyncio.gather(*asked))


def codes(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How the questions ended."""
    return dict(Counter(outcome.ended or outcome.code for outcome in outcomes))
