"""Keeps children alive: whatever dies is started again with back-off, under the same address, and said so."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from server.embedded.child import StartFailed

_FIRST_DELAY = 0.1  # seconds before the first restart; doubles with each one that follows soon
_LONGEST_DELAY = 15.0
_STEADY = 20.0  # seconds after which a child counts as healthy again


class Service(Protocol):
    """A supervised child process, as the stores, Envoy and PythonProcess are."""

    @property
    def name(self) -> str: ...
    @property
    def pid(self) -> int | None: ...
    async def start(self) -> object: ...
    async def stop(self) -> None: ...
    async def wait_exit(self) -> int: ...


class Supervisor:
    """Owns the children and one task for each; `pids_file` always holds the pids of the living.

    `report` is called with one line for each death and each restart.
    """

    def __init__(self, pids_file: Path, report: Callable[[str], None]) -> None:
        self._pids_file = pids_file
        self._report = report
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._services: list[Service] = []

    def pids(self) -> dict[str, int]:
        """Pids of the living children by name, and of this process."""
        alive = {service.name: service.pid for service in self._services}
        return {"up": os.getpid()} | {name: pid for name, pid in alive.items() if pid is not None}

    async def start(self, service: Service) -> object:
        """Start `service` and keep it alive from now on; returns what its start() returned. Raises StartFailed."""
        self._services.append(service)  # before it starts, so that a cancelled start is stopped as well
        result = await service.start()
        self._keepers[service.name] = asyncio.create_task(self._keep(service), name=f"keep {service.name}")
        self._write_pids()
        return result

    async def stop(self, names: Sequence[str], hurry: asyncio.Event, *, may_be_killed: bool) -> None:
        """Stop the named children side by side. Once `hurry` is set, those that `may_be_killed` are."""
        chosen = [service for service in self._services if service.name in names]
        for service in chosen:
            await _end(self._keepers.pop(service.name, None))
        stopping = asyncio.gather(*(service.stop() for service in chosen))
        hurried = asyncio.create_task(hurry.wait())
        try:
            either: set[asyncio.Future[Any]] = {stopping, hurried}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if may_be_killed and not stopping.done():
                for pid in (service.pid for service in chosen):
                    if pid is not None:
                        os.kill(pid, signal.SIGKILL)
            await stopping
        finally:
            await _end(hurried)
        self._services = [service for service in self._services if service not in chosen]
        self._write_pids()

    async def _keep(self, service: Service) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            code = await service.wait_exit()
            self._write_pids()
            failures = 0 if loop.time() - began > _STEADY else failures
            delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2**failures)
            failures += 1
            self._report(f"{service.name} ended ({_reason(code)}); starting it again in {delay:.1f} s")
            await asyncio.sleep(delay)
            try:
                await service.start()
            except StartFailed as error:
                self._report(f"{service.name} did not start: {error}")
                continue
            self._write_pids()
            self._report(f"{service.name} runs again (pid {service.pid})")

    def _write_pids(self) -> None:
        aside = self._pids_file.with_name(self._pids_file.name + ".new")
        aside.write_text(json.dumps(self.pids()) + "\n")
        aside.replace(self._pids_file)


def _reason(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


async def _end(task: asyncio.Task[Any] | None) -> None:
    if task is None:
        return
    task.cancel()
    await asyncio.wait({task})
