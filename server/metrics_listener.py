"""`/metrics` over HTTP, for a process that serves its own figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import prometheus_client
from prometheus_client import CollectorRegistry

from server.settings import Listen


@contextmanager
def serving_metrics(listen: Listen, registry: CollectorRegistry) -> Iterator[int]:
    """Serves the registry, with figures of the process and its garbage collector; yields the port."""
    prometheus_client.ProcessCollector(registry=registry)
    prometheus_client.GCCollector(registry=registry)
    server, thread = prometheus_client.start_http_server(listen.port, listen.host, registry)
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
