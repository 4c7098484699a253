"""What the edge tests stand on: a small real gRPC server behind a real Envoy, and tokens that are signed for real.

The upstream speaks TRIA's protos and answers by simple rules, so that a test says what the *gateway* does: every call
that arrives is kept with its metadata, streams pause until the test lets them go on, errors carry real details.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import grpc
import jwt
from google.api import httpbody_pb2
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_status import rpc_status

from server.caller import Role
from server.embedded.envoy import EdgeSettings
from server.embedded.installed import installed_file
from server.embedded.issuer import AUDIENCE, ISSUER, Claims, Issuer
from server.embedded.loopback import free_ports
from server.rollout import split
from tria.accounting.v1 import accounting_service_pb2, accounting_service_pb2_grpc
from tria.chat.v1 import chat_event_pb2, chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from tria.knowledge.v1 import knowledge_service_pb2, knowledge_service_pb2_grpc
from tria.ops.v1 import ops_pb2, ops_service_pb2_grpc
from tria.order.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the upstream saw it."""

    method: str
    request: Any
    metadata: Mapping[str, str]


@dataclass
class Upstream:
    """The test's handle on the server behind the gateway."""

    port: int
    calls: list[Call] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)  # lets a paused stream send its next event
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)  # a stream's caller went away
    health: HealthServicer = field(default_factory=HealthServicer)
    broken: bool = False  # a bad version: every other call fails although it says that it is healthy

    def record(self, method: str, request: Any, context: Context) -> None:
        metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
        self.calls.append(Call(method, request, metadata))

    async def set_serving(self, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        await self.health.set("", status)


async def refuse(context: Context, code: grpc.StatusCode, reason: str) -> NoReturn:
    """Abort as interceptors/errors.py does: google.rpc.Status with ErrorInfo."""
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="tria"))
    number: int = code.value[0]
    await context.abort_with_status(
        rpc_status.to_status(status_pb2.Status(code=number, message="refused by the test", details=[info]))
    )


