"""OpsService on the wire."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc

from server.errors import AppError, Code, Reason
from server.health import HealthMonitor, Status
from tria.ops.v1 import ops_pb2, ops_service_pb2, ops_service_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class OpsHandler(ops_service_pb2_grpc.OpsServiceServicer):
    """The RPCs of OpsService that this server serves."""

    def __init__(self, monitor: HealthMonitor, version: str) -> None:
        self._monitor = monitor
        self._version = version

    async def CheckHealth(self, request: ops_service_pb2.CheckHealthRequest, context: Context) -> ops_pb2.Health:
        health = self._monitor.health
        if health.status is Status.NOT_SERVING:
            raise AppError(
                Code.UNAVAILABLE,
                Reason.STORE_UNAVAILABLE if health.away else Reason.SERVER_BUSY,
                "not serving" if health.away else "not serving: starting or stopping",
                metadata={"away": " ".join(sorted(health.away))},
                retry_after=1.0,
            )
        return ops_pb2.Health(
            status=ops_pb2.Health.SERVING,
            degraded=health.status is Status.DEGRADED,
            components=[
                ops_pb2.ComponentHealth(
                    component=part,
                    status=ops_pb2.Health.NOT_SERVING if part in health.away else ops_pb2.Health.SERVING,
                    effect=health.away.get(part, ""),
                )
                for part in health.parts
            ],
            version=self._version,
        )
