"""The role of PostgreSQL's exporter: it sees all that rules and dashboards ask for, and nothing of people."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest
import pytest_asyncio

from server.embedded.loopback import HOST, free_ports
from server.embedded.monitoring_tool import Tool
from server.embedded.pgfiles import installation
from tests.support.monitored import MONITORING

ROLE = MONITORING / "monitor-role.sql"
PASSWORD = "of-this-test-alone"


@pytest_asyncio.fixture
async def monitor_dsn(dsn: str) -> AsyncIterator[str]:
    """Made as monitoring/compose.yaml says, and gone with the test: roles are the whole server's."""
    psql = [str(installation() / "bin/psql"), "--quiet", "--set", f"password={PASSWORD}", "--set", "ON_ERROR_STOP=1"]
    process = await asyncio.create_subprocess_exec(*psql, dsn, stdin=asyncio.subprocess.PIPE)
    await process.communicate(ROLE.read_bytes())
    assert process.returncode == 0
    parts = urlsplit(dsn)
    yield urlunsplit(parts._replace(netloc=f"tria_monitor:{PASSWORD}@{parts.netloc.rpartition('@')[2]}"))
    connection = await asyncpg.connect(dsn)
    await connection.execute("drop role tria_monitor")
    await connection.close()


def asked_for() -> set[str]:
    """Every figure of this exporter that a rule or a dashboard names."""
    files = [*(MONITORING / "prometheus" / "rules").glob("*.yml"), *(MONITORING / "grafana/dashboards").glob("*.json")]
    return {name for path in files for name in re.findall(r"\bpg_[a-z_]+", path.read_text())}


async def test_the_exporter_shows_what_is_asked_for(
    dsn: str, monitor_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what somebody else's session does, which a role like any other does not see."""
    (port,) = free_ports(1)
    monkeypatch.setenv("DATA_SOURCE_NAME", monitor_dsn + "&sslmode=disable")
    arguments = ["--no-collector.bgwriter", f"--web.listen-address={HOST}:{port}"]
    tool = Tool("prometheus-postgres-exporter", tmp_path, arguments, port=port, path="/")
    somebody = await asyncpg.connect(dsn)
    await tool.start()
    try:
        async with somebody.transaction(), httpx.AsyncClient(timeout=30) as client:
            await somebody.fetchval("select 1")
            page = (await client.get(f"http://{HOST}:{port}/metrics")).text
    finally:
        await tool.stop()
        await somebody.close()
    assert asked_for() >= {"pg_up", "pg_stat_activity_max_tx_duration", "pg_settings_max_connections"}
    shown = set(re.findall(r"^(pg_\w+)", page, re.MULTILINE))
    assert not asked_for() - shown
    assert re.search(r"^pg_up(\{.*\})? 1$", page, re.MULTILINE)
    database = urlsplit(dsn).path.removeprefix("/")
    waiting = re.findall(r"^pg_stat_activity_count\{(.*)\} 1$", page, re.MULTILINE)
    assert [one for one in waiting if f'datname="{database}"' in one and 'state="idle in transaction"' in one]


async def test_the_role_reads_nothing_that_people_wrote(monitor_dsn: str) -> None:
    connection = await asyncpg.connect(monitor_dsn)
    try:
        for table in ("message", "customer_order", "audit_event"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"select * from {table} limit 1")
    finally:
        await connection.close()
