"""The real contract with a servicer of one method: the others refuse properly, and only to who may call them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest_asyncio
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from interceptors.chain import SERVICES, Chain
from server.app import open_chain
from server.audit.recorder import AuditRecorder
from server.audit.spool import Spool
from server.config import AuthConfig
from server.db.pool import Database
from server.settings import Secret
from tests.support.calls import AUDIENCE, ISSUER, Keys, finish, refusal
from tria.chat.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from tria.order.v1 import order_service_pb2, order_service_pb2_grpc


class OneMethod(chat_service_pb2_grpc.ChatServiceServicer):
    """Serves GetConversation alone."""

    async def GetConversation(self, request: Any, _context: Any) -> Any:
        return chat_pb2.Conversation(name=request.name)


@pytest_asyncio.fixture
async def contract_server(
    keys: Keys, database: Database, redis_url: str, tmp_path: Path
) -> AsyncIterator[tuple[grpc.aio.Channel, Chain]]:
    """A server of the real contract, with the chain that the application opens."""
    auth = AuthConfig(str(keys.file), ISSUER, AUDIENCE, "tria", Secret("0123456789abcdef0123456789abcdef"), (), ())
    client = Redis.from_url(redis_url)
    async with (
        AuditRecorder(database, Spool(tmp_path / "spool"), None) as recorder,
        open_chain(auth, database, client, recorder, CollectorRegistry()) as chain,
    ):
        server = grpc.aio.server(interceptors=[chain])
        chat_service_pb2_grpc.add_ChatServiceServicer_to_server(OneMethod(), server)  # type: ignore[abstract]
        reflection.enable_server_reflection([*SERVICES, reflection.SERVICE_NAME], server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel, chain
        await server.stop(0)
    await client.aclose()


def _authorized(keys: Keys, **claims: Any) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {keys.token(**claims)}")]


async def test_the_served_method_answers(contract_server: tuple[grpc.aio.Channel, Chain], keys: Keys) -> None:
    stub = chat_service_pb2_grpc.ChatServiceStub(contract_server[0])
    request = chat_service_pb2.GetConversationRequest(name="conversations/c1")
    answer = await stub.GetConversation(request, metadata=_authorized(keys))
    assert answer.name == "conversations/c1"


async def test_a_generated_stub_and_a_missing_servicer_are_not_implemented(
    contract_server: tuple[grpc.aio.Channel, Chain], keys: Keys
) -> None:
    channel, _ = contract_server
    chat = chat_service_pb2_grpc.ChatServiceStub(channel)
    orders = order_service_pb2_grpc.OrderServiceStub(channel)
    calls = {
        "/tria.chat.v1.ChatService/GetRun": chat.GetRun(
            chat_service_pb2.GetRunRequest(name="conversations/c/runs/r"), metadata=_authorized(keys)
        ),
        "/tria.chat.v1.ChatService/SendMessage": chat.SendMessage(
            chat_service_pb2.SendMessageRequest(conversation="conversations/c", text="hi", client_message_id="m-1"),
            metadata=_authorized(keys),
        ),
        "/tria.order.v1.OrderService/ImportProducts": orders.ImportProducts(iter(()), metadata=_authorized(keys)),
    }
    for path, call in calls.items():
        _, error = await finish(call)
        found = refusal(error)
        assert error is not None
        assert (error.code(), found.info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED")
        assert found.info.metadata["method"] == path


async def test_identity_comes_first(contract_server: tuple[grpc.aio.Channel, Chain], keys: Keys) -> None:
    stub = order_service_pb2_grpc.OrderServiceStub(contract_server[0])
    _, error = await finish(stub.GetOrder(order_service_pb2.GetOrderRequest()))
    assert refusal(error).info.reason == "CREDENTIALS_MISSING"
    metadata = _authorized(keys, roles=["AUDITOR"])
    _, error = await finish(stub.GetOrder(order_service_pb2.GetOrderRequest(), metadata=metadata))
    assert refusal(error).info.reason == "PERMISSION_MISSING"


async def test_every_rpc_of_the_contract_refuses_strangers(
    contract_server: tuple[grpc.aio.Channel, Chain], database: Database
) -> None:
    channel, chain = contract_server
    guarded = [method for method in chain.methods.values() if method.policy.granted_to]
    for method in guarded:
        make: Any = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, False): channel.stream_unary,
            (True, True): channel.stream_stream,
        }[method.request_streaming, method.response_streaming]
        _, error = await finish(make(method.path)(iter([b""]) if method.request_streaming else b""))
        assert refusal(error).info.reason == "CREDENTIALS_MISSING", method.path
    async with database.connection() as connection:
        assert await connection.fetchval("select count(*) from audit_pending") == len(guarded)


async def test_reflection_lists_the_services(contract_server: tuple[grpc.aio.Channel, Chain]) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(contract_server[0])
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    [answer] = [answer async for answer in stub.ServerReflectionInfo(iter([request]))]
    assert set(SERVICES) <= {service.name for service in answer.list_services_response.service}
