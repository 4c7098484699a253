"""Many people at once on a real `tria up`: 10, 50 and 100 of them, a spike, and readers who take their time.

    python -m tests.suites.load [--seconds 60] [--assistant offline --assistant model] [--users 10 --users 50 …]

People ask every ten seconds on average and come whoever still waits (open loop). Two in five questions are about some
product of the catalogue, so the cache helps as it would in use.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import click
from rich.progress import Progress

from tests.suites.asking import Askers, Outcome, arrivals, codes, come
from tests.suites.model_server import model_server
from tests.suites.questions import KINDS, Talk
from tests.suites.requirements import asked_of
from tests.suites.results import Result, finish, percentile
from tests.suites.running import running
from tests.suites.watching import Sample, Watch, same_processes, watching
from tests.support.stores import eventually
from tests.support.system import System

THINKING = 10.0  # seconds between the questions of one person
USERS = (10, 50, 100)
SECONDS = 60.0  # of each number of users
ASSISTANTS = ("offline", "model")
SPIKE = 100  # questions within a second
SLOW_READERS = 20
READING = 0.4  # seconds that these take for each event
P95 = {"offline": 1.0, "model": 5.0}  # seconds, with 100 people
MEMORY = 200.0  # MiB
FILES = 10  # more open than when the pools of the database, of Redis and of Chroma had filled


@dataclass(frozen=True, slots=True)
class Phase:
    """One kind of load, what came of it, and what was seen meanwhile."""

    name: str
    outcomes: Sequence[Outcome]
    samples: Sequence[Sample]
    seconds: float

    @property
    def success(self) -> float:
        return 100 * sum(each.good for each in self.outcomes) / max(1, len(self.outcomes))

    def p(self, share: float) -> float:
        return percentile([each.took for each in self.outcomes], share)

    def figures(self) -> dict[str, object]:
        first = [each.first for each in self.outcomes if each.first is not None]
        return {
            "questions": len(self.outcomes),
            "per_second": round(len(self.outcomes) / self.seconds, 2),
            "success_percent": round(self.success, 3),
            **{f"p{round(share * 100)}_s": round(self.p(share), 4) for share in (0.5, 0.95, 0.99)},
            "first_words_p95_s": round(percentile(first, 0.95), 4),
            "hit_rate": round(sum(each.hit for each in self.outcomes) / max(1, len(self.outcomes)), 3),
            "sent_late_p99_s": round(percentile([each.late for each in self.outcomes], 0.99), 4),
            "ended": codes(self.outcomes),
            "most_waiting_for_the_pool": max(
                (each.metrics.get("tria_pool_waiting", 0) for each in self.samples), default=0
            ),
        }


@dataclass
class Crowd:
    """Who puts load on one system."""

    askers: Askers
    watch: Watch
    told: Progress
    talk: Talk

    async def users(self, name: str, count: int, seconds: float) -> Phase:
        return await self.phase(name, list(arrivals(count / THINKING, seconds, count)), count)

    async def spike(self, name: str = "spike") -> Phase:
        """Ten people go on as before, and in the middle of it a hundred questions come within a second."""
        calm = list(arrivals(1.0, 20.0, 1))
        return await self.phase(name, sorted([*calm, *(8 + place / SPIKE for place in range(SPIKE))]), SPIKE)

    async def slow_readers(self, seconds: float) -> tuple[Phase, Phase]:
        """Some who read slowly, and others beside them."""
        moments = list(arrivals(SLOW_READERS / THINKING, seconds, 3))
        slowly = self.phase("slow readers", moments, SLOW_READERS, pause=READING, people_from=5000)
        return await asyncio.gather(slowly, self.users("beside slow readers", 20, seconds))

    async def phase(
        self, name: str, moments: Sequence[float], people: int, *, pause: float = 0.0, people_from: int = 0
    ) -> Phase:
        """Load of one kind, to the end of its last answer."""
        task = self.told.add_task(name, total=len(moments))
        since, began = len(self.watch.samples), time.monotonic()
        outcomes = await come(
            self.askers, moments, self.talk.next, range(people_from, people_from + people),
            lambda _: self.told.advance(task), pause=pause,
        )  # fmt: skip
        return Phase(name, outcomes, self.watch.samples[since:], time.monotonic() - began)


async def _load(
    up: System, told: Progress, seconds: float, users: Sequence[int], name: str
) -> tuple[list[Phase], Watch, Mapping[str, Sample]]:
    """All phases, what was seen, and how it looked before, with full pools, and after."""
    async with watching(up.pids, up.ready["metrics"]) as watch, Askers.of(up.ready) as askers:
        crowd = Crowd(askers, watch, told, Talk(7))
        await crowd.phase(f"{name}: warming up", [place / 4 for place in range(len(KINDS))], 30, people_from=9000)
        before = await watch.look()
        await crowd.spike("filling the pools")
        await eventually(lambda: _idle(watch), within=60)
        filled = await watch.look()
        phases = [await crowd.users(f"{count} users", count, seconds) for count in users]
        phases.append(await crowd.spike())
        phases += await crowd.slow_readers(min(seconds, 30))
        await eventually(lambda: _idle(watch), within=60)
        return phases, watch, {"before": before, "filled": filled, "after": await watch.look()}


async def _idle(watch: Watch) -> bool:
    """Whether no run works any more and nothing of the audit waits."""
    await asyncio.sleep(0.5)
    metrics = (await watch.look()).metrics
    return metrics.get("tria_runs_active", 1) == 0 and metrics.get("tria_audit_queue", 1) == 0


def _judge(result: Result, name: str, phases: Sequence[Phase], watch: Watch, ends: Mapping[str, Sample]) -> None:
    for phase in phases:
        steady = phase.name.endswith(" users")
        result.least(f"{name}, {phase.name}: answered whole", phase.success, 99 if steady else 95, "R7", unit=" %")
        if phase.name == f"{max(USERS)} users":
            p95 = phase.p(0.95) if phase.outcomes else math.inf
            result.most(f"{name}, {phase.name}: P95", p95, P95[name], "R7", "R17", unit=" s", strict=True)
    outcomes = [each for phase in phases for each in phase.outcomes]
    starved = sum("STORE" in each.code or "POOL" in each.code for each in outcomes)
    before, filled, after = ends["before"], ends["filled"], ends["after"]
    highest = max(sample.ours for sample in watch.samples)
    files = {key: after.files.get(key, 0) - filled.files.get(key, 0) for key in ("server", "worker", "envoy")}
    result.most(f"{name}: calls that failed for want of a connection", starved, 0, "R7", "R3")
    result.most(f"{name}: memory growth at its height", highest - before.ours, MEMORY, "R7", unit=" MiB", strict=True)
    result.most(f"{name}: memory growth afterwards", after.ours - before.ours, MEMORY, "R7", unit=" MiB", strict=True)
    left = sum(max(0, count) for count in files.values())  # what one part closed does not pay for another's leak
    result.most(f"{name}: open files left over", left, FILES, "R7")
    result.most(f"{name}: audit leaves lost", after.metrics.get("tria_audit_lost", math.inf), 0, "R10")
    result.figures[name] = {
        "phases": {phase.name: phase.figures() for phase in phases},
        "pool_limit": after.metrics.get("tria_pool_max_connections"),
        "pool_waiting_at_most": watch.highest("tria_pool_waiting"),
        "memory_mib": {"before": before.ours, "highest": highest, "after": after.ours},
        "files_left_over": files,
        "loop_lag_highest_s": watch.highest("tria_loop_lag_seconds"),
    }
    result.plot(f"Memory of server and worker, {name}", "line", ("seconds", "MiB"), memory=watch.line())
    result.plot(
        f"Answers by rank, {name}", "spread", ("% of questions", "seconds"),
        **{phase.name: [round(each.took, 4) for each in phase.outcomes] for phase in phases},
    )  # fmt: skip


def left_out(result: Result, seconds: float, assistants: Sequence[str], users: Sequence[int]) -> None:
    """What a run with these options cannot show."""
    if set(USERS) - set(users):
        result.not_shown(f"{sorted(set(USERS) - set(users))} users: left out by --users", "R7", "R17")
    if seconds < SECONDS:
        result.not_shown(f"{SECONDS:g} s of each number of users: these were {seconds:g}", "R7", "R17")
    for name in sorted(set(ASSISTANTS) - set(assistants)):
        result.not_shown(f"the assistant {name}: left out by --assistant", *asked_of("load"))


async def measure(
    result: Result, told: Progress, seconds: float, assistants: Sequence[str], users: Sequence[int]
) -> None:
    left_out(result, seconds, assistants, users)
    for name in assistants:
        async with AsyncExitStack() as stack:
            variables = await stack.enter_async_context(model_server()) if name == "model" else {}
            up = await stack.enter_async_context(running(told, name, variables))
            pids = up.pids()
            _judge(result, name, *await _load(up, told, seconds, users, name))
            same_processes(result, name, pids, up.pids())


@click.command(help=__doc__)
@click.option("--seconds", default=SECONDS, show_default=True, help="Of each number of users.")
@click.option("--assistant", "assistants", multiple=True, type=click.Choice(ASSISTANTS), default=ASSISTANTS,
              show_default=True)  # fmt: skip
@click.option("--users", multiple=True, type=int, default=USERS, show_default=True)
def main(seconds: float, assistants: tuple[str, ...], users: tuple[int, ...]) -> None:
    """Measures, stores, shows."""
    finish("load", lambda result, told: measure(result, told, seconds, assistants, users), asyncio.run)


if __name__ == "__main__":
    main()
