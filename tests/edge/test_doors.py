"""The other doors: native gRPC, gRPC-Web, TLS with HTTP/2, browsers from other origins, pages, metrics."""

from __future__ import annotations

import asyncio
import ssl
import struct
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from tests.edge.conftest import Edge
from tests.support.edge import Tokens
from tria.chat.v1 import chat_event_pb2, chat_service_pb2, chat_service_pb2_grpc
from tria.order.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc

ORIGIN = "http://localhost:5173"
SEND = "/tria.chat.v1.ChatService/SendMessage"


def metadata(tokens: Tokens) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {tokens.good()}")]


def web_frames(body: bytes) -> list[tuple[int, bytes]]:
    """gRPC-Web frames: (flags, payload); flag 0x80 marks the trailers."""
    found = []
    while body:
        flags, size = struct.unpack(">BI", body[:5])
        found.append((flags, body[5 : 5 + size]))
        body = body[5 + size :]
    return found


def web_request(message: Any) -> bytes:
    payload: bytes = message.SerializeToString()
    return struct.pack(">BI", 0, len(payload)) + payload


@pytest.mark.parametrize("tls", [False, True])
async def test_native_grpc(edge: Edge, tokens: Tokens, tls: bool) -> None:
    credentials = grpc.ssl_channel_credentials(edge.settings.certificate.read_bytes())
    channel = (
        grpc.aio.secure_channel(f"localhost:{edge.settings.https_port}", credentials)
        if tls
        else grpc.aio.insecure_channel(edge.target)
    )
    async with channel:
        stub: Any = chat_service_pb2_grpc.ChatServiceStub(channel)
        request = chat_service_pb2.SendMessageRequest(conversation="conversations/c1", text="go")
        events = [event async for event in stub.SendMessage(request, metadata=metadata(tokens))]
    assert [event.seq for event in events] == [1, 2, 3, 4, 5]


async def test_native_errors_keep_code_and_details(edge: Edge, tokens: Tokens) -> None:
    async with grpc.aio.insecure_channel(edge.target) as channel:
        stub: Any = chat_service_pb2_grpc.ChatServiceStub(channel)
        request = chat_service_pb2.SendMessageRequest(conversation="conversations/c1", text="refuse")
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.SendMessage(request, metadata=metadata(tokens)).read()
    status = rpc_status.from_call(failure.value)
    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert status.details[0].type_url.endswith("ErrorInfo")


@pytest.mark.parametrize("size", [2_500_000, 7_000_000])
async def test_native_message_above_the_limit_is_resource_exhausted(edge: Edge, tokens: Tokens, size: int) -> None:
    async with grpc.aio.insecure_channel(edge.target) as channel:
        chat: Any = chat_service_pb2_grpc.ChatServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await chat.Chat(chat_service_pb2.ChatRequest(message="x" * size), metadata=metadata(tokens))
    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert edge.upstream.calls == []


