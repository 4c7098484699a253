"""A call that nobody vouches for stops at the gateway, in the shape of its door; what is public does not."""

from __future__ import annotations

import struct
from typing import Any

import grpc
import httpx
import pytest

from tests.edge.conftest import Edge
from tests.edge.test_requests import error
from tests.support.edge import Tokens
from tria.chat.v1 import chat_service_pb2, chat_service_pb2_grpc
from tria.ops.v1 import ops_service_pb2, ops_service_pb2_grpc

GET_CONVERSATION = "/tria.chat.v1.ChatService/GetConversation"
NATIVE_STREAMS = [
    "/tria.chat.v1.ChatService/SendMessage",
    "/tria.order.v1.OrderService/ImportProducts",
    "/tria.knowledge.v1.KnowledgeService/ImportDocument",
    "/tria.audit.v1.AuditService/EraseSubject",
    GET_CONVERSATION,
]


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer"}])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/conversations/c1"),
        ("POST", "/v1/conversations/c1:send"),
        ("POST", "/api/chatbot"),
        ("POST", "/v1/documents:import"),
        ("GET", "/v1/conversations/c1/runs/r1:resume"),
        ("GET", "/health/../v1/conversations/c1"),
        ("POST", "/v1/conversations/c1:send?x=/health"),
    ],
)
async def test_missing_credential_over_json(
    anonymous: httpx.AsyncClient, edge: Edge, method: str, path: str, headers: dict[str, str]
) -> None:
    response = await anonymous.request(method, path, headers=headers, json={} if method == "POST" else None)
    body = error(response, 401, 16, "CREDENTIALS_MISSING")
    assert body["message"] == "credentials are needed"
    assert body["details"][0]["metadata"]["request_id"] == response.headers["x-request-id"]
    assert edge.upstream.calls == []


@pytest.mark.parametrize("method", NATIVE_STREAMS)
async def test_missing_credential_over_grpc_needs_no_body(edge: Edge, method: str) -> None:
    """Refused on the headers alone: nothing is ever written to these calls."""
    async with grpc.aio.insecure_channel(edge.target) as channel:
        open_call: Any = channel.stream_stream(method)
        call = open_call(timeout=10)
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        assert await call.details() == "credentials are needed"
    assert edge.upstream.calls == []


async def test_missing_credential_over_grpc_web(anonymous: httpx.AsyncClient, edge: Edge) -> None:
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    response = await anonymous.post(GET_CONVERSATION, content=struct.pack(">BI", 0, 0), headers=headers)
    assert response.headers["grpc-status"] == "16"
    assert response.headers["grpc-message"] == "credentials are needed"
    assert response.headers["content-type"].startswith("application/grpc-web")
    assert edge.upstream.calls == []


async def test_bad_token_is_not_excused_by_a_key(anonymous: httpx.AsyncClient, edge: Edge, tokens: Tokens) -> None:
    headers = {"x-api-key": "service-key", "authorization": f"Bearer {tokens.bad()['other key']}"}
    error(await anonymous.get("/v1/conversations/c1", headers=headers), 401, 16, "TOKEN_INVALID")
    assert edge.upstream.calls == []


@pytest.mark.parametrize("key", [b"made-up", b"", b"\xff\xfe"])
async def test_keys_never_take_a_place_of_the_tokens(anonymous: httpx.AsyncClient, edge: Edge, key: bytes) -> None:
    """Whatever bytes they are made of: only the server can tell a good one."""
    before = await edge.stat("cluster.server.upstream_rq_total"), await edge.stat("cluster.unproven.upstream_rq_total")
    assert (await anonymous.get("/v1/conversations/c1", headers=[(b"x-api-key", key)])).status_code == 200
    after = await edge.stat("cluster.server.upstream_rq_total"), await edge.stat("cluster.unproven.upstream_rq_total")
    assert (after[0] - before[0], after[1] - before[1]) == (0, 1)


async def test_public_calls_need_nothing_through_any_door(anonymous: httpx.AsyncClient, edge: Edge) -> None:
    async with grpc.aio.insecure_channel(edge.target) as channel:
        ops: Any = ops_service_pb2_grpc.OpsServiceStub(channel)
        await ops.CheckHealth(ops_service_pb2.CheckHealthRequest())
        chat: Any = chat_service_pb2_grpc.ChatServiceStub(channel)
        request = chat_service_pb2.StreamRunSseRequest(run="conversations/c1/runs/r1", ticket="ticket-0123456789")
        assert [frame async for frame in chat.StreamRunSse(request)]
    path = "/v1/conversations/c1/runs/r1:sse?ticket=ticket-0123456789"
    for response in (await anonymous.get("/health"), await anonymous.get("/healthz"), await anonymous.get(path)):
        assert response.status_code == 200
    assert (await anonymous.post("/webhooks/xero", content=b"{}")).status_code == 200
