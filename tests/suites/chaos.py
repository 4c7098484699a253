"""Everything is killed under use, and a judge who knows only what clients were told compares it with what is left.

    python -m tests.suites.chaos [--kills 24] [--customers 12] [--no-tests]

First the chaos tests with larger numbers (CHAOS_ROUNDS, CHAOS_RUNS, CHAOS_STREAMS win over those chosen here), then a
whole `tria up` whose parts are killed at any moment, with books that lose
answers. tests/suites/history.py is the judge.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import click
import httpx
from rich.progress import Progress, TaskID

from tests.suites.customers import customer, prepare, spooled, stored, waiting
from tests.suites.history import History, judge
from tests.suites.requirements import asked_of
from tests.suites.results import REPORTS, ROOT, Result, finish
from tests.suites.running import running
from tests.suites.tested import run_tests
from tests.support.edge import until
from tests.support.system import System

KILLS = 24
CUSTOMERS = 12
VICTIMS = ("server", "worker", "postgres", "valkey", "envoy", "chroma")
ORDERS = 4  # of each customer, each of another product: two alike are asked about
LARGER = {"CHAOS_ROUNDS": "20", "CHAOS_RUNS": "120", "CHAOS_STREAMS": "60"}
SETTLED = (
    300.0  # seconds; a job of a killed worker is taken up after half a minute, and books that refuse are waited for
)
FAULTS = (("reply_lost", 6), ("reset", 4), ("server_error", 4), ("garbage", 2))


@dataclass
class Havoc:
    """Kills one part after the other of a system that revives them, until one stays away for `patience` seconds: that
    one has `inf` as its time."""

    up: System
    told: Progress
    task: TaskID
    dice: random.Random
    patience: float = 120.0
    killed: Counter[str] = field(default_factory=Counter)
    recovered: list[tuple[str, float]] = field(default_factory=list)

    async def rounds(self, count: int) -> None:
        for number in range(count):
            await asyncio.sleep(self.dice.uniform(0.5, 3.0))
            victim = VICTIMS[number] if number < len(VICTIMS) else self.dice.choice(VICTIMS)
            took = await self._kill(victim)
            self.recovered.append((victim, took))
            if math.isinf(took):
                break
            self.told.advance(self.task)

    async def _kill(self, victim: str) -> float:
        """Seconds until it is back and all serves."""
        before, began = self.up.pids(), time.monotonic()
        os.kill(before[victim], signal.SIGKILL)
        self.killed[victim] += 1
        try:
            await until(lambda: self.up.pids().get(victim) not in {None, before[victim]}, seconds=self.patience)
            await until(self.up.serves, seconds=self.patience)
        except AssertionError:
            return math.inf
        return round(time.monotonic() - began, 2)


async def _whole_system(result: Result, told: Progress, kills: int, people: int) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(running(told, "chaos"))
        folder = up.state_dir
        dsn = json.loads((folder / "environment.json").read_text())["TRIA_DATABASE_URL"]
        await prepare(dsn, people)
        await _spoil(up.ready["xero_sandbox"])
        history, stop = History(), asyncio.Event()
        havoc = Havoc(up, told, told.add_task("kills", total=kills), random.Random(seed))
        customers = [asyncio.create_task(customer(up, number, history, stop, ORDERS)) for number in range(people)]
        try:
            await havoc.rounds(kills)
        finally:
            stop.set()
            await asyncio.wait(customers)
            _judge_recovery(result, havoc.recovered)  # before what a system that is away would not let us ask
            told.console.print(f"{len(history.orders)} orders, {len(history.streams)} streams", highlight=False)
        for each in customers:
            each.result()
        settled = await _settled(dsn, folder, told)
        found = judge(history, await stored(dsn, up.ready["xero_sandbox"]))
    _report(result, history, havoc.killed, found)
    result.holds("everything settles after the last kill", settled, f"within {SETTLED:g} s: {settled}", "R1")
    result.figures["whole_system"] |= {"seed": seed}


async def _spoil(sandbox: str) -> None:
    """What the books will do to calls, until it is used up."""
    async with httpx.AsyncClient(base_url=sandbox, timeout=10) as client:
        for kind, times in FAULTS:
            answer = await client.post("/sandbox/faults", json={"kind": kind, "times": times, "probability": 0.2})
            answer.raise_for_status()


async def _settled(dsn: str, folder: Path, told: Progress) -> bool:
    """Whether nothing is on its way any more, in time."""
    task, ends = told.add_task("settling", total=1), time.monotonic() + SETTLED
    quiet = 0
    while quiet < 3:  # looks in a row, because a job writes leaves when it ends
        if time.monotonic() > ends:
            return False
        await asyncio.sleep(1.0)
        try:
            quiet = quiet + 1 if await waiting(dsn) + spooled(folder) == 0 else 0
        except (OSError, asyncpg.PostgresError, TimeoutError):
            quiet = 0
    told.advance(task)
    return True


def _judge_recovery(result: Result, recovered: Sequence[tuple[str, float]]) -> None:
    """A bar for the slowest part to come back; without one there is none that did."""
    slowest: dict[str, float] = {}
    for name, took in recovered:
        slowest[name] = max(took, slowest.get(name, 0.0))
    result.figures["seconds_to_serve_again"] = {
        name: "not in time" if math.isinf(took) else took for name, took in slowest.items()
    }
    most = max(slowest.values(), default=math.inf)
    result.most("slowest recovery of a killed part", most, 1800, "R17", unit=" s", strict=True)
    points = [(place, took) for place, (_, took) in enumerate(recovered) if math.isfinite(took)]
    result.plot("Seconds until all serves again, by kill", "line", ("kill", "seconds"), recovery=points)


def _report(result: Result, history: History, killed: Mapping[str, int], found: Mapping[str, list[str]]) -> None:
    """Bars of what the judge found, and that there was something to be judged."""
    acknowledged = sum(bool(placed.order) for placed in history.orders)
    confirmed = sum(placed.confirmed for placed in history.orders)
    ended = sum(bool(each.terminals) for each in history.streams)
    result.figures["whole_system"] = {
        "killed": dict(killed),
        "orders": len(history.orders),
        "acknowledged": acknowledged,
        "confirmed": confirmed,
        "streams": len(history.streams),
        "stream_ends": dict(Counter(end for each in history.streams for end in each.terminals)),
        "violations": found,
    }
    for rule, sentences in found.items():
        measured = "; ".join(sentences[:3]) or f"of {acknowledged} orders, {len(history.streams)} streams"
        needed = ("R10",) if "audit" in rule else ("R5",) if "stream" in rule else ("R1", "R14")
        result.holds(rule, not sentences, measured, *needed)
    result.least("orders acknowledged under fire", acknowledged, 10, "R1")
    result.least("orders confirmed under fire", confirmed, 10, "R14")
    result.least("streams followed to their end under fire", ended, 10, "R5")


async def _tests(result: Result, told: Progress) -> None:
    """The chaos tests one module after another, so that progress shows."""
    modules = sorted((ROOT / "tests" / "chaos").glob("test_*.py"))
    task, numbers = told.add_task("chaos tests", total=len(modules)), {**LARGER, **os.environ}
    for module in modules:
        found = await run_tests(str(module.relative_to(ROOT)), REPORTS / f"chaos-{module.stem}.xml", numbers)
        result.figures.setdefault("tests", {})[module.stem] = {"ran": found.ran, "failed": found.failed}
        result.holds(f"tests/chaos/{module.name}", found.passed, found.told, "R1")
        told.advance(task)
    result.figures["test_sizes"] = {name: numbers[name] for name in LARGER}


def left_out(result: Result, kills: int, people: int, tests: bool) -> None:  # the options, in order
    """What a run with these options, or with smaller numbers in the environment, cannot show."""
    if kills < KILLS or people < CUSTOMERS:
        wanted = f"{KILLS} kills under {CUSTOMERS} customers"
        result.not_shown(f"{wanted}: this run had {kills} under {people}", *asked_of("chaos"))
    if not tests:
        result.not_shown("the chaos tests: left out by --no-tests", "R1")
    for name, size in LARGER.items():
        if tests and int(os.environ.get(name, size)) < int(size):
            result.not_shown(f"the chaos tests with {name}={size}: these had {os.environ[name]}", "R1")


async def measure(result: Result, told: Progress, kills: int, people: int, *, tests: bool) -> None:
    left_out(result, kills, people, tests)
    await _whole_system(result, told, kills, people)
    if tests:
        await _tests(result, told)


@click.command(help=__doc__)
@click.option("--kills", default=KILLS, show_default=True)
@click.option("--customers", "people", default=CUSTOMERS, show_default=True)
@click.option("--tests/--no-tests", default=True, show_default=True)
def main(kills: int, people: int, *, tests: bool) -> None:
    """Breaks, judges, stores, shows."""
    finish("chaos", lambda result, told: measure(result, told, kills, people, tests=tests), asyncio.run)


if __name__ == "__main__":
    main()
