"""Every change that a served RPC makes leaves exactly one change leaf of its action; a repeated or refused one none."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from interceptors.policy import contract, read_policies
from interceptors.unserved import unserved
from server.caller import Role
from server.served import SERVED
from tests.rpc.test_proposals import asking, proposed
from tests.support.app import Desk
from tests.support.desk_people import Somebody
from tests.support.orders import Shop, line, new_key
from tests.support.stores import eventually
from tria.audit.v1 import audit_pb2, audit_service_pb2, audit_service_pb2_grpc
from tria.chat.v1 import chat_service_pb2 as chat
from tria.knowledge.v1 import knowledge_service_pb2 as knowledge
from tria.knowledge.v1 import knowledge_service_pb2_grpc
from tria.ops.v1 import ops_pb2, ops_service_pb2_grpc
from tria.ops.v1 import ops_service_pb2 as ops
from tria.order.v1 import order_pb2
from tria.order.v1 import order_service_pb2 as rpc
from tria.policy.v1 import audit_action_pb2

METHODS = read_policies(contract())
DECIDED = ("AcceptOrder", "FulfilOrder", "CompleteOrder", "RejectOrder", "CancelOrder")
TRIED = {
    "OrderService": {"CreateOrder", "UpdateOrder", "ConfirmOrder", "ImportProducts", *DECIDED},
    "ChatService": {
        "ConfirmProposal",
        "RejectProposal",
        "CreateConversation",
        "SendMessage",
        "Chat",
        "StreamChat",
        "CancelRun",
        "CreateStreamTicket",
        "RequestHuman",
        "TakeOver",
        "SendStaffMessage",
        "HandBack",
        "SubmitFeedback",
    },
    "KnowledgeService": {"ImportDocument", "DeleteDocument"},
    "AuditService": {"RecordEvent", "ExportSubject", "EraseSubject"},
    # They need a Xero: tests/rpc/test_accounting_attention.py and test_accounting_webhook.py count their leaves.
    "AccountingService": {"RetryInvoice", "ReceiveXeroWebhook"},
    "OpsService": {"WarmCache", "UpdateFlag"},
}
Metadata = tuple[tuple[str, str], ...]


def test_every_served_change_is_tried_below() -> None:
    """An RPC that fails here is new: add it to a test below and to TRIED."""
    missing = set(unserved(METHODS.values(), SERVED))
    changing = {path for path, method in METHODS.items() if method.policy.mutates} - missing
    tried = {(service, name) for service, names in TRIED.items() for name in names}
    assert {(path.split("/")[1].rpartition(".")[2], path.rpartition("/")[2]) for path in changing} == tried


async def changes(dsn: str, request_id: str) -> list[str]:
    """Actions of the change leaves that a call has left."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("select leaf from audit_pending where request_id = $1", request_id)
    finally:
        await connection.close()
    leaves = [json.loads(row["leaf"]) for row in rows]
    assert [leaf["kind"] for leaf in leaves].count("ACCESS") == 1
    return [leaf["action"] for leaf in leaves if leaf["kind"] == "CHANGE"]


async def left(dsn: str, metadata: Metadata, call: Callable[[Metadata], Any]) -> tuple[Any, list[str]]:
    """The answer of a call and the actions of its change leaves."""
    request_id = str(uuid.uuid4())
    answer = await call((*metadata, ("x-request-id", request_id)))
    return answer, await changes(dsn, request_id)


async def test_orders(shop: Shop) -> None:
    async def move(name: str, request: Any, role: Role) -> Any:
        call = getattr(shop.stub, name)
        answer, actions = await left(shop.dsn, shop.who(role), lambda who: call(request, metadata=who))
        assert actions == [METHODS[f"/tria.order.v1.OrderService/{name}"].policy.action.value], name
        return answer

    async def drafted(sku: str) -> order_pb2.Order:
        order = order_pb2.Order(lines=[line(sku, "10")])
        made: order_pb2.Order = await move(
            "CreateOrder", rpc.CreateOrderRequest(order=order, request_id=new_key()), Role.CUSTOMER
        )
        return made

    async def confirmed(sku: str) -> str:
        name = (await drafted(sku)).name
        await move("ConfirmOrder", rpc.ConfirmOrderRequest(name=name, request_id=new_key()), Role.CUSTOMER)
        return name

    name = (await drafted("NP")).name
    changed = order_pb2.Order(name=name, lines=[line("NP", "20")])
    await move("UpdateOrder", rpc.UpdateOrderRequest(order=changed, request_id=new_key()), Role.CUSTOMER)
    await move("CancelOrder", rpc.CancelOrderRequest(name=name, request_id=new_key()), Role.CUSTOMER)
    name = await confirmed("NP")
    await move("AcceptOrder", rpc.AcceptOrderRequest(name=name, request_id=new_key()), Role.STAFF)
    await move("FulfilOrder", rpc.FulfilOrderRequest(name=name, request_id=new_key()), Role.STAFF)
    await move("CompleteOrder", rpc.CompleteOrderRequest(name=name, request_id=new_key()), Role.STAFF)
    refused = rpc.RejectOrderRequest(name=await confirmed("CT"), request_id=new_key(), reason="no")
    await move("RejectOrder", refused, Role.STAFF)


