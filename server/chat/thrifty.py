"""An assistant that keeps to its tenant's budget: cheaper from the soft limit on, for nothing from the hard one."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from server.chat.agent import MODEL_FALLBACK
from server.chat.assistant import Assistant, Event, Step, Tools, Turn
from server.chat.chained import ChainedReply
from server.chat.spending import Level, Spending
from server.errors import Reason

log = logging.getLogger(__name__)


class ThriftyAssistant:
    """`usual`, or `cheaper` above the soft limit and `free` above the hard one; the customer is told by a warning."""

    def __init__(self, usual: Assistant, cheaper: Assistant, free: Assistant, spending: Spending) -> None:
        self.name = usual.name
        self._choices = {Level.WITHIN: usual, Level.SOFT: cheaper, Level.HARD: free}
        self._spending = spending

    def reply(self, turn: Turn, tools: Tools) -> ChainedReply:
        """One answer; see the port."""
        return ChainedReply(lambda reply: self._events(turn, tools, reply))

    async def _events(self, turn: Turn, tools: Tools, reply: ChainedReply) -> AsyncGenerator[Event, None]:
        tenant = turn.asker.tenant
        level = await self._spending.level(tenant)
        if level is not Level.WITHIN:
            extra = {"reason": Reason.BUDGET_EXCEEDED, "level": level}
            log.warning("the hour's money for the model is used up", extra=extra)
            yield Step(MODEL_FALLBACK)
        try:
            async with aclosing(reply.play(self._choices[level].reply(turn, tools))) as events:
                async for event in events:
                    yield event
        finally:
            await self._spending.add(tenant, reply.usage.cost_micros)
