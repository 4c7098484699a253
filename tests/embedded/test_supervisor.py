"""Keeping children alive and ending them, with small real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from server.embedded.child import Child
from server.embedded.supervisor import Supervisor
from tests.support.edge import process_exists, until

SLEEPS = "import time; time.sleep(600)"
IGNORES_SIGTERM = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open(sys.argv[1], 'w'); time.sleep(600)"
)
ENDS_AT_ONCE = "raise SystemExit(3)"


class Program:
    """A service that runs a line of Python; ready at once, or when the file exists that the line writes."""

    def __init__(self, name: str, state: Path, source: str, *, announces: bool = False) -> None:
        self.name = name
        self.starts = 0
        self._state = state / name
        self._source = source
        self._ready_file = self._state / "ready" if announces else None
        self._child = Child(name, self._state, parent_death=signal.SIGKILL, stop_signals=((signal.SIGTERM, 60.0),))

    @property
    def pid(self) -> int | None:
        return self._child.pid

    async def start(self) -> None:
        self._state.mkdir(exist_ok=True)
        await self._child.own()
        self._child.spawn([sys.executable, "-c", self._source, str(self._ready_file)])
        self.starts += 1
        if self._ready_file is not None:
            await until(self._ready_file.exists)

    async def stop(self) -> None:
        await self._child.stop()

    async def wait_exit(self) -> int:
        return await self._child.wait_exit()


def supervisor(tmp_path: Path) -> tuple[Supervisor, list[str]]:
    lines: list[str] = []
    return Supervisor(tmp_path / "pids.json", lines.append), lines


async def test_killed_child_is_started_again_and_said_so(tmp_path: Path) -> None:
    keeper, lines = supervisor(tmp_path)
    program = Program("one", tmp_path, SLEEPS)
    await keeper.start(program)
    first = program.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)

    await until(lambda: program.starts == 2)
    await until(lambda: len(lines) == 2)
    assert "one ended (signal SIGKILL)" in lines[0]
    assert json.loads((tmp_path / "pids.json").read_text()) == {"up": os.getpid(), "one": program.pid}
    await keeper.stop(["one"], asyncio.Event(), may_be_killed=True)
    assert json.loads((tmp_path / "pids.json").read_text()) == {"up": os.getpid()}


async def test_child_that_keeps_dying_is_started_less_and_less_often(tmp_path: Path) -> None:
    keeper, lines = supervisor(tmp_path)
    program = Program("one", tmp_path, ENDS_AT_ONCE)
    await keeper.start(program)
    await until(lambda: sum("ended" in line for line in lines) >= 3)
    delays = [float(line.split(" in ")[1].split()[0]) for line in lines if "ended" in line]
    assert delays[:3] == [0.1, 0.2, 0.4]

    await keeper.stop(["one"], asyncio.Event(), may_be_killed=True)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "keep one"], "nobody is left to start it"
    assert program.pid is None


async def test_stop_waits_until_it_is_hurried(tmp_path: Path) -> None:
    keeper, _ = supervisor(tmp_path)
    program = Program("one", tmp_path, IGNORES_SIGTERM, announces=True)
    await keeper.start(program)
    pid = program.pid
    assert pid is not None
    hurry = asyncio.Event()
    stopping = asyncio.create_task(keeper.stop(["one"], hurry, may_be_killed=True))
    done, _ = await asyncio.wait({stopping}, timeout=0.5)
    assert not done
    assert process_exists(pid)

    hurry.set()
    await asyncio.wait_for(stopping, 10)
    assert not process_exists(pid)
