"""Several server processes on one address by SO_REUSEPORT, and one place where their metrics are added up.

The parent starts them, starts one again that died, passes SIGTERM on, and serves `/metrics` from the files that
prometheus_client writes per process. It serves no RPC itself.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
import tempfile

import prometheus_client
from prometheus_client import CollectorRegistry, multiprocess

from server.config import Config

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
_RESTART_PAUSE = 1.0  # seconds between a death and the next start, so that a broken start does not spin
_STOP_PATIENCE = 30.0  # seconds beyond the children's own drain, which is done twice, and may find its stores away


def run(config: Config) -> int:
    """Runs until SIGTERM or SIGINT; the exit code is 0 when every process ended well."""
    with tempfile.TemporaryDirectory(prefix="tria-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        listen = config.listen.metrics
        metrics, thread = prometheus_client.start_http_server(listen.port, listen.host, registry)
        try:
            return asyncio.run(_Family(config).run())
        finally:
            metrics.shutdown()
            thread.join()


class _Family:
    """The processes and the wish to stop."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stop = asyncio.Event()
        self._codes: list[int] = []

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for told in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(told, self._stop.set)
        async with asyncio.TaskGroup() as group:
            for number in range(self._config.listen.processes):
                group.create_task(self._keep(number))
        return max(self._codes, default=0)

    async def _keep(self, number: int) -> None:
        """Runs one process again and again until the stop."""
        stopping = asyncio.create_task(self._stop.wait())
        while not self._stop.is_set():
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "server", "serve", "--process", str(number),
                start_new_session=True, preexec_fn=_end_with_parent,
            )  # fmt: skip
            ended = asyncio.create_task(child.wait())
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                child.send_signal(signal.SIGTERM)
                await asyncio.wait({ended}, timeout=self._config.stream.drain + _STOP_PATIENCE)
                if not ended.done():
                    child.kill()
                code = await ended
                # A child that had not got as far as to handle the signal ended by it, as it was told.
                self._codes.append(0 if code == -signal.SIGTERM else abs(code))
                return
            multiprocess.mark_process_dead(child.pid)  # type: ignore[no-untyped-call]
            log.error("process ended", extra={"number": number, "code": child.returncode})
            await asyncio.wait({stopping}, timeout=_RESTART_PAUSE)


def _end_with_parent() -> None:
    """Between fork and exec: the kernel sends SIGTERM when the parent dies, however it dies. A child left behind would
    serve on beside its successors, on the same port."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
