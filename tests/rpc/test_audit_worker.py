"""What `tria worker` does for the audit log, and what health says when nothing can be recorded."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import httpx
import orjson
from prometheus_client import CollectorRegistry

from server import worker
from server.audit.checkpoint import open_note
from server.audit.wiring import log_keeper
from server.config import load
from server.db.pool import Database
from server.embedded.issuer import Issuer
from server.embedded.loopback import free_ports
from server.signing import PublicKey
from tests.support.app import configuration, running_desk
from tests.support.audit_log import a_leaf, add, drained
from tests.support.stores import eventually
from tria.ops.v1 import ops_pb2, ops_service_pb2, ops_service_pb2_grpc


async def test_the_worker_keeps_the_log_and_says_how_it_goes(
    database: Database, dsn: str, redis_url: str, tmp_path: Path
) -> None:
    issuer = Issuer(tmp_path / "issuer")
    issuer.prepare()
    [port] = free_ports(1)
    urls = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": "http://127.0.0.1:1"}
    variables = configuration(tmp_path, issuer, urls) | {"TRIA_WORKER_METRICS_LISTEN": f"127.0.0.1:{port}"}
    config = load(variables, version="test")
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(config, stop))
    await add(database, [a_leaf(number) for number in range(3)])
    await drained(database)

    async def figures() -> dict[str, str]:
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        return dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("tria_audit"))

    async def measured() -> bool:
        found = await figures()
        return found["tria_audit_leaves_total"] == "3.0" and found['tria_audit_sink_waiting{sink="file"}'] == "0.0"

    await eventually(measured)
    found = await figures()
    assert found["tria_audit_leader"] == "1.0"
    assert found["tria_audit_quarantined"] == found["tria_audit_checkpoints_refused_total"] == "0.0"
    stop.set()
    await asyncio.wait_for(running, 30)
    last = orjson.loads((tmp_path / "checkpoints.jsonl").read_bytes().splitlines()[-1])
    key: PublicKey = config.audit.key.public
    assert open_note(last["note"], [key]).checkpoint.size == 3


async def test_a_worker_whose_keeper_of_the_log_broke_ends(
    database: Database, dsn: str, redis_url: str, tmp_path: Path
) -> None:
    """Its figures would stand still, and nobody would see that they do."""
    issuer = Issuer(tmp_path / "issuer")
    issuer.prepare()
    urls = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": "http://127.0.0.1:1"}
    config = load(configuration(tmp_path, issuer, urls), version="test")
    registry, broken = CollectorRegistry(), asyncio.Event()
    async with log_keeper(config.audit, dsn, database, registry, broken) as keeper:
        await asyncio.wait_for(keeper.sequencer.leads.wait(), 30)
        assert not broken.is_set()
        async with database.connection() as connection:
            await connection.execute("alter table audit_quarantine rename to elsewhere")
        await asyncio.wait_for(broken.wait(), 30)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", "worker",
        env={**os.environ, **configuration(tmp_path, issuer, urls)}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await asyncio.wait_for(child.communicate(), 120)
    assert child.returncode == 1
    assert b"audit-metrics" in said


async def test_health_says_when_nothing_can_be_recorded(
    database: Database, dsn: str, redis_url: str, chroma_url: str, tmp_path: Path
) -> None:
    async with running_desk(tmp_path, dsn, redis_url, chroma_url) as desk:
        ops = ops_service_pb2_grpc.OpsServiceStub(desk.channel)

        async def away() -> dict[str, str]:
            health = await ops.CheckHealth(ops_service_pb2.CheckHealthRequest())
            return {
                part.component: part.effect for part in health.components if part.status == ops_pb2.Health.NOT_SERVING
            }

        async def said() -> bool:
            return "changes are refused" in (await away()).get("audit", "")

        async def well() -> bool:
            return "audit" not in await away()

        await eventually(well)
        (tmp_path / "audit-spool").write_text("in the way")
        async with database.connection() as connection:
            await connection.execute("alter table audit_pending rename to audit_hidden")
        await eventually(said)
        async with database.connection() as connection:
            await connection.execute("alter table audit_hidden rename to audit_pending")
        await eventually(well)
