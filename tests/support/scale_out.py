"""The system on more than one of everything, on one machine: three servers and two workers behind Envoy, PostgreSQL
behind PgBouncer, a Valkey Cluster of three nodes, Chroma. Any part may be killed and comes back.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import yaml

from server.db.migrate import migrate
from server.db.pool import Database, PoolSettings
from server.embedded.chroma import EmbeddedChroma
from server.embedded.envoy import EmbeddedEnvoy, config_file, load
from server.embedded.issuer import Issuer
from server.embedded.loopback import free_ports
from server.embedded.postgres import EmbeddedPostgres
from tests.support.app import configuration, fill
from tests.support.edge import edge_settings
from tests.support.orders import fill as fill_orders
from tests.support.pooler import Pooler
from tests.support.replicas import Replica, Replicas, replicas
from tests.support.stores import eventually
from tests.support.valkey_cluster import ValkeyCluster, valkey_cluster

SERVERS, WORKERS = 3, 2


class _Process(Protocol):
    """What all embedded parts can do."""

    @property
    def pid(self) -> int | None: ...

    async def start(self) -> object: ...

    async def wait_exit(self) -> int: ...


@dataclass(slots=True)
class ScaleOut:
    """The running parts. `folder` and `port` are what tests/chaos asks of a system: where its files are, and where it
    is called (the gateway)."""

    folder: Path
    port: int
    dsn: str
    pooled_dsn: str
    over: Replicas
    parts: Mapping[str, _Process]
    cluster: ValkeyCluster
    variables: Mapping[str, str]
    workers: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    worker_ports: dict[str, int] = field(default_factory=dict)

    @property
    def victims(self) -> list[str]:
        """One of each kind; the third server, the second worker and the last node stand for their like."""
        return ["server-3", "worker-1", *self.parts]

    async def start_worker(self, name: str) -> None:
        port = self.worker_ports.setdefault(name, free_ports(1)[0])
        variables = {**self.variables, "TRIA_WORKER_METRICS_LISTEN": f"127.0.0.1:{port}"}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.workers[name] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "server", "worker",
                env={**os.environ, **variables}, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    async def kill(self, name: str) -> None:
        """As a crash would: no goodbye."""
        if name.startswith("server-"):
            await self._server(name).kill()
        elif name.startswith("worker-"):
            self.workers[name].kill()
            await self.workers[name].wait()
        else:
            part = self.parts[name]
            assert part.pid is not None
            os.kill(part.pid, signal.SIGKILL)
            await part.wait_exit()

    async def revive(self, name: str) -> None:
        """Starts it again, and waits until it is there."""
        if name.startswith("server-"):
            await self._server(name).start()
            await eventually(self._server(name).serves, within=90)
        elif name.startswith("worker-"):
            await self.start_worker(name)
        else:
            await self.parts[name].start()

    async def stop_workers(self) -> None:
        for worker in self.workers.values():
            if worker.returncode is None:
                worker.terminate()
        await asyncio.gather(*(asyncio.wait_for(worker.wait(), 60) for worker in self.workers.values()))

    def _server(self, name: str) -> Replica:
        return self.over.all[int(name.removeprefix("server-")) - 1]


def _shared(folder: Path) -> dict[str, str]:
    """What all processes have in common beside the stores."""
    return {
        "TRIA_AUDIT_FILE": str(folder / "audit.log"),
        "TRIA_AUDIT_CHECKPOINT_FILE": str(folder / "checkpoints.jsonl"),
        "TRIA_AUDIT_CHECKPOINT_INTERVAL": "2",
        "TRIA_DRAIN": "2",
        "TRIA_RUN_LEASE": "9",
    }


def _gateway(folder: Path, over: Replicas) -> EmbeddedEnvoy:
    """The deployment's configuration with an address for each server, which a deployment's DNS gives."""
    config = load(config_file())
    clusters = config["static_resources"]["clusters"]
    endpoints = next(each for each in clusters if each["name"] == "server")["load_assignment"]["endpoints"][0]
    for server in over.all[1:]:  # the first is set with the other addresses
        address = {"address": "127.0.0.1", "port_value": server.port}
        endpoints["lb_endpoints"].append({"endpoint": {"address": {"socket_address": address}}})
    template = folder / "envoy.yaml"
    template.write_text(yaml.safe_dump(config))
    edge = edge_settings(folder, over.issuer, over.all[0].port)
    return EmbeddedEnvoy(folder / "envoy", edge, template=template, grace=1)


async def _filled(dsn: str, variables: Mapping[str, str]) -> None:
    async with Database(dsn, PoolSettings(min_size=1, max_size=2)) as database:
        await fill_orders(database)
    await fill(variables)


@asynccontextmanager
async def scale_out(place: Path, folder: Path, settings: Mapping[str, str]) -> AsyncIterator[ScaleOut]:
    """Everything running, in `place` (which PostgreSQL's user can enter); `settings` are further variables."""
    issuer = Issuer(folder / "issuer")
    issuer.prepare()
    async with AsyncExitStack() as stack:
        postgres, chroma = EmbeddedPostgres(place / "postgres"), EmbeddedChroma(place / "chroma")
        dsn = await postgres.start()
        stack.push_async_callback(postgres.stop)
        await migrate(dsn)
        pooler = Pooler(place / "pooler", dsn)
        await pooler.start()
        stack.push_async_callback(pooler.stop)
        cluster = await stack.enter_async_context(valkey_cluster(place))
        urls = {
            "TRIA_DATABASE_URL": pooler.dsn(dsn),
            "TRIA_DATABASE_DIRECT_URL": dsn,
            "TRIA_REDIS_URL": cluster.url,
            "TRIA_REDIS_CLUSTER": "true",
            "TRIA_CHROMA_URL": await chroma.start(),
        }
        stack.push_async_callback(chroma.stop)
        shared = {**_shared(folder), **settings}
        variables = configuration(folder, issuer, urls) | shared
        await _filled(dsn, variables)
        over = await stack.enter_async_context(replicas(folder, urls, shared, count=SERVERS, gateways=False))
        edge_folder = folder / "edge"
        edge_folder.mkdir()
        envoy = _gateway(edge_folder, over)
        url = await envoy.start()
        stack.push_async_callback(envoy.stop)
        node = cluster.nodes[max(cluster.nodes)]
        parts: dict[str, _Process] = {
            "postgres": postgres, "pgbouncer": pooler, "valkey-3": node, "chroma": chroma, "envoy": envoy,
        }  # fmt: skip
        port = int(url.rpartition(":")[2])
        system = ScaleOut(folder, port, dsn, pooler.dsn(dsn), over, parts, cluster, variables)
        for number in range(WORKERS):
            await system.start_worker(f"worker-{number + 1}")
        stack.push_async_callback(system.stop_workers)
        yield system
