"""The model's limits, kept by waiting: every call is admitted at a pace that all processes share through Redis.

Requests and tokens are two buckets of GCRA, so calls are spread instead of being sent at once and refused. What the
provider says in its headers only ever lowers what is taken to be left; a 429 with Retry-After stops all processes for
so long. Within a process tenants take turns. Without Redis each process keeps to a share of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from redis.asyncio import Redis

from server.chat.assistant import Waiting
from server.chat.completions import ModelCall, ModelError
from server.chat.fair_queue import FairQueue, Ticket
from server.chat.governor_script import LOWER, TAKE
from server.chat.metering import prompt_tokens
from server.chat.rate_headers import RateHeaders
from server.chat.redis_gate import Away, RedisGate
from server.errors import Reason
from server.waiting import within

_NAP = (0.005, 0.5)  # seconds between two attempts to take: least and most
_TELL = 1.0  # seconds after which who waits is told the place again, if it changed
_SPREAD = 0.05
_MICRO = 1e6


@dataclass(frozen=True, slots=True)
class Pace:
    """A bucket: seconds per one, and how many may come at once. A period of 0 means no limit."""

    period: float
    burst: int

    @classmethod
    def of(cls, per_minute: int, burst_share: float) -> Pace:
        """Never more than `per_minute` in any minute: what may come at once is taken off what comes after it."""
        if per_minute <= 0:
            return cls(0.0, 0)
        burst = max(1, int(per_minute * burst_share))
        return cls(60.0 / max(1, per_minute - burst), burst)


@dataclass(frozen=True, slots=True)
class GovernorLimits:
    """What the provider allows a minute; `tokens` 0 means that only its headers say. `processes` share it."""

    requests: int = 500
    tokens: int = 0
    processes: int = 1


@dataclass(frozen=True, slots=True)
class _Metrics:
    waiting: Gauge
    seconds: Histogram
    refused: Counter


_OF_REGISTRY: WeakKeyDictionary[CollectorRegistry, _Metrics] = WeakKeyDictionary()


def model_metrics(registry: CollectorRegistry) -> _Metrics:
    """The metrics of all models of a process: one for its registry, however many governors there are, none included
    (a dashboard shows 0 then, and not a gap)."""
    if registry not in _OF_REGISTRY:
        _OF_REGISTRY[registry] = _Metrics(
            Gauge(
                "tria_model_queue_waiting",
                "Calls that wait for the model's limits.",
                registry=registry,
                multiprocess_mode="livesum",
            ),
            Histogram(
                "tria_model_queue_seconds",
                "How long those calls waited that had to.",
                registry=registry,
                buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 45),
            ),
            Counter("tria_model_refused_total", "Calls that the provider refused by its limits.", registry=registry),
        )
    return _OF_REGISTRY[registry]


class Governor:
    """Admits the calls of one model, as one process sees them."""

    def __init__(
        self,
        redis: Redis,
        model: str,
        limits: GovernorLimits,
        *,
        registry: CollectorRegistry | None = None,
        prefix: str = "tria:model",
    ) -> None:
        self._limits = limits
        self._take, self._lower = redis.register_script(TAKE), redis.register_script(LOWER)
        tag = hashlib.sha256(model.encode()).hexdigest()[:12]
        self._keys = [f"{prefix}:{{{tag}}}:{part}" for part in ("requests", "tokens", "blocked", "waiting")]
        self._process = secrets.token_hex(6)
        self._queue = FairQueue()
        self._granted: dict[Ticket, asyncio.Event] = {}
        self._pump: asyncio.Task[None] | None = None
        self._requests, self._tokens = Pace.of(limits.requests, 0.1), Pace.of(limits.tokens, 0.25)
        self._alone = Pace.of(max(1, limits.requests // (2 * limits.processes)), 0.1)
        self._alone_full_at = 0.0  # of time.monotonic, like all below
        self._blocked_until = 0.0
        self._gate = RedisGate("the model's limits are kept per process")
        self._next_in = 0.0
        self._elsewhere = 0
        self._telling: set[asyncio.Task[None]] = set()
        self._metrics = model_metrics(registry or CollectorRegistry())

    @property
    def waiting(self) -> int:
        """Calls that wait in this process."""
        return len(self._queue)

    async def admission(self, call: ModelCall) -> AsyncGenerator[Waiting, None]:
        """Ends when the call may be made; until then, its place in the queue whenever that changes.

        Raises `ModelError` (MODEL_RATE_LIMITED, with the delay) when the call's deadline would come first.
        """
        tokens = prompt_tokens(call) + call.max_output_tokens
        if not self._queue:
            self._next_in = await self._taken(tokens)
            if self._next_in <= 0:
                return
        ticket, granted = Ticket(call.tenant, tokens), asyncio.Event()
        self._queue.join(ticket)
        self._granted[ticket] = granted
        self._metrics.waiting.set(len(self._queue))
        self._start_pump()
        since = time.monotonic()
        told = 0
        try:
            while not granted.is_set():
                waiting = self._place(ticket)
                self._check(waiting, call.deadline)
                if waiting.position not in {0, told}:
                    told = waiting.position
                    yield waiting
                await within(granted, _TELL)
        finally:
            self._queue.leave(ticket)
            del self._granted[ticket]
            self._metrics.seconds.observe(time.monotonic() - since)
            self._metrics.waiting.set(len(self._queue))

    def saw(self, rate: RateHeaders) -> None:
        """What the provider said with an answer."""
        if rate.limit_requests and rate.limit_requests < self._limits.requests:
            self._requests = Pace.of(rate.limit_requests, 0.1)
        if rate.limit_tokens and not (0 < self._limits.tokens <= rate.limit_tokens):
            self._tokens = Pace.of(rate.limit_tokens, 0.25)
        few_requests = rate.remaining_requests is not None and rate.remaining_requests < self._requests.burst
        few_tokens = rate.remaining_tokens is not None and rate.remaining_tokens < self._tokens.burst
        if few_requests or few_tokens:
            left = rate.remaining_requests, rate.remaining_tokens
            telling = asyncio.create_task(self._lowered(*left, 0.0), name="governor-headers")
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)

    async def refused(self, seconds: float) -> None:
        """The provider wants nothing for so long: from nobody."""
        self._metrics.refused.inc()
        self._blocked_until = max(self._blocked_until, time.monotonic() + seconds)
        await self._lowered(None, None, seconds)

    def _place(self, ticket: Ticket) -> Waiting:
        own = self._queue.position(ticket)
        # Other processes take their turns as often as this one, as long as they have somebody waiting.
        position = own + min(self._elsewhere, max(0, own - 1))
        each = max(self._requests.period, self._tokens.period * ticket.tokens)
        return Waiting(position, round(self._next_in + max(0, position - 1) * each, 3))

    def _check(self, waiting: Waiting, deadline: float) -> None:
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0 or waiting.eta > left:
            message = "too many questions are waiting for the model"
            raise ModelError(Reason.MODEL_RATE_LIMITED, message, retry_after=max(1.0, waiting.eta), billed=False)

    def _start_pump(self) -> None:
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._keep_granting(), name="governor")

    async def _keep_granting(self) -> None:
        """Root of the task that lets the waiting in, one after the other, while there are any."""
        while (ticket := self._queue.first()) is not None:
            self._next_in = await self._taken(ticket.tokens)
            if self._next_in <= 0:
                if (admitted := self._queue.next()) is not None:
                    self._granted[admitted].set()
                continue
            least, most = _NAP
            nap = min(max(self._next_in, least), most)
            await asyncio.sleep(nap * (1 + random.uniform(0, _SPREAD)))  # noqa: S311 - a spread, not a secret

    async def _taken(self, tokens: int) -> float:
        """Takes one request and its tokens; 0 when it did, else the seconds until it may be tried again."""
        now = time.monotonic()
        if now < self._blocked_until:
            return self._blocked_until - now
        requests, budget = self._requests, self._tokens
        arguments: list[str | int] = [
            round(requests.period * _MICRO),
            requests.burst,
            round(budget.period * _MICRO),
            budget.burst,
            tokens,
            self._process,
            len(self._queue),
        ]
        try:
            taken, wait, elsewhere = await self._gate.ask(self._take(keys=self._keys, args=arguments))
        except Away:
            return self._taken_alone(time.monotonic())
        self._elsewhere = int(elsewhere)
        return 0.0 if taken else max(0.001, int(wait) / _MICRO)

    def _taken_alone(self, now: float) -> float:
        """The same with this process's own share, by the clock alone."""
        full = max(self._alone_full_at, now) + self._alone.period
        wait = full - now - self._alone.burst * self._alone.period
        if wait > 0:
            return wait
        self._alone_full_at = full
        return 0.0

    async def _lowered(self, requests: int | None, tokens: int | None, block: float) -> None:
        arguments: list[str | int] = []
        for pace, left in ((self._requests, requests), (self._tokens, tokens)):
            arguments += [round(pace.period * _MICRO), pace.burst, -1 if left is None else left]
        try:
            await self._gate.ask(self._lower(keys=self._keys, args=[*arguments, round(block * _MICRO)]))
        except Away:
            return
