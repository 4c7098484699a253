"""The composition root: opens everything in order, wires it, serves, drains, and closes in the reverse order.

The only file that knows all the others.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry
from redis.exceptions import RedisError

from interceptors.unserved import unserved
from server import grpc_servers, sentry
from server.accounting.handler import AccountingHandler
from server.accounting.invoice_changes import InvoiceChanges
from server.accounting.invoice_wiring import accounting_handler, invoices
from server.accounting.invoices import Invoices
from server.accounting.wiring import BooksAccess, books_access
from server.accounting_config import AccountingChoice
from server.audit.desk import AuditDesk, audit_desk
from server.audit.erasures import ErasureFeed
from server.audit.handler import AuditHandler
from server.audit.subjects import Subjects
from server.chat.assistant import Assistant, Tools
from server.chat.cache.sources import DeskSources
from server.chat.cache.warming import Warming
from server.chat.desk_tools import DeskTools
from server.chat.hand_off_handler import People
from server.chat.hand_off_wiring import people_desk
from server.chat.handler import ChatHandler
from server.chat.order_news import OrderNews
from server.chat.order_talk import OrderTalk
from server.chat.run_wiring import RunDesk, RunParts, run_desk
from server.chat.sending import Sending
from server.chat.service import ConversationService
from server.chat.task import Task
from server.chat.wiring import Desk, Surroundings, assistant
from server.config import Config
from server.db.pool import Connection, Database
from server.foundations import Stores, open_chain, open_stores
from server.health import Health, HealthMonitor, Part, Status
from server.knowledge.handler import KnowledgeHandler
from server.metrics import ProcessMetrics
from server.metrics_listener import serving_metrics
from server.ops.flags import Flags
from server.ops.handler import OpsDesk, OpsHandler
from server.order.catalogue import Catalogue
from server.order.encode import order_message
from server.order.feed import invoices_changed
from server.order.handler import OrderHandler
from server.order.invoicing import Invoicing
from server.order.showing import order_with_invoice
from server.order.terms import MoneyRules
from server.order.wiring import OrderDesk, order_desk
from server.owned_tasks import own
from server.paging import PageTokens
from server.people_wiring import subjects
from server.probe import ALIVE
from server.served import REGISTER, SERVED, SERVICES
from server.stream_life import StreamLimits
from server.waiting import first_of

log = logging.getLogger(__name__)

_GOODBYE = 5.0  # seconds for calls that are still open when everything is settled
_HEALTH = {Status.NOT_SERVING: health_pb2.HealthCheckResponse.NOT_SERVING}


@dataclass(frozen=True, slots=True)
class Application:
    """A server that serves."""

    servers: grpc_servers.GrpcServers
    monitor: HealthMonitor
    chats: RunDesk
    orders: OrderDesk
    audit: AuditDesk
    people: People
    registry: CollectorRegistry
    drain: float
    broken: asyncio.Event

    async def run_until(self, stop: asyncio.Event) -> None:
        """Serves until `stop` is set, then drains: NOT_SERVING, followers sent elsewhere, runs let finish."""
        await first_of(stop, self.broken)
        ends = time.monotonic() + self.drain
        log.info("draining", extra={"runs": self.chats.runner.active})
        await self.monitor.stop_serving()
        self.chats.following.drain()
        self.orders.watching.drain()
        self.people.watching.drain()
        self.audit.drain()
        await self.chats.drain(self.drain)
        # Runs are settled and followers are on their way: what is still open are streams that nobody will end, and
        # calls that came since. What those begin is drained too: from here on nothing can begin.
        await self.servers.stop(_GOODBYE)
        await self.chats.drain_the_rest(max(ends - time.monotonic(), _GOODBYE))
        log.info("drained")
        if self.broken.is_set():
            raise SystemExit(1)


@asynccontextmanager
async def application(config: Config, process: int) -> AsyncIterator[Application]:
    """The server of one process, listening; closes everything at the end."""
    sentry.start(config.observability.sentry_dsn.reveal(), config.environment, config.observability.release)
    registry = CollectorRegistry()
    broken = asyncio.Event()
    dsn = config.store.direct.reveal()
    async with AsyncExitStack() as stack:
        stores = await open_stores(stack, config, process)
        catalogue = Catalogue(stores.database)
        flags = Flags(stores.database, dsn)
        desk = await stack.enter_async_context(_desk(config, stores, catalogue, flags, registry))
        monitor, health = _health(stores, desk)
        tokens = PageTokens(config.auth.state_secret)
        invoicing = invoices(config.accounting)
        orders = _orders(config, stores, catalogue, tokens, invoicing)
        access = await stack.enter_async_context(books_access(config, stores.database, stores.redis))
        audit = _audit(config, stores.database, tokens)
        chats = await stack.enter_async_context(_chats(config, stores, desk.assistant, catalogue, orders))
        people = people_desk(stores.database, stores.vault, dsn, chats.runner, tokens, config.stream)
        forgetful = (chats.logs.forget, chats.mirrors.forget, chats.runner.forget)
        erasures = ErasureFeed(dsn, stores.vault, forgetful)
        chain = await stack.enter_async_context(
            open_chain(config.auth, stores.database, stores.redis, stores.recorder, registry)
        )
        erasable = subjects(stores.database, stores.vault, config.audit.key)
        release, shown = config.observability.release, stores.recorder.shown
        warming = Warming(stores.database, desk.cache, partial(_public_tools, stores, catalogue))
        ops = OpsHandler(monitor, release, OpsDesk(stores.database, flags, desk.figures, warming), tokens, shown)
        handlers = _handlers(stores, catalogue, orders, audit, erasable, tokens, chats, people) | {
            "tria.accounting.v1.AccountingService": _accounting(config, stores, invoicing, tokens, access),
            "tria.ops.v1.OpsService": ops,
        }
        servers = grpc_servers.build(
            config.listen.grpc,
            config.listen.internal,
            chain,
            health,
            [partial(REGISTER[service], handler) for service, handler in handlers.items()],
            SERVICES,
        )
        log.info("not served yet", extra={"methods": " ".join(unserved(chain.methods.values(), SERVED))})
        metrics = ProcessMetrics(registry)
        await monitor.look()
        for task in (
            monitor.keep_looking(),
            *chats.background(dsn),
            orders.bell.keep_listening(),
            people.watching.keep_listening(),
            audit.bell.keep_listening(),
            erasures.keep_listening(),
            flags.keep_listening(),
            metrics.keep_sampling(stores.database, chats.runner, stores.recorder, monitor),
        ):
            own(stack, asyncio.create_task(task), broken)
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            stack.enter_context(serving_metrics(config.listen.metrics, registry))
        await servers.start()
        stack.push_async_callback(servers.stop, 0)
        yield Application(servers, monitor, chats, orders, audit, people, registry, config.stream.drain, broken)


def _desk(
    config: Config, stores: Stores, catalogue: Catalogue, flags: Flags, registry: CollectorRegistry
) -> AbstractAsyncContextManager[Desk]:
    sources = DeskSources(stores.knowledge.service, catalogue)
    around = Surroundings(
        stores.redis,
        stores.database,
        config.auth.state_secret,
        sources,
        registry,
        flags.on,
        config.listen.processes,
    )
    return assistant(config.model, around, stores.knowledge.lexicon, stores.knowledge.embedder)


def _chats(
    config: Config, stores: Stores, answering: Assistant, catalogue: Catalogue, orders: OrderDesk
) -> AbstractAsyncContextManager[RunDesk]:
    parts = RunParts(
        stores.database,
        stores.vault,
        stores.recorder,
        config.store.redis_url.reveal(),
        orders.proposals,
        answering,
        _tools(stores, catalogue, orders),
        config.store.redis_cluster,
    )
    return run_desk(parts, config.stream)


def _handlers(
    stores: Stores,
    catalogue: Catalogue,
    orders: OrderDesk,
    audit: AuditDesk,
    erasable: Subjects,
    tokens: PageTokens,
    chats: RunDesk,
    people: People,
) -> dict[str, object]:
    """By service. Abstract for mypy, because they leave RPCs to the layer that answers NOT_IMPLEMENTED."""
    shown = stores.recorder.shown
    return {
        "tria.audit.v1.AuditService": AuditHandler(audit, erasable, shown),
        "tria.chat.v1.ChatService": ChatHandler(
            ConversationService(stores.database, stores.vault, stores.recorder, tokens, chats.runner, chats.following),
            Sending(stores.database, stores.vault, stores.recorder, chats.runner),
            chats.following,
            orders.proposals,
            people,
            chats.tickets,
            shown,
        ),
        "tria.knowledge.v1.KnowledgeService": KnowledgeHandler(
            stores.knowledge.service, stores.knowledge.search, tokens, shown
        ),
        "tria.order.v1.OrderService": OrderHandler(catalogue, tokens, shown, orders),
    }


def _tools(stores: Stores, catalogue: Catalogue, orders: OrderDesk) -> Callable[[Task, Callable[[], None]], Tools]:
    def tools(task: Task, degraded: Callable[[], None]) -> Tools:
        tenant, outlet = task.caller.tenant, task.conversation.outlet
        talk = OrderTalk(orders.taking, stores.database, stores.vault, task) if outlet else None
        return DeskTools(stores.knowledge.search, catalogue, orders.reading, tenant, outlet, talk, degraded)

    return tools


def _public_tools(stores: Stores, catalogue: Catalogue, tenant: str) -> Tools:
    """What anybody may look up."""
    return DeskTools(stores.knowledge.search, catalogue, None, tenant, "", None, lambda: None)


def _accounting(
    config: Config, stores: Stores, invoicing: Invoices, tokens: PageTokens, access: BooksAccess
) -> AccountingHandler:
    async def show(connection: Connection, tenant: str, order: str) -> bytes:
        return order_message(await order_with_invoice(connection, invoicing, tenant, order)).SerializeToString()

    recording = InvoiceChanges(stores.database, partial(invoices_changed, invoicing=invoicing))
    chosen = config.accounting.books is not AccountingChoice.NONE
    known = (access.connections, access.budget) if chosen else None
    return accounting_handler(config.accounting, recording, show, tokens, stores.recorder.shown, known)


def _orders(
    config: Config, stores: Stores, catalogue: Catalogue, tokens: PageTokens, invoicing: Invoicing
) -> OrderDesk:
    return order_desk(
        stores.database,
        stores.vault,
        catalogue,
        config.store.direct.reveal(),
        invoicing,
        MoneyRules(config.money.tax_rates, config.money.currency),
        tokens,
        StreamLimits(config.stream.heartbeat, config.stream.max_age),
        threads=OrderNews(stores.vault),
    )


def _audit(config: Config, database: Database, tokens: PageTokens) -> AuditDesk:
    return audit_desk(
        database,
        config.store.direct.reveal(),
        (config.audit.key.public, *config.audit.old_keys),
        tokens,
        StreamLimits(config.stream.heartbeat, config.stream.max_age),
    )


def _health(stores: Stores, desk: Desk) -> tuple[HealthMonitor, grpc_health.aio.HealthServicer]:
    """The monitor, and the grpc.health.v1 service that follows it."""
    servicer = grpc_health.aio.HealthServicer()

    async def changed(health: Health) -> None:
        await servicer.set(ALIVE, health_pb2.HealthCheckResponse.SERVING)
        status = _HEALTH.get(health.status, health_pb2.HealthCheckResponse.SERVING)
        for service in ("", *SERVICES):
            await servicer.set(service, status)

    async def redis_answers() -> bool:
        try:
            return bool(await stores.redis.ping())
        except (RedisError, OSError):
            return False

    parts = [
        Part("database", stores.database.ping, vital=True, effect="nothing can be served"),
        Part("redis", redis_answers, vital=False, effect="limits count per process; nothing is cached"),
        Part(
            "knowledge_index",
            stores.knowledge.index.ping,
            vital=False,
            effect="documents are searched by words only",
        ),
        Part(
            "audit",
            stores.recorder.writable,
            vital=False,
            effect="changes are refused: what cannot be recorded is not done",
        ),
        Part("model", desk.model_available, vital=False, effect="the offline assistant answers"),
    ]
    return HealthMonitor(parts, changed), servicer
