"""What an idle watcher of a conversation costs, and how soon it hears.

    python -m tests.performance.bench_watchers [--watchers 5000] [--seconds 20] [--rounds 20]

A real server process over real PostgreSQL; the watchers are gRPC streams from other processes. Memory is the server's
resident set (with what it had shared once) before and after the watchers came, CPU its own time while nothing happens
but heartbeats, and a round is one staff message in one conversation: from the call to the event at its watcher.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc

from server.app import application
from server.caller import Role
from server.config import load
from server.db.migrate import migrate
from server.db.pool import Database, PoolSettings
from server.embedded import demo
from server.embedded.issuer import Claims, Issuer
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.valkey import EmbeddedValkey
from tests.support.app import OUTLET, configuration
from tria.chat.v1 import chat_service_pb2 as rpc
from tria.chat.v1 import chat_service_pb2_grpc

_PER_PROCESS = 1250  # watchers of one client process
_PER_CALLER = 25
_PER_CONVERSATION = 5


def _serve(ready: Connection, variables: dict[str, str]) -> None:
    async def serve() -> None:
        async with application(load(variables, version="bench"), 0) as app:
            ready.send((os.getpid(), app.servers.internal_port))
            await asyncio.Event().wait()

    asyncio.run(serve())


def _watch(ready: Connection, port: int, tokens: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Opens the watches of each token and holds them; says when every first event has come."""

    async def hold(
        stub: chat_service_pb2_grpc.ChatServiceAsyncStub, token: str, name: str, came: asyncio.Queue[str]
    ) -> None:
        call = stub.WatchConversation(
            rpc.WatchConversationRequest(conversation=name), metadata=(("authorization", f"Bearer {token}"),)
        )
        with suppress(grpc.aio.AioRpcError):
            async for _ in call:
                came.put_nowait(name)

    async def watch() -> None:
        async with AsyncExitStack() as stack:
            came: asyncio.Queue[str] = asyncio.Queue()
            held = []
            for token, names in tokens:
                options = [("grpc.use_local_subchannel_pool", 1)]
                channel = await stack.enter_async_context(
                    grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
                )
                stub = chat_service_pb2_grpc.ChatServiceStub(channel)
                held += [asyncio.create_task(hold(stub, token, name, came)) for name in names]
                for _ in names:
                    await asyncio.wait_for(came.get(), 60)
            ready.send(len(held))
            await asyncio.Event().wait()

    asyncio.run(watch())


async def _prepare(dsn: str, conversations: int) -> None:
    await migrate(dsn)
    async with Database(dsn, PoolSettings(min_size=1, max_size=2)) as database:
        await demo.seed_tenant(database)
        async with database.connection() as connection:
            await connection.execute(
                "insert into conversation (tenant, id, outlet) "
                "select $1, 'c' || n, $2 from generate_series(0, $3) as n",
                demo.TENANT,
                OUTLET,
                conversations,
            )


def _callers(issuer: Issuer, watchers: int) -> list[tuple[str, list[str]]]:
    """A token for every 25 watchers (a caller may hold 32 streams), with the conversations that it watches."""
    callers = []
    for start in range(0, watchers, _PER_CALLER):
        claims = Claims(Role.CUSTOMER, demo.TENANT, f"watcher-{start}", OUTLET, timedelta(hours=1))
        numbers = range(start, min(start + _PER_CALLER, watchers))
        names = [f"conversations/c{number // _PER_CONVERSATION}" for number in numbers]
        callers.append((issuer.mint(claims), names))
    return callers


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _hear(port: int, issuer: Issuer, rounds: int) -> list[float]:
    """Seconds from the call that writes to the event at a watcher of that conversation."""
    staff = issuer.mint(Claims(Role.STAFF, demo.TENANT, "sam", "", timedelta(hours=1)))
    metadata = (("authorization", f"Bearer {staff}"),)
    name, heard = "conversations/c0", []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        found = await stub.GetConversation(rpc.GetConversationRequest(name=name), metadata=metadata)
        held = await stub.TakeOver(
            rpc.TakeOverRequest(
                conversation=name, controller_epoch=found.controller_epoch, request_id=str(uuid.uuid4())
            ),
            metadata=metadata,
        )
        call: Any = stub.WatchConversation(rpc.WatchConversationRequest(conversation=name), metadata=metadata)
        await call.read()
        for number in range(rounds):
            started = time.perf_counter()
            await stub.SendStaffMessage(
                rpc.SendStaffMessageRequest(
                    conversation=name, controller_epoch=held.controller_epoch, text=str(number),
                    request_id=str(uuid.uuid4()),
                ),
                metadata=metadata,
            )  # fmt: skip
            while not (await call.read()).HasField("message"):
                pass
            heard.append(time.perf_counter() - started)
        call.cancel()
    return heard


async def bench(root: Path, watchers: int, seconds: float, rounds: int) -> None:
    """Starts everything, measures, and ends what it started."""
    spawn = multiprocessing.get_context("spawn")
    async with AsyncExitStack() as stack:
        postgres, valkey = EmbeddedPostgres(root / "postgres"), EmbeddedValkey(root / "valkey")
        dsn = await postgres.start()
        stack.push_async_callback(postgres.stop)
        redis_url = await valkey.start()
        stack.push_async_callback(valkey.stop)
        await _prepare(dsn, watchers // _PER_CONVERSATION)
        issuer = Issuer(root / "issuer")
        issuer.prepare()
        urls = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": "http://127.0.0.1:1"}
        mine, theirs = spawn.Pipe()
        server = spawn.Process(target=_serve, args=(theirs, configuration(root, issuer, urls)), daemon=True)
        server.start()
        stack.callback(server.kill)
        pid, port = await asyncio.to_thread(mine.recv)
        await _hear(port, issuer, 1)  # loads what a first call loads
        await asyncio.sleep(2)
        before = _memory(pid)
        callers, each = _callers(issuer, watchers), _PER_PROCESS // _PER_CALLER
        started = time.perf_counter()
        for start in range(0, len(callers), each):
            near, far = spawn.Pipe()
            child = spawn.Process(target=_watch, args=(far, port, callers[start : start + each]), daemon=True)
            child.start()
            stack.callback(child.kill)
            await asyncio.to_thread(near.recv)
        opened = time.perf_counter() - started
        await asyncio.sleep(2)
        after, used = _memory(pid), _cpu(pid)
        await asyncio.sleep(seconds)
        share = (_cpu(pid) - used) / seconds
        heard = await _hear(port, issuer, rounds)
        print(f"server without watchers  {before / 2**20:8.1f} MiB")
        print(f"with {watchers:5d} idle ones    {after / 2**20:8.1f} MiB")
        print(f"one idle watcher         {(after - before) / 1024 / watchers:8.1f} KiB")
        print(f"opened                   {watchers / opened:8.0f} per second")
        print(f"CPU while idle           {share * 100:8.1f} % of a core, a heartbeat to each every 15 s included")
        print(f"heard, median            {statistics.median(heard) * 1000:8.1f} ms after the call began")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watchers", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="tria-bench-"))
    root.chmod(0o711)  # the account that PostgreSQL runs under goes through it
    try:
        asyncio.run(bench(root, asked.watchers, asked.seconds, asked.rounds))
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
