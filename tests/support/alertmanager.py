"""A real Alertmanager with the deployment's configuration; what it sends goes to a port of this machine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from server.embedded.loopback import free_ports
from server.embedded.monitoring_config import Pace, alertmanager_config
from server.embedded.monitoring_tool import Tool
from tests.support.monitored import MONITORING

CONFIG = MONITORING / "alertmanager" / "alertmanager.yml"


@asynccontextmanager
async def running_alertmanager(state: Path, inbox: int, pace: Pace | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of its API; files go to `state`, messages to the port `inbox`."""
    (port,) = free_ports(1)
    config = state / "alertmanager.yml"
    config.write_text(json.dumps(alertmanager_config(CONFIG, inbox, pace or Pace())))
    arguments = [
        f"--config.file={config}", f"--storage.path={state}/data", f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]  # fmt: skip
    tool = Tool("prometheus-alertmanager", state, arguments, port=port, path="/-/ready")
    await tool.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        await tool.stop()
