"""The composition root: opens everything in order, wires it, serves, drains, and closes in the reverse order.

The only file that knows all the others.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import prometheus_client
import redis.asyncio
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry
from redis.exceptions import RedisError

from interceptors.api_keys import ApiKeys
from interceptors.buckets import Buckets
from interceptors.chain import Chain, Identity, build_chain
from interceptors.jwks import JwksStore
from interceptors.policy import contract
from interceptors.tokens import TokenVerifier
from interceptors.unserved import unserved
from server import grpc_servers, sentry, service_keys
from server.audit.actor import pseudonyms_from
from server.audit.file import AuditFile
from server.audit.recorder import AuditRecorder
from server.audit.spool import Spool
from server.chat.assistant import Tools
from server.chat.desk_tools import DeskTools
from server.chat.following import Following, StreamLimits
from server.chat.handler import ChatHandler
from server.chat.relay import SharedTick
from server.chat.runlog import RunLogs
from server.chat.runner import Runner
from server.chat.sending import Sending
from server.chat.service import ConversationService
from server.chat.wiring import Desk, assistant
from server.config import AuthConfig, Config
from server.db.migrate import pending
from server.db.pool import Database, PoolSettings
from server.health import Health, HealthMonitor, Part, Status
from server.knowledge.handler import KnowledgeHandler
from server.knowledge.wiring import Knowledge, knowledge
from server.metrics import ProcessMetrics
from server.ops.handler import OpsHandler
from server.order.catalogue import Catalogue
from server.order.handler import OrderHandler
from server.order.invoicing import NotConnected
from server.order.reading import Reading
from server.order.terms import MoneyRules
from server.order.watching import WatchLimits
from server.order.wiring import OrderDesk, order_desk
from server.paging import PageTokens
from server.pii.messages import redacted
from server.pii.pseudonym import Pseudonyms
from server.waiting import first_of
from tria.chat.v1 import chat_service_pb2_grpc
from tria.knowledge.v1 import knowledge_service_pb2_grpc
from tria.ops.v1 import ops_service_pb2_grpc
from tria.order.v1 import order_service_pb2_grpc

log = logging.getLogger(__name__)

SERVICES = tuple(service.full_name for service in contract())
_REGISTER: Mapping[str, Callable[[Any, grpc.aio.Server], None]] = {
    "tria.chat.v1.ChatService": chat_service_pb2_grpc.add_ChatServiceServicer_to_server,
    "tria.knowledge.v1.KnowledgeService": knowledge_service_pb2_grpc.add_KnowledgeServiceServicer_to_server,
    "tria.order.v1.OrderService": order_service_pb2_grpc.add_OrderServiceServicer_to_server,
    "tria.ops.v1.OpsService": ops_service_pb2_grpc.add_OpsServiceServicer_to_server,
}
SERVED: Mapping[str, type] = {
    "tria.chat.v1.ChatService": ChatHandler,
    "tria.knowledge.v1.KnowledgeService": KnowledgeHandler,
    "tria.order.v1.OrderService": OrderHandler,
    "tria.ops.v1.OpsService": OpsHandler,
}
"""The handlers of this server; RPCs that they leave out answer NOT_IMPLEMENTED."""

_GOODBYE = 2.0  # seconds for calls that are still open when everything is settled
_HEALTH = {Status.NOT_SERVING: health_pb2.HealthCheckResponse.NOT_SERVING}


class NotReady(Exception):
    """The server cannot start; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Application:
    """A server that serves."""

    servers: grpc_servers.GrpcServers
    monitor: HealthMonitor
    following: Following
    orders: OrderDesk
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
        await self.runner.drain(self.drain)
        # Runs are settled and followers are on their way: what is still open are streams that nobody will end.
        await self.servers.stop(_GOODBYE)
        log.info("drained")
        if self.broken.is_set():
            raise SystemExit(1)


@dataclass(frozen=True, slots=True)
class _Stores:
    """What the parts stand on."""

    database: Database
    redis: redis.asyncio.Redis
    recorder: AuditRecorder
    knowledge: Knowledge


@asynccontextmanager
async def application(config: Config, process: int) -> AsyncIterator[Application]:
    """The server of one process, listening; closes everything at the end."""
    sentry.start(config.observability.sentry_dsn.reveal(), config.environment, config.observability.release)
    registry = CollectorRegistry()
    broken = asyncio.Event()
    async with AsyncExitStack() as stack:
        stores = await _open_stores(stack, config, process)
        desk = await stack.enter_async_context(
            assistant(config.model, stores.knowledge.lexicon, stores.knowledge.embedder)
        )
        monitor, health = _health(stores, desk)
        logs = RunLogs(keep=config.stream.log_ttl)
        catalogue = Catalogue(stores.database)
        tokens = PageTokens(config.auth.state_secret)
        orders = _orders(config, stores.database, tokens)
        runner = Runner(
            f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
            stores.database,
            stores.recorder,
            desk.assistant,
            _tools(stores.knowledge, catalogue, orders.reading),
            logs,
            SharedTick(asyncio.get_running_loop()),
        )
        following = Following(stores.database, logs, StreamLimits(config.stream.heartbeat, config.stream.max_age))
        chain = await stack.enter_async_context(
            open_chain(config.auth, stores.database, stores.redis, stores.recorder, registry)
        )
        handlers = _handlers(
            stores, catalogue, orders, tokens, runner, following, monitor, config.observability.release
        )
        servers = grpc_servers.build(
            config.listen.grpc,
            config.listen.internal,
            chain,
            health,
            [partial(_REGISTER[service], handler) for service, handler in handlers.items()],
            SERVICES,
        )
        log.info("not served yet", extra={"methods": " ".join(unserved(chain.methods.values(), SERVED))})
        metrics = ProcessMetrics(registry)
        await monitor.look()
        for task in (
            monitor.keep_looking(),
            runner.keep_leases(),
            orders.bell.keep_listening(),
            metrics.keep_sampling(stores.database, runner, stores.recorder, monitor),
        ):
            _own(stack, asyncio.create_task(task), broken)
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            _serve_metrics(stack, config, registry)
        await servers.start()
        stack.push_async_callback(servers.stop, 0)
        yield Application(servers, monitor, following, orders, runner, registry, config.stream.drain, broken)


