"""The connection: TLS, keepalive that suits phones and laptops, and the published service config."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import grpc

from tria_client.policy import service_config


def options() -> Sequence[tuple[str, str | int]]:
    """Channel options.

    A dead network is noticed within 70 s while a call is open and costs no radio when none is; a lost connection is
    tried again soon (gRPC's own ceiling of 120 s is longer than a person waits).
    """
    return (
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.http2.max_pings_without_data", 0),  # a stream that only listens sends no data
        ("grpc.client_idle_timeout_ms", 300_000),
        ("grpc.initial_reconnect_backoff_ms", 500),
        ("grpc.max_reconnect_backoff_ms", 15_000),
        ("grpc.service_config", service_config()),
        ("grpc.primary_user_agent", f"tria-client/{version('tria-client')}"),
    )


def open_channel(
    target: str,
    tls: bool | grpc.ChannelCredentials,
    interceptors: Sequence[grpc.aio.ClientInterceptor],
) -> grpc.aio.Channel:
    """A channel to `target`: TLS with the system's roots (True), with the given credentials, or without TLS (False)."""
    if tls is False:
        return grpc.aio.insecure_channel(target, options=options(), interceptors=interceptors)
    credentials = grpc.ssl_channel_credentials() if tls is True else tls
    return grpc.aio.secure_channel(target, credentials, options=options(), interceptors=interceptors)
