"""Answering ahead of time what is asked often, from a list that operators keep; customers' words are never taken."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from server.audit.actions import Action
from server.audit.changes import Author
from server.audit.leaf import Plain
from server.caller import Role
from server.chat.assistant import Asker, Tools, Turn
from server.chat.cache.caching import CachingAssistant
from server.chat.cache.figures import Outcome
from server.chat.wary import ScreenedTools
from server.db.pool import Connection, Database
from server.idempotency import Idempotency, Once, once
from server.tenants import ensure_tenant

_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Warmed:
    """How many answers were made and kept, were there already, or may not be kept."""

    warmed: int
    present: int
    vetoed: int


STANDING_LIST = "select question from warm_question where tenant = $1 order by ordinal"
FORGET_LIST = "delete from warm_question where tenant = $1"
KEEP_LIST = """
insert into warm_question (tenant, ordinal, question)
select $1, ordinal, question from unnest($2::text[]) with ordinality as asked (question, ordinal)
"""


class Warming:
    """Warms the cache for customers. `tools` are those of a caller without an outlet."""

    def __init__(self, database: Database, cache: CachingAssistant, tools: Callable[[str], Tools]) -> None:
        self._database = database
        self._cache = cache
        self._tools = tools

    async def warm(
        self, author: Author, questions: Sequence[str], request_id: str, encoded: Callable[[Warmed], bytes]
    ) -> Once:
        """Answers the questions, or the standing list when there are none; those given become the standing list,
        without those whose answers may not be kept. Doing it again finds everything present."""
        tenant = author.caller.tenant
        idempotency = Idempotency("WarmCache", request_id, "\0".join(questions).encode(), encoded)
        asked = list(dict.fromkeys(questions)) or await self._standing(tenant)
        gate = asyncio.Semaphore(_AT_ONCE)
        outcomes = await asyncio.gather(*(self._one(tenant, question, gate) for question in asked))
        counts = Counter(outcomes)
        report = Warmed(counts[Outcome.MISS], counts[Outcome.HIT], counts[Outcome.VETOED])
        good = [question for question, what in zip(asked, outcomes, strict=True) if what is not Outcome.VETOED]
        async with self._database.transaction() as connection:

            async def produce() -> Warmed:
                if questions:
                    await _keep(connection, tenant, good)
                details: dict[str, Plain] = {
                    "warmed": report.warmed,
                    "present": report.present,
                    "vetoed": report.vetoed,
                }
                await author.record(connection, Action.CACHE_WARM, ("ops/cache",), details)
                return report

            return await once(connection, author.caller, idempotency, produce)

    async def _one(self, tenant: str, question: str, gate: asyncio.Semaphore) -> Outcome:
        async with gate:
            turn = Turn(question, asker=Asker(tenant, role=Role.CUSTOMER.value))
            return await self._cache.warm(turn, ScreenedTools(self._tools(tenant)))

    async def _standing(self, tenant: str) -> list[str]:
        async with self._database.connection() as connection:
            return [row["question"] for row in await connection.fetch(STANDING_LIST, tenant)]


async def _keep(connection: Connection, tenant: str, questions: list[str]) -> None:
    await ensure_tenant(connection, tenant)
    await connection.execute(FORGET_LIST, tenant)
    await connection.execute(KEEP_LIST, tenant, questions)