async def test_a_repeated_change_is_recorded_once(shop: Shop) -> None:
    request = rpc.CreateOrderRequest(order=order_pb2.Order(lines=[line("NP", "10")]), request_id=new_key())
    who = shop.who(subject="one-and-the-same")
    found = [await left(shop.dsn, who, lambda who: shop.stub.CreateOrder(request, metadata=who)) for _ in range(2)]
    assert [actions for _, actions in found] == [["ORDER_CREATE"], []]


async def test_a_refused_change_is_no_change(shop: Shop) -> None:
    request_id = str(uuid.uuid4())
    order = order_pb2.Order(lines=[line("NO-SUCH-SKU", "10")])
    request = rpc.CreateOrderRequest(order=order, request_id=new_key())
    with pytest.raises(grpc.aio.AioRpcError):
        await shop.stub.CreateOrder(request, metadata=(*shop.who(), ("x-request-id", request_id)))
    assert await changes(shop.dsn, request_id) == []


async def test_the_catalogue(shop: Shop) -> None:
    product = (await shop.stub.ListProducts(rpc.ListProductsRequest(), metadata=shop.who())).products[0]
    product.name, product.display_name = "", "Another name"
    request = rpc.ImportProductsRequest(product=product, line=1)
    call = lambda who: shop.stub.ImportProducts(iter([request]), metadata=who)  # noqa: E731  # one line, used once
    _, actions = await left(shop.dsn, shop.who(Role.STAFF), call)
    assert actions == ["CATALOGUE_IMPORT"]


async def test_proposals(shop: Shop) -> None:
    shown = await proposed(shop, asking(("PB-12", "200")))
    request = chat.ConfirmProposalRequest(
        name=shown.name, arguments_sha256=shown.arguments_sha256, request_id=new_key()
    )
    _, actions = await left(shop.dsn, shop.who(), lambda who: shop.chat.ConfirmProposal(request, metadata=who))
    assert sorted(actions) == ["ORDER_CONFIRM", "ORDER_CREATE", "PROPOSAL_CONFIRM"]  # a change each
    other = await proposed(shop, asking(("NP", "10")))
    rejected = chat.RejectProposalRequest(name=other.name, request_id=new_key())
    _, actions = await left(shop.dsn, shop.who(), lambda who: shop.chat.RejectProposal(rejected, metadata=who))
    assert actions == ["PROPOSAL_REJECT"]


async def test_documents(desk: Desk) -> None:
    stub = knowledge_service_pb2_grpc.KnowledgeServiceStub(desk.channel)
    request = knowledge.ImportDocumentRequest(filename="gone-again.md", content=b"# Of no use\n\nZzyzx.\n")
    who = desk.metadata(Role.STAFF)
    answer, actions = await left(desk.dsn, who, lambda who: stub.ImportDocument(request, metadata=who))
    assert actions == ["DOCUMENT_IMPORT"]
    gone = knowledge.DeleteDocumentRequest(name=answer.document.name)
    _, actions = await left(desk.dsn, who, lambda who: stub.DeleteDocument(gone, metadata=who))
    assert actions == ["DOCUMENT_DELETE"]


async def test_conversations(desk: Desk) -> None:
    made, actions = await left(
        desk.dsn,
        desk.metadata(),
        lambda who: desk.chat.CreateConversation(chat.CreateConversationRequest(), metadata=who),
    )
    assert actions == ["CONVERSATION_CREATE"]
    sends: dict[str, Callable[[Metadata], Awaitable[Any]]] = {
        "SendMessage": lambda who: _all(
            desk.chat.SendMessage(chat.SendMessageRequest(conversation=made.name, text="Hello"), metadata=who)
        ),
        "Chat": lambda who: desk.chat.Chat(chat.ChatRequest(message="Hello"), metadata=who),
        "StreamChat": lambda who: _all(desk.chat.StreamChat(chat.StreamChatRequest(message="Hello"), metadata=who)),
    }
    for name, send in sends.items():
        request_id = str(uuid.uuid4())
        await send((*desk.metadata(), ("x-request-id", request_id)))

        async def recorded(request_id: str = request_id) -> bool:
            return "AI_DECISION" in await changes(desk.dsn, request_id)

        await eventually(recorded)
        assert (await changes(desk.dsn, request_id)).count("MESSAGE_SEND") == 1, name


