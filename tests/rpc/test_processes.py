"""`tria serve` with two processes: one address, metrics added up, a dead one replaced, a clean end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.embedded.issuer import Issuer
from server.embedded.loopback import free_ports, is_free
from tests.support.app import configuration
from tests.support.edge import process_exists
from tests.support.stores import eventually


async def healthy(port: int) -> bool:
    """Whether a fresh connection is served; each connection lands on one of the processes."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def test_two_processes_serve_as_one(tmp_path: Path, dsn: str, redis_url: str, chroma_url: str) -> None:
    issuer = Issuer(tmp_path / "issuer")
    issuer.prepare()
    urls = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": chroma_url}
    grpc_port, internal_port, metrics_port = free_ports(3)
    variables = configuration(tmp_path, issuer, urls) | {
        "TRIA_GRPC_LISTEN": f"127.0.0.1:{grpc_port}",
        "TRIA_INTERNAL_LISTEN": f"127.0.0.1:{internal_port}",
        "TRIA_METRICS_LISTEN": f"127.0.0.1:{metrics_port}",
        "TRIA_PROCESSES": "2",
        "TRIA_DRAIN": "2",
    }
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", "serve",
        env={**os.environ, **variables}, stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip

    def children() -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]

    async def handled() -> float:
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{metrics_port}/metrics")).text
        pattern = r'grpc_server_handled_total\{[^}]*grpc_method="Check"[^}]*\} ([0-9.]+)'
        return sum(float(number) for number in re.findall(pattern, text))

    async def everybody_counted(times: int) -> bool:
        return await handled() >= times

    try:
        await eventually(lambda: healthy(grpc_port), within=60)
        await eventually(lambda: two(children), within=30)
        for _ in range(20):
            assert await healthy(grpc_port)
        await eventually(lambda: everybody_counted(20))
        victim = children()[0]
        os.kill(victim, signal.SIGKILL)
        await eventually(lambda: replaced(children, victim), within=30)
        await eventually(lambda: healthy(grpc_port), within=30)
        pids = children()
        server.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(server.wait(), 30) == 0
        assert not any(process_exists(pid) for pid in pids)
        assert is_free(grpc_port)
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()


async def two(children: Callable[[], list[int]]) -> bool:
    return len(children()) == 2


async def replaced(children: Callable[[], list[int]], victim: int) -> bool:
    return len(children()) == 2 and victim not in children()
