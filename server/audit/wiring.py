"""The keeper of the log, wired from the configuration: sequencer, notary, couriers, figures. Runs in `tria worker`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from server.audit.courier import Courier
from server.audit.log_metrics import LogMetrics
from server.audit.notary import Keyring, Notary
from server.audit.sequencer import Sequencer, SequencerSettings
from server.audit.sinks import FileSink, Sink, WebhookSink
from server.config import AuditConfig
from server.db.pool import Database
from server.owned_tasks import own


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
    broken: asyncio.Event,
    settings: SequencerSettings | None = None,
) -> AsyncIterator[LogKeeper]:
    """Keeps the log until the end of the block; then the batch at hand is finished, and what it added is signed.
    `broken` is set when one of the parts ends before."""
    notary = Notary(Keyring(config.key, config.old_keys), config.checkpoint_interval)
    sequencer = Sequencer(dsn, notary, settings)
    couriers = tuple(Courier(database, sink, sequencer.leads) for sink in sinks(config))
    metrics = LogMetrics(registry)
    async with AsyncExitStack() as stack:
        for courier in couriers:
            own(stack, asyncio.create_task(courier.keep_pushing(), name=f"audit-{courier.sink}"), broken)
        sampling = metrics.keep_sampling(database, sequencer, notary, couriers)
        own(stack, asyncio.create_task(sampling, name="audit-metrics"), broken)
        # Not one of those: it survives whatever happens to it, and ends when it is told to.
        writing = asyncio.create_task(sequencer.run(), name="audit-sequencer")
        try:
            yield LogKeeper(sequencer, notary, couriers)
        finally:
            sequencer.request_stop()
            await asyncio.wait({writing})