async def test_what_a_service_records(desk: Desk) -> None:
    """The change is the service's event, of the action that it names."""
    event = audit_pb2.AuditEvent(action=audit_action_pb2.CONSENT_CHANGE, decision=audit_pb2.AuditEvent.ALLOWED)
    request = audit_service_pb2.RecordEventRequest(event=event, request_id=new_key())
    stub = audit_service_pb2_grpc.AuditServiceStub(desk.channel)
    who = desk.metadata(Role.SERVICE)
    found = [await left(desk.dsn, who, lambda who: stub.RecordEvent(request, metadata=who)) for _ in range(2)]
    assert [actions for _, actions in found] == [["CONSENT_CHANGE"], []]


async def test_people(desk: Desk) -> None:
    stub = audit_service_pb2_grpc.AuditServiceStub(desk.channel)
    who = desk.metadata(Role.ADMIN)
    export = audit_service_pb2.ExportSubjectRequest(subject="nobody@example.com", request_id=new_key())
    found = [await left(desk.dsn, who, lambda who: stub.ExportSubject(export, metadata=who)) for _ in range(2)]
    assert [actions for _, actions in found] == [["SUBJECT_EXPORT"], []]
    erase = audit_service_pb2.EraseSubjectRequest(subject="nobody@example.com", request_id=new_key())
    found = [await left(desk.dsn, who, lambda who: stub.EraseSubject(erase, metadata=who)) for _ in range(2)]
    assert [actions for _, actions in found] == [["SUBJECT_ERASE"], []]


async def test_stream_tickets(desk: Desk) -> None:
    asked = chat.CreateStreamTicketRequest(run=(await desk.say("Hello"))[0].run)
    _, actions = await left(desk.dsn, desk.metadata(), lambda who: desk.chat.CreateStreamTicket(asked, metadata=who))
    assert actions == ["STREAM_TICKET_CREATE"]


async def test_people_in_conversations(desk: Desk) -> None:
    async def recorded(method: str, somebody: Somebody, request: Any) -> list[str]:
        call = getattr(desk.chat, method)
        _, actions = await left(desk.dsn, somebody.who, lambda who: call(request, metadata=who))
        return actions

    ann, sam = Somebody(desk), Somebody(desk, Role.STAFF)
    name = await ann.begin()
    steps: list[tuple[str, Somebody, Any]] = [
        ("RequestHuman", ann, chat.RequestHumanRequest(conversation=name, request_id=new_key())),
        ("TakeOver", sam, chat.TakeOverRequest(conversation=name, controller_epoch=2, request_id=new_key())),
        (
            "SendStaffMessage",
            sam,
            chat.SendStaffMessageRequest(conversation=name, controller_epoch=3, text="Hi", request_id=new_key()),
        ),
        ("HandBack", sam, chat.HandBackRequest(conversation=name, controller_epoch=3, request_id=new_key())),
    ]
    for method, somebody, request in steps:
        action = METHODS[f"/tria.chat.v1.ChatService/{method}"].policy.action.value
        assert await recorded(method, somebody, request) == [action]
        assert await recorded(method, somebody, request) == [], f"{method} repeated"
    [said] = await ann.messages(name)
    judged = chat.SubmitFeedbackRequest(message=said.name, rating=chat.SubmitFeedbackRequest.HELPFUL)
    _, actions = await left(desk.dsn, ann.who, lambda who: desk.chat.SubmitFeedback(judged, metadata=who))
    assert actions == ["FEEDBACK_SUBMIT"]


async def _all(stream: Any) -> list[Any]:
    return [event async for event in stream]


async def test_operations(desk: Desk) -> None:
    stub = ops_service_pb2_grpc.OpsServiceStub(desk.channel)
    admin = desk.metadata(Role.ADMIN)
    warming = ops.WarmCacheRequest(questions=["When do you deliver to Sentosa?"], request_id=new_key())
    flag = ops_pb2.Flag(name="ops/flags/prompt_b", percent=40)
    turning = ops.UpdateFlagRequest(flag=flag, update_mask=FieldMask(paths=["percent"]), request_id=new_key())
    for first in (True, False):
        _, actions = await left(desk.dsn, admin, lambda metadata: stub.WarmCache(warming, metadata=metadata))
        assert actions == (["CACHE_WARM"] if first else [])
        _, actions = await left(desk.dsn, admin, lambda metadata: stub.UpdateFlag(turning, metadata=metadata))
        assert actions == (["CONFIG_CHANGE"] if first else [])
