"""Who a caller is, as far as the gateway has a say: bad tokens stop here, and nothing else can claim an identity."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import httpx
import pytest

from tests.edge.conftest import Edge
from tests.edge.test_requests import error
from tests.support.edge import Tokens
from tria.chat.v1 import chat_service_pb2, chat_service_pb2_grpc

BAD = [
    "expired", "without expiry", "other audience", "other issuer", "other key", "alg none",
    "alg HS256 with the public key", "cut signature", "garbage",
]  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
async def test_bad_token_is_401_over_json(anonymous: httpx.AsyncClient, edge: Edge, tokens: Tokens, kind: str) -> None:
    headers = {"authorization": f"Bearer {tokens.bad()[kind]}"}
    for method, path in (("GET", "/v1/conversations/c1"), ("GET", "/health"), ("POST", "/v1/conversations/c1:send")):
        response = await anonymous.request(method, path, headers=headers)
        error(response, 401, 16, "TOKEN_EXPIRED" if kind == "expired" else "TOKEN_INVALID")
    assert edge.upstream.calls == []


@pytest.mark.parametrize("kind", BAD)
async def test_bad_token_is_unauthenticated_over_grpc(edge: Edge, tokens: Tokens, kind: str) -> None:
    async with grpc.aio.insecure_channel(edge.target) as channel:
        stub: Any = chat_service_pb2_grpc.ChatServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.GetConversation(
                chat_service_pb2.GetConversationRequest(name="conversations/c1"),
                metadata=[("authorization", f"Bearer {tokens.bad()[kind]}")],
            )
    assert failure.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert edge.upstream.calls == []


async def test_good_token_is_forwarded_for_the_server_to_verify(
    anonymous: httpx.AsyncClient, edge: Edge, tokens: Tokens
) -> None:
    token = f"Bearer {tokens.good()}"
    assert (await anonymous.get("/v1/conversations/c1", headers={"authorization": token})).status_code == 200
    assert edge.upstream.calls[0].metadata["authorization"] == token


async def test_api_key_is_for_the_server_to_judge(anonymous: httpx.AsyncClient, edge: Edge) -> None:
    await anonymous.get("/v1/conversations/c1", headers={"x-api-key": "service-key"})
    assert edge.upstream.calls[0].metadata["x-api-key"] == "service-key"
    assert "authorization" not in edge.upstream.calls[0].metadata


SPOOFED = [
    "x-tria-tenant", "x-tria-subject", "x-user-id", "x-tenant-id", "x-jwt-payload", "x-forwarded-client-cert",
]  # fmt: skip


@pytest.mark.parametrize("signed_in", [True, False])
async def test_identity_headers_never_arrive(
    anonymous: httpx.AsyncClient, edge: Edge, tokens: Tokens, signed_in: bool
) -> None:
    headers = dict.fromkeys(SPOOFED, "evil")
    headers |= {"authorization": f"Bearer {tokens.good()}"} if signed_in else {"x-api-key": "service-key"}
    assert (await anonymous.get("/v1/conversations/c1", headers=headers)).status_code == 200
    assert not set(SPOOFED) & set(edge.upstream.calls[0].metadata)


async def test_headers_with_underscores_are_refused(http: httpx.AsyncClient, edge: Edge) -> None:
    assert (await http.get("/v1/conversations/c1", headers={"x_user_id": "evil"})).status_code == 400
    assert edge.upstream.calls == []


async def test_caller_cannot_pretend_to_be_transcoded(edge: Edge) -> None:
    async with grpc.aio.insecure_channel(edge.target) as channel:
        stub: Any = chat_service_pb2_grpc.ChatServiceStub(channel)
        await stub.GetConversation(
            chat_service_pb2.GetConversationRequest(name="conversations/c1"),
            metadata=[("x-api-key", "key"), ("x-envoy-original-path", "/v1/fake"), ("x-envoy-original-method", "GET")],
        )
    assert not {"x-envoy-original-path", "x-envoy-original-method"} & set(edge.upstream.calls[0].metadata)


async def test_forwarded_for_is_appended_not_believed(http: httpx.AsyncClient, edge: Edge) -> None:
    await http.get("/v1/conversations/c1", headers={"x-forwarded-for": "203.0.113.9"})
    claimed, _, seen = edge.upstream.calls[0].metadata["x-forwarded-for"].partition(",")
    assert (claimed, bool(seen)) == ("203.0.113.9", True)


async def test_token_in_query_or_cookie_is_not_a_token(
    anonymous: httpx.AsyncClient, edge: Edge, tokens: Tokens
) -> None:
    for path, cookie in ((f"/v1/conversations/c1?access_token={tokens.good()}", ""), ("/v1/conversations/c1", "yes")):
        headers = {"cookie": f"access_token={tokens.good()}"} if cookie else {}
        error(await anonymous.get(path, headers=headers), 401, 16, "CREDENTIALS_MISSING")
    assert edge.upstream.calls == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/conversations/../../../secret.json", 404),
        ("/../secret.json", 404),
        ("/%2e%2e/secret.json", 404),
        ("/..%2fsecret.json", 400),
        ("/..%5csecret.json", 400),
        ("/assets/../../secret.json", 404),
        ("/assets/..%2f..%2fsecret.json", 400),
        ("/assets/..", 200),  # is `/`, the page
        ("/V1/conversations/c1", 404),
        ("//v1//conversations//c1", 200),
        ("/health/../v1/conversations/c1", 200),
        ("/page.js%00.html", 400),
        ("/.hidden", 404),
        ("/www", 404),
    ],
)
async def test_path_tricks(edge: Edge, path: str, status: int) -> None:
    """Sent raw: a client library would tidy the path up first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.http_port)
    try:
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: key\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        answer = (await reader.read()).decode(errors="replace")
    finally:
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(f"HTTP/1.1 {status} "), answer
    assert "outside" not in answer


async def test_two_authorization_headers_do_not_pick_the_good_one(edge: Edge, tokens: Tokens) -> None:
    pairs = [("authorization", f"Bearer {tokens.good()}"), ("authorization", f"Bearer {tokens.bad()['other key']}")]
    for order in (pairs, pairs[::-1]):
        async with httpx.AsyncClient(base_url=edge.url, headers=order) as client:
            response = await client.get("/v1/conversations/c1")
        assert response.status_code == 401, "or the server would have to choose between two identities"
    assert edge.upstream.calls == []
