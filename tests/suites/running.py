"""The real system for a suite: `tria up` in a directory of its own, which goes when the suite is done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from rich.progress import Progress

from server.embedded.loopback import free_ports
from tests.support.system import System, reachable_dir, system


@asynccontextmanager
async def running(told: Progress, title: str, variables: Mapping[str, str] | None = None) -> AsyncIterator[System]:
    """A running system; what it says on standard error is shown only when it does not start."""
    task = told.add_task(f"{title}: starting the system", total=1)
    # ports of its own: the usual ones may be somebody's who starts at the same moment
    http, https = map(str, free_ports(2))
    with reachable_dir() as folder, (folder.parent / "up.log").open("w+") as log:
        options = (folder, "--port-http", http, "--port-https", https)
        try:
            async with system(*options, variables=variables, stderr=log.fileno()) as up:
                told.advance(task)
                yield up
        except AssertionError:
            log.seek(0)
            told.console.print(log.read()[-2000:], markup=False)
            raise
