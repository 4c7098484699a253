"""What the job worker does, wired: `tria worker`."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from prometheus_client import CollectorRegistry

from server.audit.wiring import log_keeper
from server.config import Config
from server.db.pool import Database, PoolSettings
from server.errors import AppError
from server.housekeeping import forget_old_requests
from server.jobs import Entrypoint, JobRuntime, JobSettings, Periodic
from server.knowledge.service import KnowledgeService
from server.knowledge.vectors import KnowledgeIndexUnavailable
from server.knowledge.wiring import knowledge
from server.metrics_listener import serving_metrics

log = logging.getLogger(__name__)


async def run(config: Config, stop: asyncio.Event) -> None:
    """Runs jobs until `stop` is set, then finishes the running ones."""
    settings = PoolSettings(min_size=1, max_size=5, recycle=config.store.pool_recycle, application_name="tria-worker")
    registry = CollectorRegistry()
    dsn = config.store.database_url.reveal()
    async with (
        Database(dsn, settings) as database,
        knowledge(config, database) as known,
        log_keeper(config.audit, dsn, database, registry),
    ):
        runtime = JobRuntime(
            dsn,
            [Entrypoint("index_document", known.service.index_document, concurrency=2)],
            [
                Periodic("forget_old_requests", "23 * * * *", partial(forget_old_requests, database)),
                Periodic("repair_knowledge", "*/10 * * * *", partial(_repair, known.service)),
            ],
            JobSettings(grace=config.stream.drain),
        )
        with serving_metrics(config.listen.worker_metrics, registry):
            await _work(runtime, stop)


async def _work(runtime: JobRuntime, stop: asyncio.Event) -> None:
    working = asyncio.create_task(runtime.run(), name="jobs")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    log.info("working")
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await asyncio.wait({stopping})
    runtime.request_stop()
    await working


async def _repair(service: KnowledgeService) -> None:
    """Asks again for vectors that are missing: a held job, a lost index, another embedding model."""
    try:
        if queued := await service.repair():
            log.warning("vectors asked for again", extra={"documents": queued})
    except (AppError, KnowledgeIndexUnavailable) as problem:
        log.info("vectors not looked after: %s", problem)
