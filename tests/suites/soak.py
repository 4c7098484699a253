"""Hours in small: whether memory grows under steady load, and whether a rolling deploy is noticed.

    python -m tests.suites.soak [--minutes 30] [--deploys 3]

Growth is the slope of a straight line through the memory of server and worker, after the first fifth of the time, in
which pools, caches and allocators fill.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import click
import numpy as np
from rich.progress import Progress

from tests.suites.asking import Askers, Outcome, arrivals, codes, come
from tests.suites.questions import Talk
from tests.suites.results import Result, finish, percentile
from tests.suites.rolling import ENOUGH, PEOPLE, Calls, deploys, three_replicas
from tests.suites.running import running
from tests.suites.watching import same_processes, watching
from tests.support.system import reachable_dir

RATE = 4.0  # questions a second
SETTLING = 0.2  # share of the time that is not counted
GROWTH = 50.0  # MiB in MINUTES
MINUTES = 30.0
FINE = 99.9  # percent
DEPLOYS = 3
# Seconds. A call takes up to 15 while a process is replaced; one that waited for the lease of a run whose process is
# gone (TRIA_RUN_LEASE, 30) was answered by luck and not by the drain.
SLOWEST = 25.0


def slope(points: Sequence[tuple[float, float]]) -> float:
    """MiB a second of the straight line through (seconds, MiB)."""
    return float(np.polyfit([point[0] for point in points], [point[1] for point in points], 1)[0])


async def _steady(result: Result, told: Progress, minutes: float) -> None:
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(running(told, "steady load"))
        watch = await stack.enter_async_context(watching(up.pids, up.ready["metrics"], every=2.0))
        askers = await stack.enter_async_context(Askers.of(up.ready))
        pids = up.pids()
        moments, talk = list(arrivals(RATE, minutes * 60, 5)), Talk(11)
        task = told.add_task(f"steady load, {minutes:g} minutes", total=len(moments))
        outcomes = await come(askers, moments, talk.next, range(60), lambda _: told.advance(task))
        line = watch.line()
        same_processes(result, "steady load", pids, up.pids())
    _judge_memory(result, minutes, line, outcomes)


def _judge_memory(
    result: Result, minutes: float, line: Sequence[tuple[float, float]], outcomes: Sequence[Outcome]
) -> None:
    counted = [point for point in line if point[0] >= SETTLING * minutes * 60]
    growth = slope(counted) * minutes * 60
    good = 100 * sum(each.good for each in outcomes) / max(1, len(outcomes))
    result.figures["steady"] = {
        "minutes": minutes,
        "questions": len(outcomes),
        "ended": codes(outcomes),
        "p95_s": round(percentile([each.took for each in outcomes], 0.95), 4),
        "growth_mib": round(growth, 2),
        "mib_an_hour": round(slope(counted) * 3600, 2),
        "memory_first_mib": counted[0][1],
        "memory_last_mib": counted[-1][1],
    }
    result.most(f"memory growth in {minutes:g} minutes, by regression", growth, GROWTH, "R7", unit=" MiB", strict=True)
    result.least("answered whole", good, 99, "R7", unit=" %")
    if minutes < MINUTES:
        result.not_shown(f"growth over {MINUTES:g} minutes: this run lasted {minutes:g}", "R7")
    result.plot("Memory of server and worker", "line", ("seconds", "MiB"), memory=line)


async def _deployed(result: Result, told: Progress, count: int) -> None:
    with reachable_dir() as folder:
        folder.mkdir(mode=0o711)
        starting = told.add_task("starting three replicas", total=1)
        async with three_replicas(folder) as over:
            told.advance(starting)
            began = time.monotonic()
            calls = await deploys(over, count, told, ENOUGH if count >= DEPLOYS else 0)
    result.figures["rolling_deploys"] = {
        "replicas": len(over.all),
        "people": PEOPLE,
        "seconds": round(time.monotonic() - began, 1),
    }
    judge_deploys(result, calls)


def judge_deploys(result: Result, calls: Calls) -> None:
    """Figures and bars of what people noticed."""
    total, streams, through = calls.ended.total(), calls.streams.total(), f"through {calls.deploys} rolling deploys"
    result.figures.setdefault("rolling_deploys", {}).update(
        deploys=calls.deploys,
        calls=total,
        failed=calls.failed,
        ended=dict(calls.ended),
        streams=streams,
        streams_ended=dict(+calls.streams),
        slowest_s=round(calls.slowest, 3),
    )
    fine, whole = calls.ended["fine"] / max(1, total), calls.streams["fine"] / max(1, streams)
    result.least(f"calls fine {through}", 100 * fine, FINE, "R17", "R15", unit=" %")
    result.least(f"streams whole {through}", 100 * whole, FINE, "R5", "R17", "R15", unit=" %")
    result.most(f"slowest call {through}", calls.slowest, SLOWEST, "R17", "R15", unit=" s", strict=True)
    if calls.deploys < DEPLOYS:
        result.not_shown(f"{DEPLOYS} rolling deploys: this run made {calls.deploys}", "R5", "R15", "R17")
    if total < ENOUGH:
        few = f"99.9 % with 95 % confidence needs {ENOUGH:,} calls; these were {total}"
        result.not_shown(few, "R5", "R15", "R17")
    result.plot("Calls during the deploys", "line", ("seconds", "seconds for the call"), calls=calls.points)


async def measure(result: Result, told: Progress, minutes: float, count: int) -> None:
    if count:
        await _deployed(result, told, count)
    if minutes:
        await _steady(result, told, minutes)


@click.command(help=__doc__)
@click.option("--minutes", default=MINUTES, show_default=True)
@click.option("--deploys", "count", default=DEPLOYS, show_default=True, help="At least.")
def main(minutes: float, count: int) -> None:
    """Measures, stores, shows."""
    finish("soak", lambda result, told: measure(result, told, minutes, count), asyncio.run)


if __name__ == "__main__":
    main()
