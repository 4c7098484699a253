"""Following a run to its end over as many connections as that takes.

Every event of a run has a sequence number, so a cut stream costs nothing: the run is resumed after the last event that
arrived, and what comes twice is dropped.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import grpc

from tria.chat.v1.chat_event_pb2 import ChatEvent
from tria.chat.v1.chat_service_pb2 import ResumeRunRequest
from tria_client.backoff import Backoff
from tria_client.calls import is_outcome
from tria_client.errors import TriaError, made_here

TERMINALS = frozenset({"completed", "cancelled", "interrupted", "failed"})
SILENCE = 50.0  # seconds; the server sends a heartbeat after 15, so three were missed
_LAST_READ = 1.0  # seconds to let a finished stream end by itself

Start = Callable[[float | None], grpc.aio.UnaryStreamCall[Any, ChatEvent]]  # the argument is the call's timeout
Resume = Callable[[ResumeRunRequest, float | None], grpc.aio.UnaryStreamCall[Any, ChatEvent]]

# What a broken connection or a proxy says. The server itself always says a reason, and never after the first event.
_CUT = frozenset({
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
})  # fmt: skip


class Place(Enum):
    """Where an event stands in the run."""

    NEXT = auto()
    SEEN = auto()
    AHEAD = auto()  # something before it is missing


@dataclass
class Progress:
    """What has arrived of one run. `checked` is false when the run's beginning was seen by somebody else."""

    run: str = ""
    seq: int = 0
    ended: bool = False
    checked: bool = True
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def place(self, event: ChatEvent, *, first: bool) -> Place:
        """Where the event stands. The `first` one of a connection may stand for those that the log no longer has.

        A terminal is never SEEN: this run has not ended here yet, and nothing else can come after it.
        """
        kind = event.WhichOneof("event")
        if event.seq <= self.seq:
            return Place.NEXT if kind in TERMINALS else Place.SEEN
        stands_for_lost = first and (kind == "snapshot" or kind in TERMINALS)
        return Place.NEXT if event.seq == self.seq + 1 or stands_for_lost else Place.AHEAD

    def take(self, event: ChatEvent) -> None:
        """Counts the next event. Raises DATA_LOSS when the text is not what the server hashed."""
        self.run, self.seq = event.run, max(self.seq, event.seq)
        match event.WhichOneof("event"):
            case "text_delta":
                self._digest.update(event.text_delta.text.encode())
            case "snapshot":
                self._digest, self.checked = hashlib.sha256(event.snapshot.text.encode()), True
                self.seq = max(self.seq, event.snapshot.last_seq)
            case "text_done" if self.checked and event.text_done.sha256 != self._digest.hexdigest():
                raise made_here(grpc.StatusCode.DATA_LOSS, f"the text of {self.run} does not fit its hash")
            case kind:
                self.ended = kind in TERMINALS


@dataclass
class Following:
    """One run being followed: `start` makes the first call, `resume` every later one, `ends` is on the loop's clock."""

    resume: Resume
    backoff: Backoff
    progress: Progress
    start: Start | None = None
    ends: float | None = None
    silence: float = SILENCE
    _wait: float = 0.0  # seconds that the server asked for before the next connection
    _alive: bool = False  # whether this connection brought something new, or a heartbeat: the server waits too

    async def events(self) -> AsyncGenerator[ChatEvent, None]:
        """Every event of the run once and in order, without those of the connection, up to its one terminal.

        Raises TriaError when the server refuses, when the deadline passes, or when `backoff.attempts` connections in a
        row brought nothing.
        """
        failures = 0
        while True:
            cause = made_here(grpc.StatusCode.UNAVAILABLE, "the stream ended before the run did")
            try:
                async with aclosing(self._one_connection()) as events:
                    async for event in events:
                        yield event
            except TriaError as error:
                if not self._may_go_on(error):
                    raise
                cause = error
            if self.progress.ended:
                return
            failures = 1 if self._alive else failures + 1
            if failures > self.backoff.attempts:
                raise cause
            await self._pause(failures, cause)

    async def _one_connection(self) -> AsyncGenerator[ChatEvent, None]:
        """The new events of one call; ends where the call ends or asks to come back, or an event is missing."""
        self._wait, self._alive, first = 0.0, False, True
        call = self._call()
        try:
            reading = aiter(call)
            while (event := await self._read(reading)) is not None:
                if event.WhichOneof("event") == "reconnect":
                    self._wait = event.reconnect.delay.ToTimedelta().total_seconds()
                    return
                place = self.progress.place(event, first=first)
                if place is Place.AHEAD:
                    raise made_here(grpc.StatusCode.UNAVAILABLE, f"events of {event.run} are missing")
                if place is Place.SEEN:
                    # A heartbeat has no seq. What is only told again is no life: a server may do so for ever.
                    self._alive = self._alive or event.WhichOneof("event") == "heartbeat"
                    continue
                first, self._alive = False, True
                self.progress.take(event)
                yield event
                if self.progress.ended:
                    await self._until_end(reading)
                    return
        finally:
            call.cancel()

    def _call(self) -> grpc.aio.UnaryStreamCall[Any, ChatEvent]:
        if self.start is not None and not self.progress.run:
            return self.start(self._time_left())
        request = ResumeRunRequest(run=self.progress.run, after_seq=self.progress.seq)
        return self.resume(request, self._time_left())

    async def _read(self, reading: AsyncIterator[ChatEvent]) -> ChatEvent | None:
        """The next event; None at the end of the stream. A silent stream is a cut one."""
        try:
            async with asyncio.timeout(self.silence):
                return await anext(reading, None)
        except TimeoutError:
            raise made_here(grpc.StatusCode.UNAVAILABLE, f"no event for {self.silence:.0f} s") from None

    async def _until_end(self, reading: AsyncIterator[ChatEvent]) -> None:
        """Lets the finished call end with its own status: cancelling it would count as a caller that went away."""
        try:
            async with asyncio.timeout(_LAST_READ):
                await anext(reading, None)
        except (TimeoutError, TriaError):
            return  # the run is whole; how its connection ends changes nothing

    def _may_go_on(self, error: TriaError) -> bool:
        if not error.reason:
            return error.code in _CUT
        if is_outcome(error):
            return False
        if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and self.progress.run:
            self._wait = error.retry_after or 0.0
            return True  # the run goes on without us; coming back later loses nothing
        return error.code is grpc.StatusCode.UNAVAILABLE

    async def _pause(self, failures: int, cause: TriaError) -> None:
        """Waits before the next connection. Raises DEADLINE_EXCEEDED at once when the deadline comes first."""
        wait = self._wait if self._wait and failures == 1 else self.backoff.delay(failures, self._wait)
        left = self._time_left()
        if left is not None and wait >= left:
            raise made_here(
                grpc.StatusCode.DEADLINE_EXCEEDED, "the run did not end in time", reason="DEADLINE_EXCEEDED"
            ) from cause
        await asyncio.sleep(wait)

    def _time_left(self) -> float | None:
        return None if self.ends is None else max(0.0, self.ends - asyncio.get_running_loop().time())