async def _open_stores(stack: AsyncExitStack, config: Config, process: int) -> _Stores:
    settings = PoolSettings(config.store.pool_min, config.store.pool_max, recycle=config.store.pool_recycle)
    database = await stack.enter_async_context(Database(config.store.database_url.reveal(), settings))
    if database.available and (missing := await pending(config.store.database_url.reveal())):
        raise NotReady(f"the database schema is behind by {len(missing)} migrations: run `tria migrate`")
    client = redis.asyncio.Redis.from_url(config.store.redis_url.reveal(), socket_timeout=1.0, protocol=3)
    stack.push_async_callback(client.aclose)
    audit_file = config.observability.audit_file
    numbered = audit_file.with_name(f"{audit_file.stem}.{process}{audit_file.suffix}")
    spool = Spool(audit_file.with_name(f"{audit_file.stem}-spool"))
    recorder = await stack.enter_async_context(
        AuditRecorder(database, spool, AuditFile(numbered), pseudonyms=_pseudonyms(config.auth))
    )
    return _Stores(database, client, recorder, await stack.enter_async_context(knowledge(config, database)))


def _pseudonyms(auth: AuthConfig) -> Pseudonyms:
    return pseudonyms_from(auth.state_secret, auth.pseudonym_keys)


@asynccontextmanager
async def open_chain(
    auth: AuthConfig,
    database: Database,
    redis_client: redis.asyncio.Redis,
    recorder: AuditRecorder,
    registry: CollectorRegistry,
) -> AsyncIterator[Chain]:
    """What every call goes through, with what it needs to live: signing keys and buckets, closed at the end."""
    async with JwksStore(auth.jwks) as keys, Buckets(redis_client) as buckets:
        tokens = TokenVerifier(keys, issuer=auth.issuer, audience=auth.audience)
        yield build_chain(
            registry=registry,
            recorder=recorder,
            identity=Identity(tokens.verify, ApiKeys(partial(service_keys.find, database)).verify, auth.trust_domain),
            buckets=buckets,
            redactor=partial(redacted, pseudonyms=_pseudonyms(auth)),
            gateways=auth.gateways,
            sentry_scope=sentry.call_scope,
            sentry_capture=sentry.capture,
        )


def _handlers(
    stores: _Stores,
    catalogue: Catalogue,
    orders: OrderDesk,
    tokens: PageTokens,
    runner: Runner,
    following: Following,
    monitor: HealthMonitor,
    release: str,
) -> dict[str, object]:
    """By service. Abstract for mypy, because they leave RPCs to the layer that answers NOT_IMPLEMENTED."""
    shown = stores.recorder.shown
    return {
        "tria.chat.v1.ChatService": ChatHandler(  # type: ignore[abstract]
            ConversationService(stores.database, stores.recorder, tokens, runner, following),
            Sending(stores.database, stores.recorder, runner),
            following,
            runner,
            orders.proposals,
            shown,
        ),
        "tria.knowledge.v1.KnowledgeService": KnowledgeHandler(
            stores.knowledge.service, stores.knowledge.search, tokens, shown
        ),
        "tria.order.v1.OrderService": OrderHandler(catalogue, tokens, shown, orders),
        "tria.ops.v1.OpsService": OpsHandler(monitor, release),  # type: ignore[abstract]
    }


def _tools(known: Knowledge, catalogue: Catalogue, orders: Reading) -> Callable[[str, str, Callable[[], None]], Tools]:
    return lambda tenant, outlet, degraded: DeskTools(known.search, catalogue, orders, tenant, outlet, degraded)


def _orders(config: Config, database: Database, tokens: PageTokens) -> OrderDesk:
    return order_desk(
        database,
        config.store.database_url.reveal(),
        NotConnected(),
        MoneyRules(config.money.tax_rates, config.money.currency),
        tokens,
        WatchLimits(config.stream.heartbeat, config.stream.max_age),
    )


def _health(stores: _Stores, desk: Desk) -> tuple[HealthMonitor, grpc_health.aio.HealthServicer]:
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


def _serve_metrics(stack: AsyncExitStack, config: Config, registry: CollectorRegistry) -> None:
    prometheus_client.ProcessCollector(registry=registry)
    prometheus_client.GCCollector(registry=registry)
    listen = config.listen.metrics
    server, thread = prometheus_client.start_http_server(listen.port, listen.host, registry)

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    stack.callback(end)
