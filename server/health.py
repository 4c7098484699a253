"""Whether the system serves, judged by what it stands on and not by the process being up.

Without PostgreSQL nothing is served. Without Redis, the vector index, or the model the work goes on with less, and
`Health` says what is lost. Probed every second in one task; readers get the last judgement at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

log = logging.getLogger(__name__)

_INTERVAL = 1.0
_PATIENCE = 2.0


class Status(StrEnum):
    """How a part, or the whole, is."""

    SERVING = "SERVING"
    DEGRADED = "DEGRADED"
    NOT_SERVING = "NOT_SERVING"


@dataclass(frozen=True, slots=True)
class Part:
    """Something the system stands on. `probe` answers whether it is there; it must not raise but TimeoutError.

    `vital`: nothing works without it. `effect` says to people what its absence means.
    """

    name: str
    probe: Callable[[], Awaitable[bool]]
    vital: bool
    effect: str


@dataclass(frozen=True, slots=True)
class Health:
    """The last judgement. `away` maps the absent parts to what their absence means."""

    status: Status
    away: Mapping[str, str]
    parts: Sequence[str]


class HealthMonitor:
    """Probes the parts and tells `changed` whenever the judgement moves."""

    def __init__(self, parts: Sequence[Part], changed: Callable[[Health], Awaitable[None]]) -> None:
        self._parts = tuple(parts)
        self._changed = changed
        self._stopping = False
        self.health = Health(Status.NOT_SERVING, {}, [part.name for part in parts])

    async def stop_serving(self) -> None:
        """Says NOT_SERVING from now on: the process is about to end."""
        self._stopping = True
        await self._judge([])

    async def look(self) -> None:
        """Probes every part once."""
        answers = await asyncio.gather(*(self._ask(part) for part in self._parts))
        await self._judge([part for part, there in zip(self._parts, answers, strict=True) if not there])

    async def keep_looking(self) -> None:
        """Probes until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_INTERVAL)

    async def _ask(self, part: Part) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await part.probe()
        except TimeoutError:
            return False

    async def _judge(self, away: Sequence[Part]) -> None:
        status = Status.SERVING
        if self._stopping or any(part.vital for part in away):
            status = Status.NOT_SERVING
        elif away:
            status = Status.DEGRADED
        judged = Health(status, {part.name: part.effect for part in away}, [part.name for part in self._parts])
        if judged != self.health:
            log.log(
                logging.INFO if status is Status.SERVING else logging.WARNING,
                "health changed",
                extra={"status": status, "away": sorted(judged.away)},
            )
            self.health = judged
            await self._changed(judged)
