"""Reading a run's events from anywhere: its log in this process, a mirror of it, or what the database remembers."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime

from server.audit.sealing import Vault
from server.caller import Caller
from server.chat import conversations, leases, messages, runs
from server.chat.access import outlet_scope, run_ids
from server.chat.assistant import Cited, Proposed
from server.chat.events import Entry, Event, Heartbeat, Interrupted, LogEntry, Reconnect, Snapshot, Spent
from server.chat.messages import Message, StoredCitation
from server.chat.mirrors import Mirrors
from server.chat.runlog import RunLog, RunLogs
from server.chat.runs import Run, RunState
from server.chat.settling import stored_terminal
from server.db.pool import Database
from server.errors import AppError, not_found
from server.knowledge.passages import Passage
from server.order.proposals import Proposals
from server.stream_life import StreamLimits, must_come_back_at

log = logging.getLogger(__name__)

Item = Entry | Heartbeat | Reconnect

_POLL = 0.5  # seconds between looks at a run that another process holds and whose log is not to be seen
_POLLS_OF_LOG = 3  # such looks between looks for its log
_POLLS_OF_TOUCH = 4  # such looks between notes that somebody waits
_LAST_WORDS = 3.0  # seconds that the last events of a run may take into the shared log
_LOOK_AGAIN = 0.05  # seconds before a follower whose log was given up looks elsewhere
_SPREAD = 2.0  # seconds over which followers of a stopping process come back


class Following:
    """Streams of run events. `draining` is set once, when the process is about to stop."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        logs: RunLogs,
        limits: StreamLimits,
        proposals: Proposals,
        mirrors: Mirrors,
    ) -> None:
        self._database = database
        self._vault = vault
        self._proposals = proposals
        self._logs = logs
        self._limits = limits
        self._mirrors = mirrors
        self._draining = False

    def drain(self) -> None:
        """Asks every follower to come back elsewhere."""
        self._draining = True
        self._logs.wake_all()
        self._mirrors.wake_all()

    async def follow(
        self, caller: Caller, run: str, after_seq: int, *, to_the_end: bool = False
    ) -> AsyncGenerator[Item, None]:
        """Every event of the run after `after_seq`, then live, up to its terminal, whichever process has it.

        Raises NOT_FOUND before the first item. Once the log is gone the stored message stands in: a Snapshot, its
        citations and cost, then the terminal. With `to_the_end` the stream is never sent elsewhere: a unary caller
        cannot follow it there.
        """
        until = math.inf if to_the_end else must_come_back_at(caller, self._limits.max_age)
        position, begun = after_seq, False
        while True:
            try:
                source = await self._source(caller, run, position, until)
                if source is None:
                    return
                async with aclosing(source) as items:
                    async for item in items:
                        begun = True
                        if not isinstance(item, Heartbeat | Reconnect) and item.terminal and item.seq <= position:
                            # It saw words that died with their owner before they were in the log.
                            yield LogEntry(position + 1, datetime.now(UTC), Interrupted(retryable=True), item.epoch)
                            return
                        yield item
                        if isinstance(item, Reconnect) or (not isinstance(item, Heartbeat) and item.terminal):
                            return
                        if not isinstance(item, Heartbeat):
                            position = max(position, item.seq)
            except AppError as problem:
                if not begun or to_the_end:
                    raise
                log.info("a follower is sent elsewhere", extra={"run": run, "reason": problem.reason})
                yield Reconnect(position, random.uniform(0.1, _SPREAD))  # noqa: S311  # spreads the load, hides nothing
                return
            await asyncio.sleep(_LOOK_AGAIN)

    async def get(self, caller: Caller, run: str) -> Run:
        """The run as stored. Raises NOT_FOUND."""
        return (await self._stored(caller, run))[0]

    async def _source(
        self, caller: Caller, run: str, after_seq: int, until: float
    ) -> AsyncGenerator[Item, None] | None:
        """The run's own log, a mirror of it, or what the database remembers. It may dry up without a terminal. None for
        a follower that has everything, the terminal too."""
        held = self._logs.get(caller.tenant, run)
        if held is None or not _may_see(caller, held) or not held.reaches_back_to(after_seq):
            stored, outlet = await self._stored(caller, run)
            held = await self._mirrors.mirror(caller.tenant, run, outlet, coming=not stored.state.final)
            if held is None or not held.reaches_back_to(after_seq) or (not held.ended and _long_over(stored)):
                return self._remembered(caller, stored, after_seq, until)
        if held.ended and after_seq == held.last_seq and not await self._cut_short(caller, run):
            return None
        return held.follow(
            after_seq,
            heartbeat=self._limits.heartbeat,
            leave=lambda: self._leave(until),
            patient=until is math.inf,
        )

    async def _cut_short(self, caller: Caller, run: str) -> bool:
        """Whether a follower may have seen more than the log of the run holds, the terminal included."""
        return (await self._stored(caller, run))[0].state is RunState.INTERRUPTED

    def _leave(self, until: float) -> float | None:
        if until is math.inf:
            return None
        if self._draining or time.monotonic() >= until:
            return random.uniform(0.1, _SPREAD)  # noqa: S311  # spreads the load, hides nothing
        return None

    async def _stored(self, caller: Caller, run: str) -> tuple[Run, str]:
        """The run, and the outlet that it belongs to."""
        conversation, run_id = run_ids(run)
        async with self._database.connection() as connection:
            found = await conversations.get_conversation(
                connection, self._vault, caller.tenant, conversation, outlet_scope(caller)
            )
            stored = await runs.get_run(connection, caller.tenant, conversation, run_id) if found else None
        if stored is None or found is None:
            raise not_found(run)
        return stored, found.outlet

    async def _remembered(self, caller: Caller, run: Run, after_seq: int, until: float) -> AsyncGenerator[Item, None]:
        """The end of a run whose log is not to be seen; waits for it while another process runs it, and dries up when
        there is a log again."""
        tenant = caller.tenant
        silent_since, looks = time.monotonic(), 0
        while not run.state.final:
            if (delay := self._leave(until)) is not None:
                yield Reconnect(after_seq, delay)
                return
            if time.monotonic() - silent_since >= self._limits.heartbeat:
                silent_since = time.monotonic()
                yield Heartbeat()
            await asyncio.sleep(_POLL)
            looks += 1
            if looks % _POLLS_OF_LOG == 0 and await self._visible_again(caller, run, after_seq):
                return
            run = await self._again(tenant, run, touch=looks % _POLLS_OF_TOUCH == 1)
        async with self._database.connection() as connection:
            answer = (
                await messages.get_message(connection, self._vault, tenant, run.conversation, run.answer)
                if run.answer
                else None
            )
        proposed = None
        if answer is not None and answer.proposal:
            proposed = Proposed(await self._proposals.get(caller, f"proposals/{answer.proposal}"))
        for entry in _closing(run, answer, proposed, after_seq):
            yield entry

    async def _visible_again(self, caller: Caller, run: Run, after_seq: int) -> bool:
        if self._logs.get(caller.tenant, run.name):
            return True
        try:
            seen = await self._mirrors.mirror(caller.tenant, run.name, outlet_scope(caller), coming=False)
        except AppError as problem:
            log.info("shared log not opened", extra={"run": run.name, "reason": problem.reason})
            return False
        return seen is not None and seen.reaches_back_to(after_seq)

    async def _again(self, tenant: str, run: Run, *, touch: bool) -> Run:
        try:
            async with self._database.connection() as connection:
                if touch:
                    await leases.touch(connection, [(tenant, run.conversation, run.id)])
                return await runs.get_run(connection, tenant, run.conversation, run.id) or run
        except AppError as problem:
            log.info("run not readable", extra={"run": run.name, "reason": problem.reason})
            return run


