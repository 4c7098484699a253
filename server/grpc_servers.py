"""The gRPC listeners of one process: the gateway's, and the internal one that also has reflection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from server.settings import Listen

Registrar = Callable[[grpc.aio.Server], None]

MAX_MESSAGE = 4 * 1024 * 1024  # bytes; the largest request is a document of 3 MiB

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 1000),
    # A dead peer is noticed within a minute; phones may ping every 30 s, also while idle.
    ("grpc.keepalive_time_ms", 45_000),
    ("grpc.keepalive_timeout_ms", 15_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
    ("grpc.http2.max_ping_strikes", 3),
    ("grpc.so_reuseport", 1),
)


@dataclass(frozen=True, slots=True)
class GrpcServers:
    """Both listeners; they share handlers and interceptors."""

    gateway: grpc.aio.Server
    internal: grpc.aio.Server
    gateway_port: int
    internal_port: int

    async def start(self) -> None:
        await asyncio.gather(self.gateway.start(), self.internal.start())

    async def stop(self, grace: float) -> None:
        """Takes no more calls; those going on have `grace` seconds."""
        await asyncio.gather(self.gateway.stop(grace), self.internal.stop(grace))


def build(
    gateway: Listen,
    internal: Listen,
    interceptor: grpc.aio.ServerInterceptor,
    health: grpc_health.aio.HealthServicer,
    registrars: Sequence[Registrar],
    services: Sequence[str],
) -> GrpcServers:
    """Two servers with the same services; raises RuntimeError when a port is taken."""

    def server(listen: Listen) -> tuple[grpc.aio.Server, int]:
        made = grpc.aio.server(interceptors=[interceptor], options=_OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(health, made)
        for register in registrars:
            register(made)
        return made, made.add_insecure_port(str(listen))

    outer, outer_port = server(gateway)
    inner, inner_port = server(internal)
    reflection.enable_server_reflection([*services, "grpc.health.v1.Health", reflection.SERVICE_NAME], inner)
    return GrpcServers(outer, inner, outer_port, inner_port)
