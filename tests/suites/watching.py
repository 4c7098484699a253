"""What the processes hold while a suite runs: memory, open files, and the gauges that they tell Prometheus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.suites.results import Result

OURS = ("server", "worker")
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. Memory in MiB, `metrics` summed over their labels."""

    at: float
    memory: Mapping[str, float]
    files: Mapping[str, int]
    metrics: Mapping[str, float]

    @property
    def ours(self) -> float:
        """Memory of what is our code: server and worker."""
        return sum(self.memory.get(name, 0.0) for name in OURS)


@dataclass
class Watch:
    """Looks once in a while."""

    pids: Callable[[], Mapping[str, int]]
    metrics_url: str
    samples: list[Sample] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    async def look(self) -> Sample:
        memory: dict[str, float] = {}
        files: dict[str, int] = {}
        for name, pid in self.pids().items():
            with suppress(psutil.NoSuchProcess):
                processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
                if name == "up":  # the parent of all the others
                    processes = processes[:1]
                memory[name] = sum(process.memory_info().rss for process in processes) / MIB
                files[name] = sum(process.num_fds() for process in processes)
        sample = Sample(time.monotonic() - self.began, memory, files, await gauges(self.metrics_url))
        self.samples.append(sample)
        return sample

    def line(self) -> list[tuple[float, float]]:
        """Memory of our processes over time, for a plot."""
        return [(round(sample.at, 1), round(sample.ours, 1)) for sample in self.samples]

    def highest(self, metric: str) -> float:
        return max((sample.metrics.get(metric, 0.0) for sample in self.samples), default=0.0)


async def gauges(url: str) -> dict[str, float]:
    """Every metric of a process, summed over its labels, also as `name:state` where it has states; none while it does
    not answer."""
    found: dict[str, float] = {}
    try:
        async with httpx.AsyncClient(timeout=5) as client:
            text = (await client.get(url)).text
    except httpx.HTTPError:
        return found
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            state = sample.labels.get("state")
            for name in (sample.name, f"{sample.name}:{state}") if state else (sample.name,):
                found[name] = found.get(name, 0.0) + sample.value
    return found


def same_processes(result: Result, name: str, before: Mapping[str, int], after: Mapping[str, int]) -> None:
    """A bar for no part having been started anew meanwhile: what is new is small, and memory would seem to shrink."""
    anew = sorted(part for part in before.keys() | after.keys() if before.get(part) != after.get(part))
    told = ", ".join(anew) or "same processes"
    result.holds(f"{name}: no part died", not anew, told, "R7")


@asynccontextmanager
async def watching(pids: Callable[[], Mapping[str, int]], metrics_url: str, every: float = 1.0) -> AsyncIterator[Watch]:
    """Looks all the time while the body runs."""
    watch = Watch(pids, metrics_url)

    async def keep_looking() -> None:
        while True:
            await watch.look()
            await asyncio.sleep(every)

    task = asyncio.create_task(keep_looking(), name="watch")
    try:
        yield watch
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
