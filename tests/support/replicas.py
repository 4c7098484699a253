"""Several server processes over the same stores, each behind a gateway of its own, and the doors that lead to a run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import struct
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import grpc
import httpx
from google.protobuf import json_format

from server.caller import Role
from server.embedded import demo
from server.embedded.envoy import EdgeSettings, EmbeddedEnvoy
from server.embedded.issuer import Claims, Issuer
from server.embedded.loopback import free_ports, listens
from tests.support.app import OUTLET, configuration
from tests.support.edge import edge_settings
from tests.support.stores import eventually
from tria.chat.v1 import chat_event_pb2, chat_service_pb2, chat_service_pb2_grpc

Events = AsyncGenerator[chat_event_pb2.ChatEvent, None]


@dataclass(slots=True)
class Replica:
    """One server process and its gateway."""

    folder: Path
    variables: Mapping[str, str]
    port: int
    edge: EdgeSettings
    envoy: EmbeddedEnvoy
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.edge.http_port}"

    async def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "server", "serve",
                env={**os.environ, **self.variables}, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    async def serves(self) -> bool:
        return await listens(self.port)

    async def kill(self) -> None:
        """As a crash would."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """As a deployment does."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), 60)
        except TimeoutError:
            said = (self.folder / "server.log").read_text(errors="replace")
            raise AssertionError(f"the server on {self.port} does not stop; it said last: {said[-1500:]}") from None


@dataclass
class Replicas:
    """The replicas and somebody who may talk to them."""

    all: list[Replica]
    issuer: Issuer
    channels: dict[int, grpc.aio.Channel] = field(default_factory=dict)
    http: dict[int, httpx.AsyncClient] = field(default_factory=dict)

    def token(self, subject: str = "someone") -> str:
        return self.issuer.mint(Claims(Role.CUSTOMER, demo.TENANT, subject, OUTLET, timedelta(hours=1)))

    def stub(self, replica: Replica) -> chat_service_pb2_grpc.ChatServiceAsyncStub:
        if replica.port not in self.channels:
            options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
            self.channels[replica.port] = grpc.aio.insecure_channel(f"127.0.0.1:{replica.port}", options=options)
        return chat_service_pb2_grpc.ChatServiceStub(self.channels[replica.port])

    def client(self, replica: Replica) -> httpx.AsyncClient:
        if replica.port not in self.http:
            self.http[replica.port] = httpx.AsyncClient(base_url=replica.url, timeout=60)
        return self.http[replica.port]

    async def by_grpc(self, replica: Replica, run: str, after: int, token: str) -> Events:
        request = chat_service_pb2.ResumeRunRequest(run=run, after_seq=after)
        call = self.stub(replica).ResumeRun(request, metadata=(("authorization", f"Bearer {token}"),))
        try:
            async for event in call:
                yield event
        finally:
            call.cancel()

    async def by_json(self, replica: Replica, run: str, after: int, token: str) -> Events:
        headers = {"authorization": f"Bearer {token}"}
        url = f"/v1/{run}:resume?after_seq={after}"
        async with self.client(replica).stream("GET", url, headers=headers) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    yield json_format.Parse(line.removeprefix("data: "), chat_event_pb2.ChatEvent())

    async def by_grpc_web(self, replica: Replica, run: str, after: int, token: str) -> Events:
        body = chat_service_pb2.ResumeRunRequest(run=run, after_seq=after).SerializeToString()
        headers = {"authorization": f"Bearer {token}", "content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
        url, content = "/tria.chat.v1.ChatService/ResumeRun", b"\0" + struct.pack(">I", len(body)) + body
        rest = b""
        async with self.client(replica).stream("POST", url, headers=headers, content=content) as answer:
            answer.raise_for_status()
            async for chunk in answer.aiter_raw():
                rest += chunk
                while len(rest) >= 5 and len(rest) >= 5 + (size := struct.unpack(">I", rest[1:5])[0]):
                    flag, frame, rest = rest[0], rest[5 : 5 + size], rest[5 + size :]
                    if not flag & 0x80:
                        yield chat_event_pb2.ChatEvent.FromString(frame)

    async def ticket(self, replica: Replica, run: str, token: str) -> str:
        headers = {"authorization": f"Bearer {token}"}
        answer = await self.client(replica).post(f"/v1/{run}:ticket", json={}, headers=headers)
        answer.raise_for_status()
        return str(answer.json()["ticket"])

    async def by_sse(self, replica: Replica, run: str, after: int, ticket: str, most: int = 1 << 30) -> Events:
        """As an EventSource reads: bytes up to `most`, whole frames only."""
        headers = {"accept": "text/event-stream"} | ({"last-event-id": str(after)} if after else {})
        rest, taken = "", 0
        url = f"/v1/{run}:sse?ticket={ticket}"
        async with self.client(replica).stream("GET", url, headers=headers) as answer:
            answer.raise_for_status()
            async for chunk in answer.aiter_raw():
                rest += chunk[: most - taken].decode(errors="replace")
                taken += len(chunk)
                while "\n\n" in rest:
                    frame, rest = rest.split("\n\n", 1)
                    if found := re.search(r"^data: (\{\".*)$", frame, re.MULTILINE):
                        yield json_format.ParseDict(json.loads(found[1]), chat_event_pb2.ChatEvent())
                if taken >= most:
                    return

    async def close(self) -> None:
        for channel in self.channels.values():
            await channel.close()
        for client in self.http.values():
            await client.aclose()


@asynccontextmanager
async def replicas(
    folder: Path, urls: Mapping[str, str], settings: Mapping[str, str], *, count: int = 3, gateways: bool = True
) -> AsyncIterator[Replicas]:
    """`count` processes over the stores of `urls`; `settings` are further variables."""
    issuer = Issuer(folder / "issuer")
    issuer.prepare()
    async with AsyncExitStack() as stack:
        made = []
        for number in range(count):
            own = folder / f"replica-{number}"
            own.mkdir()
            port, internal, metrics = free_ports(3)
            variables = configuration(own, issuer, urls) | {
                "TRIA_GRPC_LISTEN": f"127.0.0.1:{port}",
                "TRIA_INTERNAL_LISTEN": f"127.0.0.1:{internal}",
                "TRIA_METRICS_LISTEN": f"127.0.0.1:{metrics}",
                **settings,
            }
            edge = edge_settings(own, issuer, port)
            replica = Replica(own, variables, port, edge, EmbeddedEnvoy(own / "envoy", edge, grace=1))
            await replica.start()
            stack.push_async_callback(replica.stop)
            if gateways:
                await replica.envoy.start()
                stack.push_async_callback(replica.envoy.stop)
            made.append(replica)
        running = Replicas(made, issuer)
        stack.push_async_callback(running.close)
        for replica in made:
            await eventually(replica.serves, within=120)
            if gateways:
                await eventually(lambda replica=replica: _healthy(running.client(replica)), within=60)  # type: ignore[misc]
        yield running


async def _healthy(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health")).is_success
    except httpx.TransportError:
        return False
