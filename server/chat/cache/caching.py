"""An assistant that does not answer twice what it answered already: a decorator of the `Assistant` port.

What may be shared is decided three times: by the question's words before anything is looked up (asked.py), by the
state of the asker's order when something was found (`hear_order` of the asker's own tools), and by all that was looked
at and said before anything is kept (entry.py, witness.py). Everything that separates people or versions is in the key
(keys.py). Many who ask the same at once wait for one answer (flight.py). What cannot be shared passes through.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from server.chat.assistant import AnswerKind, Assistant, Event, FromCache, Tools, Turn
from server.chat.cache.asked import SHARED_INTENTS, Asked, look_at
from server.chat.cache.entry import Entry, kept
from server.chat.cache.figures import Figures, Outcome
from server.chat.cache.flight import Flights, Lead
from server.chat.cache.keys import Key, Keys, Scope
from server.chat.cache.likeness import Likeness, Likenesses, nearest
from server.chat.cache.shelf import NOT_SHARED, Shelf, entry_of
from server.chat.cache.witness import Witness
from server.chat.chained import ChainedReply
from server.errors import AppError

_NOT_SHARED_FOR = 30.0  # seconds that nobody waits for an answer that was found not to be shareable


@dataclass(frozen=True, slots=True)
class Revisions:
    """What answers are made from, as it stands; both change with every change that may change an answer."""

    knowledge: str
    catalogue: str


class Sources(Protocol):
    """How a cache learns that what it keeps is out of date."""

    async def revisions(self, tenant: str) -> Revisions: ...
    async def products(self, tenant: str, skus: Sequence[str]) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Made:
    """What makes the answers: the model ("" for none), and the version of the prompt for an arm."""

    model: str
    prompt: Callable[[str], str]


async def _always(_tenant: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class CacheParts:
    """What the cache stands on. `enabled` is asked per tenant, `by_meaning` switches likeness on."""

    shelf: Shelf
    flights: Flights
    keys: Keys
    likenesses: Likenesses
    figures: Figures
    sources: Sources
    enabled: Callable[[str], Awaitable[bool]] = field(default=_always)
    by_meaning: Callable[[str], Awaitable[bool]] = field(default=_always)


@dataclass(slots=True)
class _Inquiry:
    """One question on its way through the cache."""

    turn: Turn
    asked: Asked
    key: Key
    witness: Witness
    started: float
    likeness: Likeness | None = None


class CachingAssistant:
    """`inner`, asked once for what may be shared."""

    def __init__(self, inner: Assistant, made: Made, parts: CacheParts) -> None:
        self.name = inner.name
        self._inner = inner
        self._made = made
        self._parts = parts

    async def warm(self, turn: Turn, tools: Tools) -> Outcome:
        """Answers ahead of time: HIT for what was there, MISS for what was made and kept, else VETOED. Such a turn has
        no conversation and counts for nothing."""
        inquiry = await self._inquiry(turn, tools, time.monotonic())
        if inquiry is None:
            return Outcome.VETOED
        async with aclosing(self.reply(turn, tools)) as events:
            present = [isinstance(event, FromCache) async for event in events]
        if any(present):
            return Outcome.HIT
        return Outcome.MISS if entry_of(await self._parts.shelf.get(inquiry.key)) else Outcome.VETOED

    def reply(self, turn: Turn, tools: Tools) -> ChainedReply:
        """One answer; see the port."""
        return ChainedReply(lambda reply: self._events(turn, tools, reply))

    async def _events(self, turn: Turn, tools: Tools, reply: ChainedReply) -> AsyncGenerator[Event, None]:
        started = time.monotonic()
        inquiry = await self._inquiry(turn, tools, started)
        if inquiry is None:
            async with aclosing(reply.play(self._inner.reply(turn, tools))) as events:
                async for event in events:
                    yield event
            if turn.asker.conversation:
                self._parts.figures.count(turn.asker.tenant, Outcome.VETOED, time.monotonic() - started)
            return
        found, outcome = await self._find(inquiry)
        if found is None and outcome is not Outcome.VETOED:
            boarded = await self._parts.flights.board(inquiry.key)
            if isinstance(boarded, Lead):
                async with aclosing(self._led(boarded, inquiry, reply)) as led:
                    async for event in led:
                        yield event
                return
            outcome = Outcome.FOLLOWED
            found = boarded if boarded and await self._holds(inquiry, boarded) else None
        if found is None:
            async with aclosing(reply.play(self._inner.reply(turn, inquiry.witness))) as events:
                async for event in events:
                    yield event
            self._count(inquiry, Outcome.VETOED if outcome is Outcome.VETOED else Outcome.MISS)
            return
        for event in found.events():
            yield event
        self._count(inquiry, outcome, found.cost_micros)

    async def _inquiry(self, turn: Turn, tools: Tools, started: float) -> _Inquiry | None:
        """The question with its key, or None for what is not looked up."""
        asker, parts = turn.asker, self._parts
        # What is suspicious is answered with less, and is nobody else's; nor may it ask for what was kept.
        asked = look_at(turn) if asker.tenant and not turn.wary else None
        if asked is None or not await parts.enabled(asker.tenant):
            return None
        try:
            revisions = await parts.sources.revisions(asker.tenant)
        except AppError:  # PostgreSQL is away: nobody knows whether what is kept still holds
            return None
        scope = Scope(
            asker.tenant,
            asker.role,
            asked.language.value,
            self._inner.name,
            self._made.model,
            self._made.prompt(asker.arm),
            asker.arm,
            revisions.knowledge,
            revisions.catalogue,
        )
        return _Inquiry(turn, asked, parts.keys.of(scope, asked), Witness(tools), started)

    async def _find(self, inquiry: _Inquiry) -> tuple[Entry | None, Outcome]:
        """A kept answer that holds, or what to do without; VETOED is for an own answer that nobody waits for."""
        value = await self._parts.shelf.get(inquiry.key)
        if value == NOT_SHARED:
            return None, Outcome.VETOED
        entry, outcome = entry_of(value), Outcome.HIT
        if entry is None and inquiry.asked.alone and inquiry.asked.plain:
            entry, outcome = await self._alike(inquiry), Outcome.ALIKE
        if entry is None:
            # What was said before may be in the answer, so it is nobody else's.
            return None, Outcome.MISS if inquiry.asked.alone else Outcome.VETOED
        return (entry, outcome) if await self._holds(inquiry, entry) else (None, Outcome.VETOED)

    async def _alike(self, inquiry: _Inquiry) -> Entry | None:
        """The kept answer of the same question in other words."""
        parts = self._parts
        if parts.shelf.away or not await parts.by_meaning(inquiry.turn.asker.tenant):
            return None
        likeness = inquiry.likeness = await parts.likenesses.of(inquiry.asked)
        if likeness is None:
            return None
        likes = parts.keys.likes(inquiry.key.partition, likeness.signature)
        other = nearest(likeness, await parts.shelf.alike(likes))
        if other is None:
            return None
        entry = entry_of(await parts.shelf.get(inquiry.key.sibling(other)))
        if entry is None:
            await parts.shelf.unlike(likes, other)
        return entry

    async def _holds(self, inquiry: _Inquiry, entry: Entry) -> bool:
        """Whether the answer is this asker's too, now: to somebody with an open order the same words may be part of
        it; goods may have been sold out since; and who was not understood before is counted by the assistant."""
        if entry.kind is AnswerKind.ABSTAINED and not inquiry.asked.alone:
            return False
        if await inquiry.witness.hear_order(entry.intent) not in SHARED_INTENTS:
            return False
        if not entry.products:
            return True
        now = await self._parts.sources.products(inquiry.turn.asker.tenant, list(entry.products))
        return now == dict(entry.products)

    async def _led(self, lead: Lead, inquiry: _Inquiry, reply: ChainedReply) -> AsyncGenerator[Event, None]:
        """The answer made here, for all who wait for it."""
        said: list[Event] = []
        whole = False
        try:
            async with aclosing(reply.play(self._inner.reply(inquiry.turn, inquiry.witness))) as events:
                async for event in events:
                    said.append(event)
                    yield event
            whole = True
        finally:
            if not whole:
                await lead.give_up()
        entry = kept(inquiry.turn, said, inquiry.witness)
        try:
            await self._keep(inquiry, entry)
        finally:
            await lead.land(entry)
        self._count(inquiry, Outcome.MISS)

    async def _keep(self, inquiry: _Inquiry, entry: Entry | None) -> None:
        parts, key = self._parts, inquiry.key
        if entry is None:
            await parts.shelf.put(key, NOT_SHARED, _NOT_SHARED_FOR)
            return
        limits = parts.shelf.limits
        seconds = limits.keep_abstention if entry.kind is AnswerKind.ABSTAINED else limits.keep
        if not await parts.shelf.put(key, entry.encode(), seconds):
            return
        await parts.figures.kept(inquiry.turn.asker.tenant, key, seconds)
        if inquiry.likeness is not None and entry.kind is AnswerKind.ANSWERED:
            likes = parts.keys.likes(key.partition, inquiry.likeness.signature)
            await parts.shelf.liken(likes, key, inquiry.likeness.vector)

    def _count(self, inquiry: _Inquiry, outcome: Outcome, saved_micros: int = 0) -> None:
        elapsed = time.monotonic() - inquiry.started
        if inquiry.turn.asker.conversation:
            self._parts.figures.count(inquiry.turn.asker.tenant, outcome, elapsed, saved_micros)
