"""What is broken on a game day, the alert that must tell, and what its runbook says to do.

A fault is made from outside, as life makes it: signals, full memory, a model that is slow, a book-keeping system that
refuses. A mitigation does what monitoring/runbooks/ALERT.md says under that heading.
"""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import redis.asyncio

from tests.gameday.ground import Ground

Act = Callable[[Ground], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """`says` is for people; `mitigation` names the line of the runbook that `end` follows."""

    says: str
    alert: str
    mitigation: str
    begin: Act
    end: Act


def hang(part: str) -> Act:
    """The part is there and does nothing."""

    async def begin(ground: Ground) -> None:
        ground.signal(part, signal.SIGSTOP)

    return begin


def wake(part: str) -> Act:
    async def end(ground: Ground) -> None:
        ground.signal(part, signal.SIGCONT)

    return end


def kill(part: str) -> Act:
    """Also what a person does with a part that hangs: whoever supervises it starts it again."""

    async def act(ground: Ground) -> None:
        ground.signal(part, signal.SIGKILL)

    return act


async def server_dies(ground: Ground) -> None:
    """Again and again: a single death is mended before anybody need be told."""

    async def keep_killing() -> None:
        while True:
            if "server" in ground.system.pids():
                ground.signal("server", signal.SIGKILL)
            await asyncio.sleep(0.3)

    ground.scratch["killing"] = asyncio.create_task(keep_killing())


async def server_may_live(ground: Ground) -> None:
    """What killed it is gone; the supervisor does the rest."""
    ground.scratch["killing"].cancel()
    await asyncio.wait({ground.scratch["killing"]})


def model(*options: str) -> Act:
    async def act(ground: Ground) -> None:
        await ground.model.serve(*options)

    return act


async def model_gone(ground: Ground) -> None:
    await ground.model.stop()


async def xero_refuses(ground: Ground) -> None:
    """An order is confirmed whose invoice Xero does not take."""
    fault = {"kind": "validation_error", "method": "PUT", "path": "Invoices", "times": 50, "message": "No such account"}
    sandbox = ground.system.ready["xero_sandbox"]
    (await ground.client.post(f"{sandbox}/sandbox/faults", json=fault)).raise_for_status()
    draft = {"lines": [{"sku": "PB-10-K", "quantity": "100"}], "outlet": "outlets/pizza-pronto-bugis"}
    made = await ground.client.post(
        "/v1/orders", params={"requestId": str(uuid.uuid4())}, json=draft, headers=ground.customer()
    )
    order = made.raise_for_status().json()["name"]
    body = {"requestId": str(uuid.uuid4())}
    sure = await ground.client.post(f"/v1/{order}:confirm", json=body, headers=ground.customer())
    sure.raise_for_status()
    ground.scratch["order"] = order


async def retry_invoice(ground: Ground) -> None:
    sandbox = ground.system.ready["xero_sandbox"]
    (await ground.client.delete(f"{sandbox}/sandbox/faults")).raise_for_status()
    body = {"requestId": str(uuid.uuid4())}
    path = f"/v1/{ground.scratch['order']}:retryInvoice"
    (await ground.client.post(path, json=body, headers=ground.as_staff())).raise_for_status()


async def nowhere_to_record(ground: Ground) -> None:
    """The spool's directory cannot be written to, and then PostgreSQL hangs."""
    spool = ground.state / "audit-spool"
    if spool.is_dir():
        await asyncio.to_thread(spool.rename, spool.with_name("audit-spool-aside"))
    spool.write_text("not a directory")
    ground.signal("postgres", signal.SIGSTOP)


async def recording_again(ground: Ground) -> None:
    spool = ground.state / "audit-spool"
    spool.unlink()
    aside = spool.with_name("audit-spool-aside")
    if aside.exists():
        await asyncio.to_thread(aside.rename, spool)
    ground.signal("postgres", signal.SIGCONT)


def _redis(ground: Ground) -> redis.asyncio.Redis:
    return redis.asyncio.Redis.from_url(ground.environment("TRIA_REDIS_URL"))


async def redis_small(ground: Ground) -> None:
    async with _redis(ground) as client:
        used = int((await client.info("memory"))["used_memory"])
        await client.config_set("maxmemory", int(used * 1.04))


async def redis_large(ground: Ground) -> None:
    async with _redis(ground) as client:
        await client.config_set("maxmemory", "256mb")


async def many_connections(ground: Ground) -> None:
    ground.scratch["connections"] = [await ground.connect() for _ in range(150)]


async def fewer_connections(ground: Ground) -> None:
    connection = await ground.connect()
    await connection.fetch(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'game' and pid <> $1",
        connection.get_server_pid(),
    )
    await connection.close()


async def long_transaction(ground: Ground) -> None:
    connection = ground.scratch["long"] = await ground.connect()
    await connection.execute("begin; select count(*) from tenant")


async def cancel_transaction(ground: Ground) -> None:
    connection = await ground.connect()
    await connection.execute("select pg_terminate_backend($1)", ground.scratch["long"].get_server_pid())
    await connection.close()


async def old_tokens(ground: Ground) -> None:
    async def knock() -> None:
        while True:
            await ground.client.get("/v1/orders", headers={"authorization": "Bearer old.and.wrong"})
            await asyncio.sleep(0.05)

    ground.scratch["knocking"] = asyncio.create_task(knock())


async def client_told(ground: Ground) -> None:
    ground.scratch["knocking"].cancel()
    await asyncio.wait({ground.scratch["knocking"]})


def _alertmanager(ground: Ground) -> int:
    pids = (ground.state / "monitoring" / "pids.json").read_text()
    return int(pids.split('"prometheus-alertmanager": ')[1].split(",")[0].rstrip("}\n"))


async def alertmanager_hangs(ground: Ground) -> None:
    os.kill(_alertmanager(ground), signal.SIGSTOP)


async def alertmanager_again(ground: Ground) -> None:
    os.kill(_alertmanager(ground), signal.SIGKILL)


_AGAIN = "Start it again"
FAULTS = (
    Fault("the server dies", "ServerDown", "`make run` does it by itself", server_dies, server_may_live),
    Fault("the worker hangs", "WorkerDown", "Start it", hang("worker"), kill("worker")),
    Fault("PostgreSQL hangs", "PostgresAway", "`kill -CONT PID`", hang("postgres"), wake("postgres")),
    Fault("Redis hangs", "RedisAway", _AGAIN, hang("valkey"), kill("valkey")),
    Fault("Chroma hangs", "ChromaAway", _AGAIN, hang("chroma"), kill("chroma")),
    Fault("the gateway hangs", "GatewayDown", _AGAIN, hang("envoy"), kill("envoy")),
    Fault("the model is slow", "LatencyP95High", "cause found", model("--latency-ms", "7000"), model()),
    Fault("the model is gone", "ModelAway", "Outage: wait", model_gone, model()),
    Fault("Xero refuses an invoice", "InvoicesStopped", ":retryInvoice", xero_refuses, retry_invoice),
    Fault("nothing can be recorded", "AuditNotWritable", "Not writable", nowhere_to_record, recording_again),
    Fault("Redis is nearly full", "RedisMemoryHigh", "More memory", redis_small, redis_large),
    Fault(
        "connections run out", "PostgresConnectionsHigh", "pg_terminate_backend", many_connections, fewer_connections
    ),
    Fault("a transaction stays open", "PostgresSlowQueries", "pg_cancel_backend", long_transaction, cancel_transaction),
    Fault("a client with an old token", "CredentialsRefused", "tell them", old_tokens, client_told),
    Fault("Alertmanager hangs", "AlertsNotDelivered", "start it", alertmanager_hangs, alertmanager_again),
)
