"""What the job worker does, wired: `tria worker`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import redis.asyncio
from prometheus_client import CollectorRegistry, Counter

from server.accounting.invoice_changes import InvoiceChanges
from server.accounting.invoice_wiring import entrypoints, invoices, periodics
from server.accounting.wiring import books_access, open_books
from server.audit.elsewhere import forget_in_redis
from server.audit.subjects import FINISH
from server.audit.wiring import log_keeper
from server.config import Config
from server.db.pool import Database, PoolSettings
from server.errors import AppError
from server.jobs import Entrypoint, JobRuntime, JobSettings, Periodic
from server.knowledge.service import KnowledgeService
from server.knowledge.vectors import KnowledgeIndexUnavailable
from server.knowledge.wiring import knowledge
from server.metrics_listener import serving_metrics
from server.order.feed import invoices_changed
from server.owned_tasks import own
from server.people_wiring import open_vault, subjects
from server.redis_client import open_redis
from server.retention import Retention
from server.retention_policy import cutoffs
from server.waiting import first_of
from server.work_metrics import WorkMetrics

log = logging.getLogger(__name__)


async def run(config: Config, stop: asyncio.Event) -> None:
    """Runs jobs until `stop` is set, then finishes the running ones. Raises SystemExit when a part of the log's keeper
    has ended: a worker without it only looks alive."""
    settings = PoolSettings(
        min_size=1,
        max_size=5,
        recycle=config.store.pool_recycle,
        application_name="tria-worker",
        pooled=config.store.pooled,
    )
    registry = CollectorRegistry()
    dsn = config.store.direct.reveal()
    client = open_redis(config.store.redis_url.reveal(), cluster=config.store.redis_cluster, timeout=5.0)
    broken = asyncio.Event()
    async with (
        client,
        Database(config.store.database_url.reveal(), settings) as database,
        knowledge(config, database) as known,
        log_keeper(config.audit, dsn, database, registry, broken),
        _invoicing(config, database, client) as (invoice_jobs, invoice_clock),
    ):
        vault = open_vault(config.auth)
        people = subjects(database, vault, config.audit.key)
        left_over = Counter("tria_retention_failures", "Kinds of data that a night left.", ["kind"], registry=registry)
        retention = Retention(database, config.retention, failed=lambda kind: left_over.labels(kind).inc())
        for kind in cutoffs(config.retention, datetime.now(UTC)):
            left_over.labels(kind)  # 0 from the start: the first failure is an increase and not a new series
        entries = [
            Entrypoint("index_document", known.service.index_document, concurrency=2),
            Entrypoint(FINISH, partial(people.finish, elsewhere=partial(forget_in_redis, client))),
            *invoice_jobs,
        ]
        runtime = JobRuntime(
            dsn,
            entries,
            [
                Periodic("retention", "41 3 * * *", retention.nightly),
                Periodic("repair_knowledge", "*/10 * * * *", partial(_repair, known.service)),
                *invoice_clock,
            ],
            JobSettings(grace=config.stream.drain),
        )
        metrics = WorkMetrics(registry, [entry.name for entry in entries])
        async with AsyncExitStack() as stack:
            stack.enter_context(serving_metrics(config.listen.worker_metrics, registry))
            own(stack, asyncio.create_task(metrics.keep_sampling(database, runtime.stats), name="work-metrics"), broken)
            await _work(runtime, stop, broken)
    if broken.is_set():
        raise SystemExit(1)


async def _work(runtime: JobRuntime, stop: asyncio.Event, broken: asyncio.Event) -> None:
    working = asyncio.create_task(runtime.run(), name="jobs")
    stopping = asyncio.create_task(first_of(stop, broken), name="stop")
    log.info("working")
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await asyncio.wait({stopping})
    runtime.request_stop()
    await working


@asynccontextmanager
async def _invoicing(
    config: Config, database: Database, client: redis.asyncio.Redis
) -> AsyncIterator[tuple[Sequence[Entrypoint], Sequence[Periodic]]]:
    """The jobs of invoices; none without an accounting system, where invoices wait for one."""
    async with books_access(config, database, client) as access, open_books(config, access) as books:
        if books is None:
            yield (), ()
            return
        recording = InvoiceChanges(database, partial(invoices_changed, invoicing=invoices(config.accounting)))
        yield entrypoints(recording, books.jobs, books.people), periodics(recording, books.jobs)


async def _repair(service: KnowledgeService) -> None:
    """Asks again for vectors that are missing: a held job, a lost index, another embedding model."""
    try:
        if queued := await service.repair():
            log.warning("vectors asked for again", extra={"documents": queued})
    except (AppError, KnowledgeIndexUnavailable) as problem:
        log.info("vectors not looked after: %s", problem)
