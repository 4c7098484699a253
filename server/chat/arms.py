"""Which variant of the prompt a conversation gets, and the record of every prompt that was ever used."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

from server.chat import prompts
from server.chat.assistant import Assistant, Event, Tools, Turn
from server.chat.chained import ChainedReply
from server.db.pool import Database
from server.errors import AppError

log = logging.getLogger(__name__)

# Whether a conversation of the tenant belongs to the flag's share: (tenant, conversation).
Assigned = Callable[[str, str], Awaitable[bool]]


class AssigningAssistant:
    """`inner`, told which arm each conversation is in; it stays there while the flag's share does not change."""

    def __init__(self, inner: Assistant, in_b: Assigned) -> None:
        self.name = inner.name
        self._inner = inner
        self._in_b = in_b

    def reply(self, turn: Turn, tools: Tools) -> ChainedReply:
        """One answer; see the port."""
        return ChainedReply(lambda reply: self._events(turn, tools, reply))

    async def _events(self, turn: Turn, tools: Tools, reply: ChainedReply) -> AsyncGenerator[Event, None]:
        asker = turn.asker
        arm = "b" if asker.conversation and await self._in_b(asker.tenant, asker.conversation) else "a"
        armed = replace(turn, asker=replace(asker, arm=arm))
        async with aclosing(reply.play(self._inner.reply(armed, tools))) as events:
            async for event in events:
                yield event


INSERT_PROMPT = """
insert into prompt_version (version, arm, sha256, prompt) values ($1, $2, $3, $4)
on conflict (version) do nothing
"""


async def record_prompts(database: Database) -> None:
    """Writes down the prompts of this release, so that the version in an audit record can be read years later. Without
    PostgreSQL the next start does."""
    try:
        async with database.transaction() as connection:
            for arm in prompts.ARMS:
                text = prompts.text(arm)
                digest = hashlib.sha256(text.encode()).hexdigest()
                await connection.execute(INSERT_PROMPT, prompts.version(arm), arm, digest, text)
    except AppError as away:
        log.warning("prompts not recorded", extra={"reason": away.reason})
