"""How often the dead man's switch hears of us: a real Alertmanager whose minutes are three seconds."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

from aiohttp import web

from server.embedded.loopback import HOST, free_ports
from server.embedded.monitoring_config import Pace
from tests.support.alertmanager import running_alertmanager
from tests.support.stores import eventually

MINUTE = 3.0  # seconds
ANSWER = 0.3  # seconds that the service outside takes: what was sent is noted only then
WATCHDOG = {"labels": {"alertname": "Watchdog", "cluster": "tria", "severity": "none"}, "annotations": {}}


async def test_a_heartbeat_leaves_every_minute(tmp_path: Path) -> None:
    (inbox,) = free_ports(1)
    arrived: list[float] = []

    async def arrive(_: web.Request) -> web.Response:
        arrived.append(asyncio.get_running_loop().time())
        await asyncio.sleep(ANSWER)
        return web.Response()

    async def several() -> bool:
        return len(arrived) >= 4

    application = web.Application()
    application.add_routes([web.post("/dead-man-switch", arrive)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, inbox).start()
    try:
        async with running_alertmanager(tmp_path, inbox, Pace(factor=20)) as client:
            (await client.post("/api/v2/alerts", json=[WATCHDOG])).raise_for_status()
            await eventually(several, within=60)
    finally:
        await runner.cleanup()
    gaps = [later - earlier for earlier, later in pairwise(arrived[:4])]
    assert sum(gaps) < 3 * 1.5 * MINUTE, gaps
