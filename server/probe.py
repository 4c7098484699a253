"""`tria probe`: the standard health question over gRPC, for a container's health check. Imports nothing heavy."""

from __future__ import annotations

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

ALIVE = "alive"
"""A name of the health service that says SERVING as long as the process answers, whatever its stores do: whoever
restarts processes asks for this, or a database that is away would have every server restarted."""


@click.command("probe")
@click.option("--target", default="127.0.0.1:50051", show_default=True, help="host:port of the server.")
@click.option("--service", default="", help=f"A service, or `{ALIVE}` for the process alone; the whole when left out.")
@click.option("--timeout", default=3.0, show_default=True, help="Seconds.")
def probe(target: str, service: str, timeout: float) -> None:
    """Exit with 0 when the server serves, with 1 when it does not."""
    request = health_pb2.HealthCheckRequest(service=service)
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
        except grpc.RpcError as error:
            raise click.ClickException(f"{target} does not answer: {error.code().name}") from error
    said = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    click.echo(said)
    raise SystemExit(0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1)
