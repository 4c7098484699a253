"""What the job worker does, wired: `tria worker`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import redis.asyncio

from server.accounting.invoice_wiring import entrypoints, invoices, periodics
from server.accounting.recording import Recording
from server.accounting.wiring import books_access, open_books
from server.config import Config
from server.db.pool import Database, PoolSettings
from server.errors import AppError
from server.housekeeping import forget_old_requests
from server.jobs import Entrypoint, JobRuntime, JobSettings, Periodic
from server.knowledge.service import KnowledgeService
from server.knowledge.vectors import KnowledgeIndexUnavailable
from server.knowledge.wiring import knowledge
from server.order.feed import invoice_changed

log = logging.getLogger(__name__)


async def run(config: Config, stop: asyncio.Event) -> None:
    """Runs jobs until `stop` is set, then finishes the running ones."""
    settings = PoolSettings(min_size=1, max_size=5, recycle=config.store.pool_recycle, application_name="tria-worker")
    async with (
        Database(config.store.database_url.reveal(), settings) as database,
        knowledge(config, database) as known,
        _invoicing(config, database) as (invoice_jobs, invoice_clock),
    ):
        runtime = JobRuntime(
            config.store.database_url.reveal(),
            [Entrypoint("index_document", known.service.index_document, concurrency=2), *invoice_jobs],
            [
                Periodic("forget_old_requests", "23 * * * *", partial(forget_old_requests, database)),
                Periodic("repair_knowledge", "*/10 * * * *", partial(_repair, known.service)),
                *invoice_clock,
            ],
            JobSettings(grace=config.stream.drain),
        )
        working = asyncio.create_task(runtime.run(), name="jobs")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        log.info("working")
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await asyncio.wait({stopping})
        runtime.request_stop()
        await working


@asynccontextmanager
async def _invoicing(
    config: Config, database: Database
) -> AsyncIterator[tuple[Sequence[Entrypoint], Sequence[Periodic]]]:
    """The jobs of invoices; none without an accounting system, where invoices wait for one."""
    client = redis.asyncio.Redis.from_url(config.store.redis_url.reveal(), socket_timeout=1.0, protocol=3)
    async with client, books_access(config, database, client) as access, open_books(config, access) as books:
        if books is None:
            yield (), ()
            return
        recording = Recording(database, partial(invoice_changed, invoicing=invoices(config.accounting)))
        yield entrypoints(recording, books.jobs, books.people), periodics(recording, books.jobs)


async def _repair(service: KnowledgeService) -> None:
    """Asks again for vectors that are missing: a held job, a lost index, another embedding model."""
    try:
        if queued := await service.repair():
            log.warning("vectors asked for again", extra={"documents": queued})
    except (AppError, KnowledgeIndexUnavailable) as problem:
        log.info("vectors not looked after: %s", problem)
