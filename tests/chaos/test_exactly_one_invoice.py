"""200 orders at once, and everything breaks: the books lose replies, cut connections and refuse; a worker is killed
again and again, PostgreSQL and Valkey once each. In the end there are 200 invoices, none twice, none missing, each over
what its customer confirmed. The books' own count is the judge."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import grpc
import pytest_asyncio
import redis.asyncio

from server.accounting.connecting import connect_by_credentials
from server.accounting.wiring import books_access
from server.audit.changes import operator
from server.caller import Role
from server.config import load
from server.db.migrate import migrate
from server.db.pool import Database, PoolSettings
from server.embedded.issuer import Issuer
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.valkey import EmbeddedValkey
from server.embedded.xero_sandbox.sandbox import Sandbox
from tests.support import orders
from tests.support.accounting import WIDE, xero_variables
from tests.support.app import Desk, configuration, running_desk
from tests.support.orders import TENANT, amount, line
from tests.support.stores import eventually
from tests.support.xero import xero_sandbox
from tria.order.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc

T = TypeVar("T")

COUNT = 200
AT_ONCE = 40  # customers' calls on their way; the others wait their turn in the test
PATIENCE = 240.0  # seconds; a job of a killed worker is taken up after its heartbeat has been silent for 30
REPOSITORY = Path(__file__).parents[2]


@dataclass(slots=True)
class Chaos:
    """A server in this process, two workers as processes of their own, on stores that may be killed."""

    desk: Desk
    sandbox: Sandbox
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    dsn: str
    variables: Mapping[str, str]
    folder: Path
    workers: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start_worker(self) -> asyncio.subprocess.Process:
        log = (self.folder / f"worker-{len(self.workers)}.log").open("wb")
        with log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "server", "worker", env={**os.environ, **self.variables}, cwd=REPOSITORY,
                stdout=log, stderr=log,
            )  # fmt: skip
        self.workers.append(process)
        return process

    async def value(self, sql: str) -> Any:
        """One value; None while PostgreSQL is away."""
        try:
            connection = await asyncpg.connect(self.dsn, timeout=5)
        except (OSError, asyncpg.PostgresError):
            return None
        try:
            return await connection.fetchval(sql)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return None
        finally:
            connection.terminate()

    async def until(self, sql: str, wanted: Callable[[Any], bool], within: float = PATIENCE) -> None:
        async def so() -> bool:
            value = await self.value(sql)
            await asyncio.sleep(0.05)
            return value is not None and wanted(value)

        await eventually(so, within=within)


@pytest_asyncio.fixture
async def chaos(stores_root: Path, tmp_path: Path) -> AsyncIterator[Chaos]:
    place = stores_root / "chaos-invoices"
    place.mkdir(mode=0o711)
    postgres, valkey = EmbeddedPostgres(place / "postgres"), EmbeddedValkey(place / "valkey")
    dsn, redis_url = await postgres.start(), await valkey.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(postgres.stop)
        stack.push_async_callback(valkey.stop)
        await migrate(dsn)
        sandbox = await stack.enter_async_context(xero_sandbox(limits=WIDE, latency=0.3))
        issuer = Issuer(tmp_path / "issuer")
        issuer.prepare()
        urls = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": "http://127.0.0.1:1"}
        variables = {**configuration(tmp_path, issuer, urls), **xero_variables(sandbox.url), "XERO_PROCESSES": "2"}
        await _fill(variables)
        desk = await stack.enter_async_context(
            running_desk(tmp_path, dsn, redis_url, "http://127.0.0.1:1", xero_variables(sandbox.url))
        )
        running = Chaos(desk, sandbox, postgres, valkey, dsn, variables, tmp_path)
        stack.push_async_callback(_end, running)
        yield running


async def _fill(variables: Mapping[str, str]) -> None:
    """Products, an outlet for each order, and the connection to the books."""
    config = load(variables, version="test")
    client = redis.asyncio.Redis.from_url(config.store.redis_url.reveal())
    async with (
        client,
        Database(config.store.direct.reveal(), PoolSettings(min_size=1, max_size=2)) as database,
        books_access(config, database, client) as access,
    ):
        await orders.fill(database)
        async with database.connection() as connection:
            await connection.executemany(
                "insert into outlet (tenant, id, name) values ($1, $2, $2)",
                [(TENANT, _outlet(number)) for number in range(COUNT)],
            )
        await connect_by_credentials(access.connections, access.identity, operator(TENANT), "")


async def _end(chaos: Chaos) -> None:
    for worker in chaos.workers:
        if worker.returncode is None:
            worker.kill()
        await worker.wait()


def _outlet(number: int) -> str:
    return f"outlet-{number:03d}"


def _spoil(sandbox: Sandbox) -> None:
    """What the books will do, some of it to every fifth call or so, until it is used up."""
    for seed, (kind, times) in enumerate(
        (("reply_lost", 8), ("reset", 6), ("server_error", 6), ("slow_after", 4), ("garbage", 2), ("minute_limit", 2))
    ):
        sandbox.faults.script(kind, times=times, probability=Decimal("0.15"), seed=seed, seconds=Decimal(1))
    # The two calls that matter most are hit for certain.
    sandbox.faults.script("reply_lost", method="PUT", path="Invoices", times=2)
    sandbox.faults.script("reset", method="PUT", path="Invoices", times=1)


async def _insist(call: Callable[[], Awaitable[T]]) -> T:
    """As a client does: the same request again while the server cannot."""
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                raise
            await asyncio.sleep(0.2)


async def _place(chaos: Chaos, number: int, turn: asyncio.Semaphore) -> order_pb2.Order:
    """Creates and confirms one order, with the request ids of its first attempts throughout."""
    stub = order_service_pb2_grpc.OrderServiceStub(chaos.desk.channel)
    who = chaos.desk.metadata(
        Role.CUSTOMER, tenant=TENANT, outlet=_outlet(number), subject=f"customer-{uuid.uuid4().hex[:8]}"
    )
    draft = order_pb2.Order(lines=[line("PB-12", str(100 + number)), line("CT", "1")])
    create = order_service_pb2.CreateOrderRequest(order=draft, request_id=str(uuid.uuid4()))
    async with turn:
        made = await _insist(lambda: stub.CreateOrder(create, metadata=who, timeout=20))
        confirm = order_service_pb2.ConfirmOrderRequest(name=made.name, etag=made.etag, request_id=str(uuid.uuid4()))
        confirmed: order_pb2.Order = await _insist(lambda: stub.ConfirmOrder(confirm, metadata=who, timeout=20))
    return confirmed


_SENDING = "select count(*) filter (where state = 'SENDING') from invoice"
_DONE = "select count(*) filter (where state = 'AUTHORISED') from invoice"


async def _kill_worker_while_it_sends(chaos: Chaos, rounds: int) -> int:
    """The first worker never gets far: killed in the middle of a call, and started again. Returns how often."""
    victim, kills = chaos.workers[0], 0
    while kills < rounds:
        await chaos.until(f"select ({_SENDING}) > 0 or ({_DONE}) = {COUNT}", bool)
        if await chaos.value(_DONE) == COUNT:
            break
        victim.send_signal(signal.SIGKILL)
        await victim.wait()
        victim = await chaos.start_worker()
        kills += 1
    return kills


async def _kill(store: EmbeddedPostgres | EmbeddedValkey) -> None:
    assert store.pid is not None
    os.kill(store.pid, signal.SIGKILL)
    await store.wait_exit()
    await store.start()


async def test_200_orders_become_200_invoices_whatever_breaks(chaos: Chaos) -> None:
    for _ in range(2):
        await chaos.start_worker()
    _spoil(chaos.sandbox)
    turn = asyncio.Semaphore(AT_ONCE)
    placing = [asyncio.create_task(_place(chaos, number, turn)) for number in range(COUNT)]
    killing = asyncio.create_task(_kill_worker_while_it_sends(chaos, 4))
    await chaos.until("select count(*) from invoice", lambda count: count >= COUNT // 4)
    await _kill(chaos.postgres)
    await chaos.until("select count(*) from invoice", lambda count: count >= COUNT // 2)
    await _kill(chaos.valkey)
    placed = await asyncio.gather(*placing)
    assert await killing >= 2
    await chaos.until(_DONE, lambda count: count == COUNT)
    _judge(chaos.sandbox, placed)
    assert await chaos.value("select count(*) from customer_order where state = 'CONFIRMED'") == COUNT
    assert await chaos.value("select count(*) from customer_order") == COUNT
    assert await chaos.value("select count(*) from invoice where failed_at is not null") == 0


def _judge(sandbox: Sandbox, placed: list[order_pb2.Order]) -> None:
    state = sandbox.state()
    alive = [each for each in state["invoices"] if each["status"] not in {"VOIDED", "DELETED"}]
    by_order = Counter(each["reference"] for each in alive)
    assert by_order == Counter(order.number for order in placed)
    totals = {each["reference"]: Decimal(each["total"]) for each in alive}
    assert totals == {order.number: amount(order.total) for order in placed}
    assert sum(totals.values()) == sum(amount(order.total) for order in placed)
    assert len(state["invoices"]) == len(placed) == COUNT
    assert state["violations"] == 0
    assert state["faults"]["met"] > 10
