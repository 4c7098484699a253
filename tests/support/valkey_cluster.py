"""A Valkey Cluster of three nodes on this machine, whose nodes a test may kill."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import redis.asyncio

from server.embedded.loopback import free_ports
from server.embedded.valkey import EmbeddedValkey
from tests.support.stores import eventually

_SLOTS = 16384


@dataclass(frozen=True, slots=True)
class ValkeyCluster:
    """The nodes by port, and the URL that a client is given."""

    nodes: dict[int, EmbeddedValkey]
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{min(self.nodes)}"

    async def whole(self) -> bool:
        """Whether every node knows the others and the cluster serves all slots."""
        for port in self.nodes:
            async with redis.asyncio.Redis(port=port, password=self.password) as node:
                info = await node.cluster("INFO")
                if info["cluster_state"] != "ok" or info["cluster_slots_ok"] != str(_SLOTS):
                    return False
        return True


@asynccontextmanager
async def valkey_cluster(place: Path, count: int = 3) -> AsyncIterator[ValkeyCluster]:
    """`count` nodes without replicas, the slots shared out evenly."""
    password = "of-the-cluster"
    free = free_ports(2 * count)
    ports, buses = free[:count], free[count:]
    async with AsyncExitStack() as stack:
        nodes = {}
        for port, bus in zip(ports, buses, strict=True):
            settings = {
                "port": str(port),
                "cluster-port": str(bus),  # port + 10000 by itself, which may be anybody's
                "bind": "127.0.0.1",
                "cluster-enabled": "yes",
                "cluster-config-file": str(place / f"{port}.nodes"),
                "cluster-node-timeout": "5000",  # a busy machine is not a dead one
                "cluster-require-full-coverage": "no",
                "requirepass": password,
            }
            nodes[port] = EmbeddedValkey(place / f"valkey-{port}", settings=settings)
            # Its own look at whether it is ready takes the password of its state.
            (place / f"valkey-{port}").mkdir(mode=0o700)
            (place / f"valkey-{port}" / "password").write_text(password)
            await nodes[port].start()
            stack.push_async_callback(nodes[port].stop)
        await _join(ports, buses, password)
        cluster = ValkeyCluster(nodes, password)
        await eventually(cluster.whole, within=60)
        yield cluster


async def _join(ports: list[int], buses: list[int], password: str) -> None:
    share = -(-_SLOTS // len(ports))
    for number, port in enumerate(ports):
        async with redis.asyncio.Redis(port=port, password=password) as node:
            first, last = number * share, min((number + 1) * share, _SLOTS) - 1
            await node.cluster("ADDSLOTSRANGE", first, last)
            await node.cluster("SET-CONFIG-EPOCH", number + 1)
    async with redis.asyncio.Redis(port=ports[0], password=password) as node:
        for port, bus in list(zip(ports, buses, strict=True))[1:]:
            await node.cluster("MEET", "127.0.0.1", port, bus)