class _Chat(chat_service_pb2_grpc.ChatServiceServicer):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def GetConversation(self, request: Any, context: Any) -> chat_pb2.Conversation:
        self._upstream.record("GetConversation", request, context)
        if self._upstream.broken and len(self._upstream.calls) % 2:
            await refuse(context, grpc.StatusCode.INTERNAL, "INTERNAL")
        if request.name.endswith("/missing"):
            await refuse(context, grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
        return chat_pb2.Conversation(name=request.name, title="hello")

    async def CreateConversation(self, request: Any, context: Any) -> chat_pb2.Conversation:
        self._upstream.record("CreateConversation", request, context)
        return chat_pb2.Conversation(name="conversations/c1", title=request.conversation.title)

    async def Chat(self, request: Any, context: Any) -> chat_service_pb2.ChatReply:
        self._upstream.record("Chat", request, context)
        return chat_service_pb2.ChatReply(text=request.message[:10], conversation="conversations/c1")

    async def SendMessage(self, request: Any, context: Any) -> AsyncIterator[chat_event_pb2.ChatEvent]:
        """`paced`: one event each time the test says so; `refuse`: an error first; `hang`: never ends by itself."""
        self._upstream.record("SendMessage", request, context)
        run = f"{request.conversation}/runs/r1"
        if request.text == "refuse":
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        try:
            yield chat_event_pb2.ChatEvent(run=run, seq=1, run_accepted=chat_event_pb2.RunAccepted())
            for seq, piece in enumerate(("Hello", ", ", "world\n\n"), start=2):
                if request.text == "paced":
                    await self._upstream.go_on.wait()
                    self._upstream.go_on.clear()
                yield chat_event_pb2.ChatEvent(run=run, seq=seq, text_delta=chat_event_pb2.TextDelta(text=piece))
            if request.text == "hang":
                await asyncio.Event().wait()
            yield chat_event_pb2.ChatEvent(run=run, seq=5, completed=chat_event_pb2.Completed(text="Hello, world"))
        except (asyncio.CancelledError, GeneratorExit):  # the latter when it is caught at a `yield`
            self._upstream.cancelled.set()
            raise

    async def StreamRunSse(self, request: Any, context: Any) -> AsyncIterator[httpbody_pb2.HttpBody]:
        self._upstream.record("StreamRunSse", request, context)
        for frame in (b": open\n\n", b"retry: 500\nid: 1\ndata: {}\n\n", b"id: 2\ndata: {}\n\n"):
            yield httpbody_pb2.HttpBody(content_type="text/event-stream", data=frame)


class _Order(order_service_pb2_grpc.OrderServiceServicer):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def ImportProducts(
        self, request_iterator: AsyncIterator[Any], context: Any
    ) -> order_service_pb2.ImportProductsResponse:
        size = 0
        async for request in request_iterator:
            size += request.ByteSize()
        self._upstream.record("ImportProducts", size, context)
        return order_service_pb2.ImportProductsResponse(created=1)

    async def UpdateOrder(self, request: Any, context: Any) -> order_pb2.Order:
        self._upstream.record("UpdateOrder", request, context)
        return order_pb2.Order(name=request.order.name)


class _Accounting(accounting_service_pb2_grpc.AccountingServiceServicer):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def ReceiveXeroWebhook(self, request: Any, context: Any) -> accounting_service_pb2.ReceiveXeroWebhookResponse:
        self._upstream.record("ReceiveXeroWebhook", request, context)
        return accounting_service_pb2.ReceiveXeroWebhookResponse()


class _Knowledge(knowledge_service_pb2_grpc.KnowledgeServiceServicer):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def ImportDocument(self, request: Any, context: Any) -> knowledge_service_pb2.ImportDocumentResponse:
        self._upstream.record("ImportDocument", len(request.content), context)
        return knowledge_service_pb2.ImportDocumentResponse(unchanged=True)


class _Ops(ops_service_pb2_grpc.OpsServiceServicer):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def CheckHealth(self, request: Any, context: Any) -> ops_pb2.Health:
        self._upstream.record("CheckHealth", request, context)
        return ops_pb2.Health(status=ops_pb2.Health.SERVING, version="test")


async def start_upstream(port: int) -> tuple[Upstream, grpc.aio.Server]:
    """A server on loopback `port`, healthy; the caller stops it."""
    upstream = Upstream(port)
    server = grpc.aio.server()
    # abstract for mypy only: a method that is not there answers UNIMPLEMENTED
    chat_service_pb2_grpc.add_ChatServiceServicer_to_server(_Chat(upstream), server)  # type: ignore[abstract]
    order_service_pb2_grpc.add_OrderServiceServicer_to_server(_Order(upstream), server)  # type: ignore[abstract]
    accounting_service_pb2_grpc.add_AccountingServiceServicer_to_server(_Accounting(upstream), server)  # type: ignore[abstract]
    knowledge_service_pb2_grpc.add_KnowledgeServiceServicer_to_server(_Knowledge(upstream), server)  # type: ignore[abstract]
    ops_service_pb2_grpc.add_OpsServiceServicer_to_server(_Ops(upstream), server)  # type: ignore[abstract]
    health_pb2_grpc.add_HealthServicer_to_server(upstream.health, server)
    await upstream.set_serving(True)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return upstream, server


def edge_settings(directory: Path, issuer: Issuer, upstream_port: int) -> EdgeSettings:
    """Settings for one Envoy of a test, with a tiny set of pages in `directory`/www."""
    pages = directory / "www"
    (pages / "assets").mkdir(parents=True)
    (pages / "index.html").write_text("<!doctype html><title>page</title>")
    (pages / "page.js").write_text("'use strict';")
    (pages / "assets" / "app-1a2b3c.js").write_text("'use strict';")
    split.write(directory / "split" / "split.yaml", 0)
    (directory / "secret.json").write_text('{"outside": "of www"}')
    http, https, admin, metrics = free_ports(4)
    return EdgeSettings(
        http_port=http,
        https_port=https,
        admin_port=admin,
        metrics_port=metrics,
        upstream=f"127.0.0.1:{upstream_port}",
        descriptor=installed_file("proto/gen/tria.binpb"),
        jwks=issuer.jwks_path,
        issuer=ISSUER,
        audience=AUDIENCE,
        certificate=issuer.certificate_path,
        certificate_key=issuer.certificate_key_path,
        secret=directory / "certificate.json",
        pages=pages,
        access_log=directory / "access.log",
        split=directory / "split" / "split.yaml",
        origins=("http://localhost:5173",),
    )


class Tokens:
    """Good tokens of the embedded issuer, and every bad one that a gateway must refuse."""

    def __init__(self, issuer: Issuer, directory: Path) -> None:
        self._issuer = issuer
        self._key = (issuer.jwks_path.parent / "signing.pem").read_text()
        other = Issuer(directory / "other-issuer")
        other.prepare()
        self._other_key = (other.jwks_path.parent / "signing.pem").read_text()

    def good(self, subject: str = "ann") -> str:
        return self._issuer.mint(Claims(Role.CUSTOMER, "demo", subject, "outlet-1"))

    def bad(self) -> dict[str, str]:
        """By what is wrong with it."""
        good = self._payload()
        return {
            "expired": self._sign(good | {"exp": datetime.now(UTC) - timedelta(hours=1)}),
            "without expiry": self._sign({key: value for key, value in good.items() if key != "exp"}),
            "other audience": self._sign(good | {"aud": "somebody-else"}),
            "other issuer": self._sign(good | {"iss": "https://evil.example"}),
            "other key": jwt.encode(good, self._other_key, algorithm="ES256"),
            "alg none": jwt.encode(good, "", algorithm="none"),
            "alg HS256 with the public key": jwt.encode(good, "p" * 64, algorithm="HS256"),
            "cut signature": self._sign(good)[:-8],
            "garbage": "not.a.token",
        }

    def _payload(self) -> dict[str, Any]:
        expiry = datetime.now(UTC) + timedelta(hours=1)
        return {"iss": ISSUER, "aud": AUDIENCE, "exp": expiry, "sub": "ann", "tenant": "demo", "roles": ["ADMIN"]}

    def _sign(self, payload: Mapping[str, Any]) -> str:
        return jwt.encode(dict(payload), self._key, algorithm="ES256")


async def until(condition: Any, *, seconds: float = 15.0) -> None:
    """Poll `condition` (sync or async, truthy at the end); AssertionError when `seconds` pass before."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return
        assert asyncio.get_running_loop().time() < deadline, f"still not true after {seconds} s"
        await asyncio.sleep(0.05)


def process_exists(pid: int) -> bool:
    """Whether `pid` is a live process (a zombie is not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
