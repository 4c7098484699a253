"""What the gateway does with JSON requests: routing, checks before the server, and the shape of its refusals."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import Any

import httpx
import pytest

from tests.edge.conftest import Edge
from tests.support.edge import Tokens, until


def error(response: httpx.Response, status: int, code: int, reason: str) -> dict[str, Any]:
    """Check that `response` is a google.rpc.Status of the contract's shape, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/json")
    body: dict[str, Any] = response.json()
    assert body["code"] == code
    info = body["details"][0]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert (info["reason"], info["domain"]) == (reason, "tria")
    return body


async def test_json_reaches_the_rpc_and_comes_back(http: httpx.AsyncClient, edge: Edge) -> None:
    response = await http.get("/v1/conversations/c1")

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert (answer["name"], answer["title"]) == ("conversations/c1", "hello")
    assert answer["controllerEpoch"] == "0"  # zeros are answers, int64 is a string
    assert edge.upstream.calls[0].method == "GetConversation"


async def test_server_errors_keep_their_details(http: httpx.AsyncClient) -> None:
    error(await http.get("/v1/conversations/missing"), 404, 5, "RESOURCE_NOT_FOUND")


async def test_update_takes_name_from_path_and_mask_from_query(http: httpx.AsyncClient, edge: Edge) -> None:
    response = await http.patch("/v1/orders/o1?updateMask=note", json={"note": "by noon"})

    assert response.status_code == 200, response.text
    request = edge.upstream.calls[0].request
    assert request.order.name == "orders/o1"
    assert list(request.update_mask.paths) == ["note"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/nothing"),
        ("POST", "/v1/conversations/c1"),
        ("DELETE", "/v1/conversations/c1"),
        ("GET", "/api/chatbot"),
        ("POST", "/health"),
        ("GET", "/webhooks/xero"),
        ("POST", "/tria.chat.v1.ChatService/Chat"),  # JSON to a gRPC path: no second door
        ("POST", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
        ("POST", "/grpc.channelz.v1.Channelz/GetTopChannels"),
        ("GET", "/stats/prometheus"),
        ("GET", "/admin"),
    ],
)
async def test_unknown_method_is_404(http: httpx.AsyncClient, edge: Edge, method: str, path: str) -> None:
    error(await http.request(method, path, json={} if method == "POST" else None), 404, 5, "UNKNOWN_METHOD")
    assert edge.upstream.calls == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"message": "hi"', "end"),
        (b'{"message": "hi"} trailing', "end of input"),
        (b"[]", "Root element"),
        (b'{"message": {"deep": 1}}', "message"),
        (b"\xff\xfe", ""),
    ],
)
async def test_malformed_body_is_400(http: httpx.AsyncClient, edge: Edge, content: bytes, says: str) -> None:
    body = error(await http.post("/api/chatbot", content=content), 400, 3, "MALFORMED_MESSAGE")
    assert says in body["message"]
    assert edge.upstream.calls == []


async def test_unknown_query_parameter_is_400(http: httpx.AsyncClient, edge: Edge) -> None:
    body = error(await http.get("/v1/conversations?nonsense=1"), 400, 3, "MALFORMED_MESSAGE")
    assert "nonsense" in body["message"]
    assert edge.upstream.calls == []


async def test_body_cannot_overrule_the_name_in_the_path(http: httpx.AsyncClient, edge: Edge) -> None:
    body = {"conversation": "conversations/of-another-outlet", "text": "hi"}
    error(await http.post("/v1/conversations/c1:send", json=body), 400, 3, "MALFORMED_MESSAGE")
    assert edge.upstream.calls == []


@pytest.mark.parametrize("chunked", [False, True])
async def test_large_body_is_413(http: httpx.AsyncClient, edge: Edge, chunked: bool) -> None:
    text = json.dumps({"message": "x" * 3_000_000}).encode()

    async def pieces() -> Any:
        for start in range(0, len(text), 65536):
            yield text[start : start + 65536]

    error(await http.post("/api/chatbot", content=pieces() if chunked else text), 413, 8, "MALFORMED_MESSAGE")
    assert edge.upstream.calls == []


async def test_body_just_below_the_limit_passes(http: httpx.AsyncClient, edge: Edge) -> None:
    response = await http.post("/api/chatbot", json={"message": "x" * 1_900_000})
    assert response.status_code == 200, response.text
    assert len(edge.upstream.calls[0].request.message) == 1_900_000


