"""The keeper of the log, wired from the configuration: sequencer, notary, couriers, figures. Runs in `tria worker`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from server.audit.courier import Courier
from server.audit.log_metrics import LogMetrics
from server.audit.notary import Keyring, Notary
from server.audit.sequencer import Sequencer, SequencerSettings
from server.audit.sinks import FileSink, Sink, WebhookSink
from server.config import AuditConfig
from server.db.pool import Database


@dataclass(frozen=True, slots=True)
class LogKeeper:
    """The running parts."""

    sequencer: Sequencer
    notary: Notary
    couriers: tuple[Courier, ...]


def sinks(config: AuditConfig) -> list[Sink]:
    """Where checkpoints go; the configuration has seen to it that there is one."""
    found: list[Sink] = []
    if config.checkpoint_file is not None:
        found.append(FileSink(config.checkpoint_file))
    if config.checkpoint_webhook:
        found.append(WebhookSink(config.checkpoint_webhook))
    return found


@asynccontextmanager
async def log_keeper(
    config: AuditConfig,
    dsn: str,
    database: Database,
    registry: CollectorRegistry,
    settings: SequencerSettings | None = None,
) -> AsyncIterator[LogKeeper]:
    """Keeps the log until the end of the block; then the batch at hand is finished, and what it added is signed."""
    notary = Notary(Keyring(config.key, config.old_keys), config.checkpoint_interval)
    sequencer = Sequencer(dsn, notary, settings)
    couriers = tuple(Courier(database, sink, sequencer.leads) for sink in sinks(config))
    metrics = LogMetrics(registry)
    writing = asyncio.create_task(sequencer.run(), name="audit-sequencer")
    beside = [asyncio.create_task(courier.keep_pushing(), name=f"audit-{courier.sink}") for courier in couriers]
    beside.append(
        asyncio.create_task(metrics.keep_sampling(database, sequencer, notary, couriers), name="audit-metrics")
    )
    try:
        yield LogKeeper(sequencer, notary, couriers)
    finally:
        sequencer.request_stop()
        await asyncio.wait({writing})
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