async def test_native_health_but_neither_watch_nor_reflection(edge: Edge, tokens: Tokens) -> None:
    async with grpc.aio.insecure_channel(edge.target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

        watch = health.Watch(health_pb2.HealthCheckRequest(), metadata=[*metadata(tokens)])
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await watch.read()
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED

        for version in ("v1", "v1alpha"):
            reflect: Any = channel.unary_unary(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await reflect(b"")
            assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_import_may_be_large_in_total(edge: Edge, tokens: Tokens) -> None:
    product = order_pb2.Product(name="products/box", display_name="x" * 200)
    rows = 20_000  # above the 2 MiB that any other call may send

    async def products() -> Any:
        for line in range(rows):
            yield order_service_pb2.ImportProductsRequest(product=product, line=line)

    async with grpc.aio.insecure_channel(edge.target) as channel:
        stub: Any = order_service_pb2_grpc.OrderServiceStub(channel)
        await stub.ImportProducts(products(), metadata=metadata(tokens))
    assert edge.upstream.calls[0].request > 4_000_000


async def test_grpc_web_over_http_1(http: httpx.AsyncClient) -> None:
    request = chat_service_pb2.SendMessageRequest(conversation="conversations/c1", text="go")
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    response = await http.post(SEND, content=web_request(request), headers=headers)

    assert response.headers["content-type"].startswith("application/grpc-web")
    *messages, (flags, trailers) = web_frames(response.content)
    assert [chat_event_pb2.ChatEvent.FromString(payload).seq for _, payload in messages] == [1, 2, 3, 4, 5]
    assert flags == 0x80
    assert b"grpc-status:0" in trailers.replace(b" ", b"")


async def test_grpc_web_error_has_its_status(http: httpx.AsyncClient) -> None:
    request = chat_service_pb2.SendMessageRequest(conversation="conversations/c1", text="refuse")
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    response = await http.post(SEND, content=web_request(request), headers=headers)
    assert response.headers["grpc-status"] == "8"
    assert response.headers["grpc-status-details-bin"]


async def test_tls_sends_hsts(edge: Edge) -> None:
    context = ssl.create_default_context(cafile=str(edge.settings.certificate))
    async with httpx.AsyncClient(base_url=edge.tls_url, verify=context) as client:
        response = await client.get("/health")
    assert response.status_code == 200
    assert response.headers["strict-transport-security"] == "max-age=31536000"


async def test_preflight_of_an_allowed_origin(anonymous: httpx.AsyncClient, edge: Edge) -> None:
    headers = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    response = await anonymous.options("/v1/conversations/c1:send", headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in response.headers["access-control-allow-headers"]
    assert "PATCH" in response.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in response.headers
    assert edge.upstream.calls == []


async def test_answers_and_refusals_are_readable_by_an_allowed_origin(
    http: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    for response in (
        await http.get("/v1/conversations/c1", headers={"origin": ORIGIN}),
        await http.get("/v1/nothing", headers={"origin": ORIGIN}),
        await anonymous.get("/v1/conversations/c1", headers={"origin": ORIGIN, "authorization": "Bearer bad"}),
    ):
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert "x-request-id" in response.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:5173.evil.example"])
async def test_other_origins_get_nothing(http: httpx.AsyncClient, origin: str) -> None:
    response = await http.get("/v1/conversations/c1", headers={"origin": origin})
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("path", "kind", "cache"),
    [
        ("/", "text/html; charset=utf-8", "no-store"),
        ("/index.html", "text/html; charset=utf-8", "no-store"),
        ("/page.js", "text/javascript; charset=utf-8", "no-store"),
        ("/assets/app-1a2b3c.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
    ],
)
async def test_pages(anonymous: httpx.AsyncClient, path: str, kind: str, cache: str) -> None:
    response = await anonymous.get(path)
    assert (response.status_code, response.headers["content-type"]) == (200, kind)
    assert response.headers["cache-control"] == cache
    assert response.headers["content-security-policy"].startswith("default-src 'self';")


@pytest.mark.parametrize("path", ["/missing.html", "/assets/missing.js", "/console/"])
async def test_missing_page_is_404(anonymous: httpx.AsyncClient, path: str) -> None:
    assert (await anonymous.get(path)).status_code == 404


async def test_page_changes_without_a_restart(anonymous: httpx.AsyncClient, edge: Edge) -> None:
    (edge.settings.pages / "session.json").write_text('{"turn": 1}')
    assert (await anonymous.get("/session.json")).json() == {"turn": 1}
    (edge.settings.pages / "session.json").write_text('{"turn": 2}')
    assert (await anonymous.get("/session.json")).json() == {"turn": 2}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:18600", 200),
        ("127.0.0.1:18600", 200),
        ("[::1]:18600", 200),
        ("rebound.example:18600", 404),
        ("localhost.rebound.example", 404),
        ("127.0.0.1.rebound.example:18600", 404),
        ("rebound.example:18600:127.0.0.1", 404),
        ("192.0.2.7", 404),
    ],
)
@pytest.mark.parametrize("path", ["/session.json", "//session.json", "/console/../session.json"])
async def test_demo_session_is_for_this_machine_only(edge: Edge, path: str, host: str, status: int) -> None:
    """Else a page elsewhere whose name is made to point here reads the demo's tokens (DNS rebinding)."""
    (edge.settings.pages / "session.json").write_text('{"token": "demo"}')
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.http_port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert (b'"demo"' in answer) == (status == 200)


async def test_metrics_listener_shows_metrics_and_nothing_else(edge: Edge) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{edge.settings.metrics_port}") as client:
        text = (await client.get("/stats/prometheus")).text
        assert "envoy_cluster_upstream_rq_total" in text
        for path in ("/config_dump", "/quitquitquit", "/", "/stats"):
            assert (await client.get(path)).status_code == 404
        assert (await client.post("/stats/prometheus")).status_code == 404
