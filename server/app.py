"""The composition root: opens everything in order, wires it, serves, drains, and closes in the reverse order.

The only file that knows all the others.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
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
from server.accounting.invoice_wiring import accounting_handler, invoices
from server.accounting.invoices import Invoices
from server.accounting.recording import Recording
from server.accounting.wiring import BooksAccess, books_access
from server.accounting_config import AccountingChoice
from server.audit.desk import AuditDesk, audit_desk
from server.audit.erasures import ErasureFeed
from server.audit.handler import AuditHandler
from server.audit.subjects import Subjects
from server.audit.tailing import TailLimits
from server.chat.assistant import Assistant, Tools
from server.chat.cache.sources import DeskSources
from server.chat.cache.warming import Warming
from server.chat.desk_tools import DeskTools
from server.chat.following import Following, StreamLimits
from server.chat.handler import ChatHandler
from server.chat.order_talk import OrderTalk
from server.chat.relay import SharedTick
from server.chat.runlog import RunLogs
from server.chat.runner import Runner
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
from server.order.feed import invoice_changed
from server.order.handler import OrderHandler
from server.order.invoicing import Invoicing
from server.order.showing import order_with_invoice
from server.order.terms import MoneyRules
from server.order.watching import WatchLimits
from server.order.wiring import OrderDesk, order_desk
from server.paging import PageTokens
from server.people_wiring import subjects
from server.served import REGISTER, SERVED, SERVICES
from server.waiting import first_of

log = logging.getLogger(__name__)

_GOODBYE = 2.0  # seconds for calls that are still open when everything is settled
_HEALTH = {Status.NOT_SERVING: health_pb2.HealthCheckResponse.NOT_SERVING}


@dataclass(frozen=True, slots=True)
class Application:
    """A server that serves."""

    servers: grpc_servers.GrpcServers
    monitor: HealthMonitor
    following: Following
    orders: OrderDesk
    audit: AuditDesk
    runner: Runner
    registry: CollectorRegistry
    drain: float
    broken: asyncio.Event

    async def run_until(self, stop: asyncio.Event) -> None:
        """Serves until `stop` is set, then drains: NOT_SERVING, followers sent elsewhere, runs let finish."""
        await first_of(stop, self.broken)
        log.info("draining", extra={"runs": self.runner.active})
        await self.monitor.stop_serving()
        self.following.drain()
        self.orders.watching.drain()
        self.audit.drain()
        await self.runner.drain(self.drain)
        # Runs are settled and followers are on their way: what is still open are streams that nobody will end.
        await self.servers.stop(_GOODBYE)
        log.info("drained")
        if self.broken.is_set():
            raise SystemExit(1)


@asynccontextmanager
async def application(config: Config, process: int) -> AsyncIterator[Application]:
    """The server of one process, listening; closes everything at the end."""
    sentry.start(config.observability.sentry_dsn.reveal(), config.environment, config.observability.release)
    registry = CollectorRegistry()
    broken = asyncio.Event()
    async with AsyncExitStack() as stack:
        stores = await open_stores(stack, config, process)
        catalogue = Catalogue(stores.database)
        flags = Flags(stores.database, config.store.database_url.reveal())
        desk = await stack.enter_async_context(_desk(config, stores, catalogue, flags, registry))
        monitor, health = _health(stores, desk)
        logs = RunLogs(keep=config.stream.log_ttl)
        tokens = PageTokens(config.auth.state_secret)
        invoicing = invoices(config.accounting)
        orders = _orders(config, stores, catalogue, tokens, invoicing)
        access = await stack.enter_async_context(books_access(config, stores.database, stores.redis))
        audit = _audit(config, stores.database, tokens)
        erasures = ErasureFeed(config.store.database_url.reveal(), stores.vault, (logs.forget,))
        runner = _runner(stores, desk.assistant, _tools(stores, catalogue, orders), logs)
        following = Following(stores.database, stores.vault, logs, _limits(config), orders.proposals)
        chain = await stack.enter_async_context(
            open_chain(config.auth, stores.database, stores.redis, stores.recorder, registry)
        )
        people = subjects(stores.database, stores.vault, config.audit.key)
        release = config.observability.release
        warming = Warming(stores.database, desk.cache, partial(_public_tools, stores, catalogue))
        ops = OpsDesk(stores.database, flags, desk.figures, warming)
        handlers = _handlers(
            stores, catalogue, orders, audit, people, tokens, runner, following, monitor, release, ops
        ) | {"tria.accounting.v1.AccountingService": _accounting(config, stores, invoicing, tokens, access)}
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
            runner.keep_leases(),
            orders.bell.keep_listening(),
            audit.bell.keep_listening(),
            erasures.keep_listening(),
            flags.keep_listening(),
            metrics.keep_sampling(stores.database, runner, stores.recorder, monitor),
        ):
            _own(stack, asyncio.create_task(task), broken)
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            stack.enter_context(serving_metrics(config.listen.metrics, registry))
        await servers.start()
        stack.push_async_callback(servers.stop, 0)
        yield Application(servers, monitor, following, orders, audit, runner, registry, config.stream.drain, broken)


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


def _runner(
    stores: Stores, answering: Assistant, tools: Callable[[Task, Callable[[], None]], Tools], logs: RunLogs
) -> Runner:
    owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    tick = SharedTick(asyncio.get_running_loop())
    return Runner(owner, stores.database, stores.vault, stores.recorder, answering, tools, logs, tick)


def _handlers(
    stores: Stores,
    catalogue: Catalogue,
    orders: OrderDesk,
    audit: AuditDesk,
    people: Subjects,
    tokens: PageTokens,
    runner: Runner,
    following: Following,
    monitor: HealthMonitor,
    release: str,
    ops: OpsDesk,
) -> dict[str, object]:
    """By service. Abstract for mypy, because they leave RPCs to the layer that answers NOT_IMPLEMENTED."""
    shown = stores.recorder.shown
    return {
        "tria.audit.v1.AuditService": AuditHandler(audit, people, shown),
        "tria.chat.v1.ChatService": ChatHandler(  # type: ignore[abstract]
            ConversationService(stores.database, stores.vault, stores.recorder, tokens, runner, following),
            Sending(stores.database, stores.vault, stores.recorder, runner),
            following,
            runner,
            orders.proposals,
            shown,
        ),
        "tria.knowledge.v1.KnowledgeService": KnowledgeHandler(
            stores.knowledge.service, stores.knowledge.search, tokens, shown
        ),
        "tria.order.v1.OrderService": OrderHandler(catalogue, tokens, shown, orders),
        "tria.ops.v1.OpsService": OpsHandler(monitor, release, ops, tokens, shown),
    }


def _limits(config: Config) -> StreamLimits:
    return StreamLimits(config.stream.heartbeat, config.stream.max_age)


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

    recording = Recording(stores.database, partial(invoice_changed, invoicing=invoicing))
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
        config.store.database_url.reveal(),
        invoicing,
        MoneyRules(config.money.tax_rates, config.money.currency),
        tokens,
        WatchLimits(config.stream.heartbeat, config.stream.max_age),
    )


def _audit(config: Config, database: Database, tokens: PageTokens) -> AuditDesk:
    return audit_desk(
        database,
        config.store.database_url.reveal(),
        (config.audit.key.public, *config.audit.old_keys),
        tokens,
        TailLimits(config.stream.heartbeat, config.stream.max_age),
    )


def _health(stores: Stores, desk: Desk) -> tuple[HealthMonitor, grpc_health.aio.HealthServicer]:
    """The monitor, and the grpc.health.v1 service that follows it."""
    servicer = grpc_health.aio.HealthServicer()

    async def changed(health: Health) -> None:
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


def _own(stack: AsyncExitStack, task: asyncio.Task[None], broken: asyncio.Event) -> None:
    """Ends the task with the application. One that ends by itself is broken, and the process with it: without its
    leases or its health checks a server only looks alive."""

    def ended(done: asyncio.Task[None]) -> None:
        if not done.cancelled():
            log.critical("background task ended", extra={"task_name": done.get_name()}, exc_info=done.exception())
            broken.set()

    task.add_done_callback(ended)

    async def end() -> None:
        task.cancel()
        await asyncio.wait({task})

    stack.push_async_callback(end)
