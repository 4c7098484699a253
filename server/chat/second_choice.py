"""Two assistants, the second for when the first could not say a word."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from server.chat.agent import MODEL_FALLBACK
from server.chat.assistant import Answered, Assistant, Delta, Event, ModelFailed, Step, Tools, Turn
from server.chat.chained import ChainedReply

log = logging.getLogger(__name__)


class SecondChoice:
    """`first`, and `second` where the first failed before anything was visible; never after, because text that a person
    has read is not taken back. What the first one's attempt cost is part of the answer's cost."""

    def __init__(self, first: Assistant, second: Assistant) -> None:
        self.name = first.name
        self._first = first
        self._second = second

    def reply(self, turn: Turn, tools: Tools) -> ChainedReply:
        """One answer; see the port."""
        return ChainedReply(lambda reply: self._events(turn, tools, reply))

    async def _events(self, turn: Turn, tools: Tools, reply: ChainedReply) -> AsyncGenerator[Event, None]:
        visible = False
        try:
            async with aclosing(reply.play(self._first.reply(turn, tools))) as events:
                async for event in events:
                    visible = visible or isinstance(event, Delta)
                    yield event
        except ModelFailed as failed:
            if visible:
                raise
            log.warning("the model failed before its first word, another one answers: %s", failed.reason)
        else:
            return
        yield Step(MODEL_FALLBACK)
        async with aclosing(reply.play(self._second.reply(turn, tools))) as events:
            async for event in events:
                yield replace(event, usage=reply.usage) if isinstance(event, Answered) else event