async def test_document_of_3_mib_passes(http: httpx.AsyncClient, edge: Edge) -> None:
    body = {"filename": "terms.txt", "content": base64.b64encode(b"x" * 3_145_728).decode()}
    response = await http.post("/v1/documents:import", json=body)
    assert response.status_code == 200, response.text
    assert edge.upstream.calls[0].request == 3_145_728


async def test_document_of_8_mib_is_refused_before_it_is_sent(edge: Edge) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.http_port)
    try:
        writer.write(b"POST /v1/documents:import HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: key\r\n")
        writer.write(b"Content-Length: 8388608\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    finally:
        writer.close()
        await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 413 ")
    assert edge.upstream.calls == []


async def test_unknown_transfer_encoding_is_not_called_busy(edge: Edge) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.http_port)
    try:
        writer.write(b"POST /api/chatbot HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: identity, bogus\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"SERVER_BUSY" not in answer
    assert b"MALFORMED_MESSAGE" in answer


async def test_large_headers_are_431(http: httpx.AsyncClient) -> None:
    response = await http.get("/v1/conversations/c1", headers={"x-padding": "x" * 40_000})
    error(response, 431, 8, "METADATA_TOO_LARGE")


async def test_webhook_body_arrives_untouched(anonymous: httpx.AsyncClient, edge: Edge) -> None:
    raw = b'{"events": [],   "entropy": "\\u00e9 kept as it was written"}\n'
    headers = {"x-xero-signature": "c2ln", "content-type": "application/json"}
    response = await anonymous.post("/webhooks/xero", content=raw, headers=headers)

    assert response.status_code == 200, response.text
    call = edge.upstream.calls[0]
    assert call.request.body.data == raw
    assert call.metadata["x-xero-signature"] == "c2ln"


@pytest.mark.parametrize("path", ["/health", "/healthz"])
async def test_health_is_public(anonymous: httpx.AsyncClient, path: str) -> None:
    response = await anonymous.get(path)
    assert (response.status_code, response.json()["status"]) == (200, "SERVING")


async def test_request_id_goes_in_and_comes_out_once(http: httpx.AsyncClient, edge: Edge) -> None:
    mine = "0b6f3a2e-4a6e-4d0e-9a53-0d8f5be7c3a1"
    response = await http.get("/v1/conversations/c1", headers={"x-request-id": mine})
    assert response.headers.get_list("x-request-id") == [mine]
    assert edge.upstream.calls[0].metadata["x-request-id"] == mine

    refused = await http.get("/v1/nothing", headers={"x-request-id": mine})
    assert refused.json()["details"][0]["metadata"]["request_id"] == mine


async def test_every_answer_carries_the_security_headers(http: httpx.AsyncClient) -> None:
    for path in ("/", "/v1/conversations/c1", "/v1/conversations/missing", "/v1/nothing", "/v1/conversations?x=1"):
        headers = (await http.get(path)).headers
        assert headers["content-security-policy"].startswith("default-src 'self';"), path
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "no-referrer", path
        assert headers["cache-control"] == "no-store", path
        assert "strict-transport-security" not in headers, path
        assert not {"server", "x-envoy-upstream-service-time", "grpc-accept-encoding"} & set(headers), path


async def test_access_log_holds_no_secret(http: httpx.AsyncClient, edge: Edge, tokens: Tokens) -> None:
    await http.get("/v1/conversations/c1/runs/r1:sse?ticket=very-secret-ticket-0001", headers={"x-api-key": "key-0001"})
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{edge.settings.admin_port}") as admin:
        await admin.post("/reopen_logs")  # flushes; by itself Envoy does so every 10 s
    await until(lambda: ":sse" in edge.settings.access_log.read_text())

    text = edge.settings.access_log.read_text()
    line = [json.loads(line) for line in text.splitlines() if ":sse" in line][-1]
    assert line["path"] == "/v1/conversations/c1/runs/r1:sse"
    assert line["rpc"] == "/tria.chat.v1.ChatService/StreamRunSse"
    assert (line["method"], line["status"]) == ("GET", 200)
    assert not re.search(r"very-secret|key-0001|eyJ|[Bb]earer", text)
