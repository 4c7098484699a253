"""Gauges of this process: the pool, runs, the audit writer, the loop's lag. RPC metrics are in interceptors/metrics.py.

Sampled by one task rather than by a collector at scrape time, because with several processes the figures travel
through files (prometheus_client's multiprocess mode) and a collector would see one process only.
"""

from __future__ import annotations

import asyncio
import time

from prometheus_client import CollectorRegistry, Gauge, Histogram

from server.audit.recorder import AuditRecorder
from server.chat.runner import Runner
from server.db.pool import Database
from server.health import HealthMonitor, Status

_INTERVAL = 1.0


class ProcessMetrics:
    """What an operator needs to see of one process besides its RPCs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, registry=registry, multiprocess_mode="livesum")

        self._connections = Gauge(
            "tria_pool_connections",
            "Connections of the PostgreSQL pool by state.",
            ["state"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._pool_waiting = gauge("tria_pool_waiting", "Calls that wait for a connection.")
        self._pool_limit = gauge("tria_pool_max_connections", "The most connections that the pool may hold.")
        self._database_up = Gauge(
            "tria_database_up", "1 while PostgreSQL answers.", registry=registry, multiprocess_mode="livemin"
        )
        self._runs = gauge("tria_runs_active", "Runs that wait or work.")
        self._audit_queue = gauge("tria_audit_queue", "Audit leaves that wait for the writer.")
        self._audit_spool = gauge("tria_audit_spool_pending", "Audit leaves on disk that wait for PostgreSQL.")
        self._audit_lost = gauge("tria_audit_lost", "Audit leaves lost since the start; anything but 0 is an incident.")
        self._audit_bare = gauge("tria_audit_bare", "Audit leaves without the details that could not be encoded.")
        self._health = Gauge(
            "tria_health",
            "2 serving, 1 degraded, 0 not serving.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._part_up = Gauge(
            "tria_part_up",
            "1 while a part that the server stands on answers; the names are those of /health.",
            ["part"],
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._lag = Histogram(
            "tria_loop_lag_seconds",
            "How much later than asked the event loop came back.",
            registry=registry,
            buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
        )

    async def keep_sampling(
        self, database: Database, runner: Runner, recorder: AuditRecorder, health: HealthMonitor
    ) -> None:
        """Samples until cancelled."""
        while True:
            pool, audit = database.stats(), recorder.stats()
            self._connections.labels("in_use").set(pool.in_use)
            self._connections.labels("idle").set(pool.idle)
            self._pool_waiting.set(pool.waiting)
            self._pool_limit.set(pool.max_size)
            self._database_up.set(pool.available)
            self._runs.set(runner.active)
            self._audit_queue.set(audit.queued)
            self._audit_spool.set(audit.spool_pending)
            self._audit_lost.set(audit.lost)
            self._audit_bare.set(audit.bare)
            self._health.set({Status.SERVING: 2, Status.DEGRADED: 1}.get(health.health.status, 0))
            for part in health.health.parts:
                self._part_up.labels(part).set(part not in health.health.away)
            asked = time.monotonic() + _INTERVAL
            await asyncio.sleep(_INTERVAL)
            self._lag.observe(max(0.0, time.monotonic() - asked))
