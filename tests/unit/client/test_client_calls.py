"""What every call of the Python client carries, what it repeats, and how it fails."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tests.support.scripted import Script
from tests.unit.client.conftest import QUICK
from tria.chat.v1 import chat_pb2, chat_service_pb2
from tria.order.v1 import order_service_pb2
from tria_client import policy
from tria_client.client import TriaClient
from tria_client.errors import TriaError

UNAVAILABLE = status_pb2.Status(code=14, message="away")


def get() -> chat_service_pb2.GetConversationRequest:
    return chat_service_pb2.GetConversationRequest(name="conversations/c1")


async def test_a_read_is_tried_three_times(client: TriaClient, script: Script) -> None:
    script.refusals.extend([UNAVAILABLE] * 2)
    assert (await client.conversations.GetConversation(get())).name == "conversations/c1"
    assert len(script.calls) == 3


async def test_a_read_is_tried_no_more_than_three_times(client: TriaClient, script: Script) -> None:
    script.refusals.extend([UNAVAILABLE] * 3)
    with pytest.raises(TriaError, match="UNAVAILABLE: away"):
        await client.conversations.GetConversation(get())
    assert len(script.calls) == 3


async def test_a_write_is_repeated_with_its_request_id(client: TriaClient, script: Script) -> None:
    script.refusals.extend([UNAVAILABLE] * 2)
    request = chat_service_pb2.CreateConversationRequest()
    await client.conversations.CreateConversation(request)
    seen = [call.request for call in script.calls]
    assert len(seen) == 3
    assert seen[0] == seen[1] == seen[2]
    assert isinstance(seen[0], chat_service_pb2.CreateConversationRequest)
    assert str(uuid.UUID(seen[0].request_id)) == seen[0].request_id
    assert not request.request_id, "the caller's message is not changed"


async def test_a_request_id_of_the_caller_is_kept(client: TriaClient, script: Script) -> None:
    own = str(uuid.uuid4())
    await client.conversations.CreateConversation(chat_service_pb2.CreateConversationRequest(request_id=own))
    sent = script.calls[0].request
    assert isinstance(sent, chat_service_pb2.CreateConversationRequest)
    assert sent.request_id == own


async def test_a_write_without_an_id_is_not_repeated(client: TriaClient, script: Script) -> None:
    script.refusals.append(UNAVAILABLE)
    with pytest.raises(TriaError):
        await client.conversations.CancelRun(chat_service_pb2.CancelRunRequest(name="conversations/c1/runs/r1"))
    assert len(script.calls) == 1


async def test_chat_is_repeated_as_the_same_message_of_the_same_session(client: TriaClient, script: Script) -> None:
    script.refusals.append(UNAVAILABLE)
    reply = await client.chat("hello")
    assert reply.text == "You said hello"
    first, second = [call.request for call in script.calls]
    assert isinstance(first, chat_service_pb2.ChatRequest)
    assert first.client_message_id
    assert first.session_id
    assert first == second


async def test_a_call_carries_its_credential_and_ids(client: TriaClient, script: Script) -> None:
    await client.conversations.GetConversation(get())
    metadata = script.calls[0].metadata
    assert metadata["authorization"] == "Bearer t0"
    assert uuid.UUID(metadata["x-request-id"])
    assert "x-api-key" not in metadata
    assert metadata["user-agent"].startswith("tria-client/")


async def test_an_api_key_is_carried(target: str, script: Script) -> None:
    async with TriaClient(target, api_key="k1", tls=False) as service:
        await service.conversations.GetConversation(get())
    assert script.calls[0].metadata["x-api-key"] == "k1"
    assert "authorization" not in script.calls[0].metadata


async def test_two_credentials_are_refused(target: str) -> None:
    with pytest.raises(ValueError, match="token or api_key"):
        TriaClient(target, token="t", api_key="k")


async def renewed() -> str:
    return "t1"


@pytest.mark.parametrize("token", [lambda: "t1", renewed])
async def test_a_token_may_be_asked_for_each_call(target: str, script: Script, token: Callable[[], str]) -> None:
    async with TriaClient(target, token=token, tls=False) as client:
        await client.conversations.GetConversation(get())
    assert script.calls[0].metadata["authorization"] == "Bearer t1"


async def test_deadlines_are_those_of_the_contract(client: TriaClient, script: Script) -> None:
    await client.conversations.GetConversation(get())
    await client.chat("hello")
    _ = [event async for event in client.send("conversations/c1", "hello")]
    await client.conversations.GetConversation(get(), timeout=3)
    read, chat, stream, own = [call.time_left for call in script.calls]
    assert read == pytest.approx(10, abs=2)
    assert chat == pytest.approx(60, abs=2)
    assert stream is None
    assert own == pytest.approx(3, abs=1)


async def test_an_error_says_everything_that_the_server_said(client: TriaClient, script: Script) -> None:
    status = status_pb2.Status(code=9, message="the price moved")
    info = error_details_pb2.ErrorInfo(reason="PROPOSAL_CHANGED", domain="tria", metadata={"proposal": "proposals/p2"})
    status.details.add().Pack(info)
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(2500)
    status.details.add().Pack(retry)
    violation = error_details_pb2.BadRequest.FieldViolation(field="order.lines[0].sku", description="unknown")
    status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    status.details.add().Pack(chat_pb2.Proposal(name="proposals/p2"))
    script.refusals.append(status)
    with pytest.raises(TriaError) as caught:
        await client.conversations.GetConversation(get())
    error = caught.value
    assert error.code is grpc.StatusCode.FAILED_PRECONDITION
    assert (error.reason, error.message) == ("PROPOSAL_CHANGED", "the price moved")
    assert error.metadata == {"proposal": "proposals/p2"}
    assert error.retry_after == pytest.approx(2.5)
    assert [(one.field, one.description) for one in error.violations] == [("order.lines[0].sku", "unknown")]
    assert error.request_id == script.calls[0].metadata["x-request-id"]
    proposal = error.detail(chat_pb2.Proposal)
    assert proposal is not None
    assert proposal.name == "proposals/p2"
    assert error.detail(chat_pb2.Run) is None


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with TriaClient("127.0.0.1:1", tls=False, backoff=QUICK) as nobody:
        with pytest.raises(TriaError) as caught:
            await nobody.conversations.GetConversation(get(), timeout=5)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert not caught.value.reason


async def test_trailing_metadata_stays_readable(client: TriaClient, script: Script) -> None:
    call = client.conversations.CreateConversation(chat_service_pb2.CreateConversationRequest())
    await call
    assert ("x-idempotent-replay", "true") in tuple(await call.trailing_metadata())


async def test_other_stubs_use_the_same_interceptors(client: TriaClient, script: Script) -> None:
    assert (await client.orders.GetOrder(order_service_pb2.GetOrderRequest(name="orders/o1"))).name == "orders/o1"
    watched = [event.cursor async for event in client.orders.WatchOrders(order_service_pb2.WatchOrdersRequest())]
    assert watched == ["0", "1", "2"]
    assert {call.metadata["authorization"] for call in script.calls} == {"Bearer t0"}


async def test_a_refused_stream_of_another_stub_is_a_tria_error(client: TriaClient, script: Script) -> None:
    script.refusals.append(status_pb2.Status(code=7, message="no"))
    with pytest.raises(TriaError, match="PERMISSION_DENIED: no"):
        _ = [event async for event in client.orders.WatchOrders(order_service_pb2.WatchOrdersRequest())]


async def test_an_import_takes_an_iterable_or_writes(client: TriaClient, script: Script) -> None:
    rows = [order_service_pb2.ImportProductsRequest(line=line) for line in range(3)]
    assert (await client.orders.ImportProducts(iter(rows))).created == 3
    call = client.orders.ImportProducts()
    for row in rows:
        await call.write(row)
    await call.done_writing()
    assert (await call).created == 3


async def test_a_refused_import_is_a_tria_error(client: TriaClient, script: Script) -> None:
    script.refusals.append(status_pb2.Status(code=16, message="who"))
    with pytest.raises(TriaError, match="UNAUTHENTICATED: who"):
        await client.orders.ImportProducts(iter([order_service_pb2.ImportProductsRequest(line=1)]))


def test_only_methods_that_change_nothing_are_in_the_retry_policy() -> None:
    config = json.loads(policy.service_config())
    (entry,) = config["methodConfig"]
    named = {f"/{name['service']}/{name['method']}" for name in entry["name"]}
    mutating = {path for path, method in policy.methods().items() if method.mutates}
    assert mutating
    assert not named & mutating
    assert set(policy.methods()) - named - mutating == {"/tria.chat.v1.ChatService/ResumeRun"}
    assert entry["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert entry["retryPolicy"]["maxAttempts"] <= 3
