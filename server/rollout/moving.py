"""Moves the calls from one version to the other in steps, looks at each, and moves them back by itself.

Whatever ends it before the last step (a bad verdict, figures that cannot be read, a signal) gives all calls back to the
version that had them: a version that nobody can judge is not promoted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from server.rollout.figures import FiguresUnreadable, Source, Totals, Version
from server.rollout.judging import Limits, Verdict, judge

STEPS = (1, 10, 50, 100)


class Split(Protocol):
    """Who is told the green version's percent. Raises SplitFailed."""

    async def set(self, green: int) -> None: ...


class SplitFailed(Exception):
    """The gateway could not be told."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Percent of each step; seconds that each is looked at, between looks, and until a step without calls is given
    up."""

    steps: Sequence[int] = STEPS
    hold: float = 120.0
    look: float = 5.0
    patience: float = 600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reason` says why it was given up, or what the last step showed."""

    promoted: bool
    percent: int
    reason: str


class Rollout:
    """One promotion of `candidate`; `tell` is given a line for each thing that happens."""

    def __init__(
        self,
        candidate: Version,
        split: Split,
        source: Source,
        *,
        limits: Limits,
        pace: Pace,
        tell: Callable[[str], None],
    ) -> None:
        self._candidate = candidate
        self._split = split
        self._source = source
        self._limits = limits
        self._pace = pace
        self._tell = tell
        self._usual: float | None = None  # P95 of the other version while it had calls

    async def promote(self) -> Outcome:
        """Runs every step. Raises SplitFailed when the gateway cannot even be told to go back."""
        reached = 0
        promoted = False
        try:
            reason = await self._fit()
            if not reason:
                for percent in self._pace.steps:
                    reached = percent
                    reason = await self._step(percent)
                    if reason:
                        break
                else:
                    promoted = True
        except FiguresUnreadable as error:
            reason = str(error)
        finally:
            if not promoted:
                await asyncio.shield(self.abort())
        if promoted:
            self._tell(f"{self._candidate} has all calls")
        return Outcome(promoted, reached, reason)

    async def abort(self) -> None:
        """Gives all calls to the other version."""
        await self._move(0)
        self._tell(f"{self._candidate.other} has all calls")

    async def _fit(self) -> str:
        """Why no call may go to the candidate, or nothing."""
        totals = await self._source.totals()
        return "" if totals.since(totals, self._candidate).healthy else f"no server of {self._candidate} is healthy"

    async def _step(self, percent: int) -> str:
        """Why the step failed, or nothing."""
        clock = asyncio.get_running_loop().time
        before = await self._source.totals()
        await self._move(percent)
        began = clock()
        while True:
            await asyncio.sleep(self._pace.look)
            verdict, reason = self._judged(await self._source.totals(), before)
            if verdict is Verdict.BAD:
                self._tell(f"{percent} %: bad, {reason}")
                return reason
            passed = clock() - began
            if passed >= self._pace.hold and verdict is Verdict.GOOD:
                self._tell(f"{percent} %: good, {reason}")
                return ""
            if passed >= max(self._pace.patience, self._pace.hold):
                self._tell(f"{percent} %: given up, {reason}")
                return f"{reason} in {passed:.0f} s"

    def _judged(self, now: Totals, before: Totals) -> tuple[Verdict, str]:
        candidate, stable = now.since(before, self._candidate), now.since(before, self._candidate.other)
        self._usual = stable.p95 or self._usual
        return judge(candidate, replace(stable, p95=self._usual), self._limits)

    async def _move(self, percent: int) -> None:
        await self._split.set(percent if self._candidate is Version.GREEN else 100 - percent)
