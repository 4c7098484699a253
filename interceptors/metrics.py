"""go-grpc-prometheus metric names on grpc.aio, from py_grpc_prometheus' own collectors.

That library's interceptor is for the synchronous server and reads its private state; its collectors are what
dashboards know. `grpc_code` is written as the library writes it (UPPER_SNAKE). Every started call is handled exactly
once, whatever way it ends. Unknown methods touch nothing: no label comes from a string that a client chose.
"""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase
from py_grpc_prometheus import server_metrics

from interceptors.call import Call, Proceed
from interceptors.policy import Method

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LABELS = ("grpc_service", "grpc_method")


class Metrics:
    """The layer; registers its collectors in `registry`."""

    name = "metrics"

    def __init__(self, registry: CollectorRegistry) -> None:
        theirs = server_metrics.init_metrics(_WithoutHistograms(registry))
        self._started = theirs["grpc_server_started_counter"]
        self._received = theirs["grpc_server_stream_msg_received"]
        self._sent = theirs["grpc_server_stream_msg_sent"]
        self._handled = server_metrics.get_grpc_server_handled_counter(False, registry)
        self._seconds = Histogram(
            "grpc_server_handling_seconds",
            "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.",
            ("grpc_type", *_LABELS),
            buckets=_SECONDS,
            registry=registry,
        )
        self._first = Histogram(
            "grpc_server_first_message_seconds",
            "Seconds from the start of a streamed answer to its first message.",
            _LABELS,
            buckets=_SECONDS,
            registry=registry,
        )
        self._open = Gauge(
            "grpc_server_streams_in_flight",
            "Streaming calls that are open.",
            _LABELS,
            registry=registry,
            multiprocess_mode="livesum",
        )

    def around(self, method: Method, proceed: Proceed) -> Proceed:
        if not method.known:
            return proceed
        labels = (method.kind, method.service, method.name)
        started, received, sent = (
            collector.labels(*labels) for collector in (self._started, self._received, self._sent)
        )
        seconds = self._seconds.labels(*labels)
        first = self._first.labels(method.service, method.name)
        streams = method.response_streaming or method.request_streaming
        in_flight = self._open.labels(method.service, method.name) if streams else None
        handled = _ByCode(self._handled, labels)

        async def run(call: Call) -> Any:
            began = time.perf_counter()
            started.inc()
            call.on_receive.append(lambda _: received.inc())

            def count_sent(_: Any) -> None:
                sent.inc()
                if method.response_streaming and not call.sent:
                    first.observe(time.perf_counter() - began)

            call.on_send.append(count_sent)
            if in_flight:
                in_flight.inc()
            try:
                return await proceed(call)
            finally:
                handled[call.code.name].inc()
                seconds.observe(time.perf_counter() - began)
                if in_flight:
                    in_flight.dec()

        return run


class _ByCode(dict[str, Any]):
    """The handled counter of one method, child by child as codes come up."""

    def __init__(self, counter: Any, labels: tuple[str, str, str]) -> None:
        super().__init__()
        self._counter = counter
        self._labels = labels

    def __missing__(self, code: str) -> Any:
        child = self[code] = self._counter.labels(*self._labels, code)
        return child


class _WithoutHistograms:
    """A registry for init_metrics(), which would register histograms with buckets of its own choice."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def register(self, collector: MetricWrapperBase) -> None:
        if not isinstance(collector, Histogram):
            self._registry.register(collector)