def _long_over(run: Run) -> bool:
    """Whether the run's last events would be in the shared log by now."""
    return run.end_time is not None and (datetime.now(UTC) - run.end_time).total_seconds() > _LAST_WORDS


def _may_see(caller: Caller, held: RunLog) -> bool:
    scope = outlet_scope(caller)
    return not scope or scope == held.outlet


def _closing(run: Run, answer: Message | None, proposed: Proposed | None, after_seq: int) -> Iterator[LogEntry]:
    """The last events of an ended run under their own numbers, after a Snapshot that stands for all before them.

    Of a run that left no message nothing can stand for what it told: its terminal is the follower's next event.

    The terminal always comes, above what the follower has: a run whose process died ended sooner than it had told.
    """
    when = run.end_time or datetime.now(UTC)
    cut_short = run.state is RunState.INTERRUPTED
    if answer is None:
        seen_all = 0 < run.last_seq <= after_seq and not cut_short
        yield LogEntry(after_seq + (not seen_all), when, stored_terminal(run, None), run.epoch)
        return
    events: list[Event] = [_cited(citation) for citation in answer.citations]
    events += [proposed] if proposed else []
    events += [Spent(run.usage, run.time_to_first_token_ms), stored_terminal(run, answer)]
    last = max(run.last_seq, len(events) + 1, after_seq + cut_short)
    first = last - len(events) + 1
    if after_seq < first - 1:
        yield LogEntry(first - 1, when, Snapshot(answer.text, first - 1), run.epoch)
    for seq, event in enumerate(events, first):
        if seq > after_seq or seq == last:
            yield LogEntry(seq, when, event, run.epoch)


def _cited(citation: StoredCitation) -> Cited:
    """A stored citation as the event that it was; of the passage only what was kept."""
    passage = Passage(
        chunk=citation.chunk,
        document=citation.document,
        revision=citation.revision,
        title=citation.title,
        heading="",
        text=citation.quote,
        language="",
        score=0.0,
        sha256="",
    )
    return Cited(citation.index, passage, citation.quote)
