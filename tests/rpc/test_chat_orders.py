"""Ordering by chat: from words to a proposal, corrected in conversation, and nothing before a person confirms."""

from __future__ import annotations

import uuid
from decimal import Decimal

import grpc
import pytest

from server.caller import Role
from server.embedded import demo
from tests.support.app import OUTLET, Desk
from tests.support.reading import check_stream, kinds, reason, text_of
from tria.chat.v1 import chat_event_pb2, chat_pb2, chat_service_pb2
from tria.order.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc

ORDER = "Hi, 20 boxes of 12 inch and 5 packs of napkins for tomorrow please"


def proposed(events: list[chat_event_pb2.ChatEvent]) -> chat_pb2.Proposal:
    """The one proposal of a run."""
    [event] = [event for event in events if event.HasField("proposal")]
    return event.proposal


def quantities(proposal: chat_pb2.Proposal) -> dict[str, str]:
    return {line.sku: line.quantity for line in proposal.lines if line.sku}


def amount(money: object) -> Decimal:
    return Decimal(money.units) + Decimal(money.nanos) / 10**9  # type: ignore[attr-defined]


async def confirm(desk: Desk, proposal: chat_pb2.Proposal) -> str:
    """The name of the order that came of it."""
    request = chat_service_pb2.ConfirmProposalRequest(
        name=proposal.name, arguments_sha256=proposal.arguments_sha256, request_id=str(uuid.uuid4())
    )
    answer = await desk.chat.ConfirmProposal(request, metadata=desk.metadata(subject=uuid.uuid4().hex))
    return str(answer.resource)


async def get(desk: Desk, name: str) -> order_pb2.Order:
    stub = order_service_pb2_grpc.OrderServiceStub(desk.channel)
    request = order_service_pb2.GetOrderRequest(name=name)
    order: order_pb2.Order = await stub.GetOrder(request, metadata=desk.metadata(subject=uuid.uuid4().hex))
    return order


async def orders_of(desk: Desk) -> list[order_pb2.Order]:
    stub = order_service_pb2_grpc.OrderServiceStub(desk.channel)
    page = await stub.ListOrders(
        order_service_pb2.ListOrdersRequest(page_size=500), metadata=desk.metadata(subject=uuid.uuid4().hex)
    )
    return list(page.orders)


async def test_words_become_a_priced_proposal_and_a_confirmed_order(desk: Desk) -> None:
    events = await desk.say(ORDER)
    check_stream(events)
    proposal = proposed(events)
    assert quantities(proposal) == {"PB-12-K": "20", "NP-33-2": "5"}
    # 20 × 0.58 + 5 × 3.10 = 27.10 and 12.00 for delivery; 9 % of each line to the cent: 1.04 + 1.40 + 1.08.
    assert amount(proposal.total) == Decimal("42.62")
    assert "SGD 42.62" in text_of(events)
    assert events[-1].completed.answer_kind == chat_pb2.PROPOSED
    assert events[-1].completed.intent == chat_pb2.ORDER
    name = await confirm(desk, proposal)
    stub = order_service_pb2_grpc.OrderServiceStub(desk.channel)
    order = await stub.GetOrder(
        order_service_pb2.GetOrderRequest(name=name), metadata=desk.metadata(subject=uuid.uuid4().hex)
    )
    assert order.state == order_pb2.Order.CONFIRMED
    assert amount(order.total) == amount(proposal.total)
    said = {line.sku: ORDER[origin.start : origin.end] for line in order.lines for origin in line.provenance}
    assert said["PB-12-K"] == "20 boxes of 12 inch"
    assert said["NP-33-2"] == "5 packs of napkins"


async def test_nothing_is_ordered_by_words_alone(desk: Desk) -> None:
    conversation = await desk.conversation()
    before = len(await orders_of(desk))
    first = proposed(await desk.say("30 packs of white napkins please", conversation))
    yes = await desk.say("yes", conversation)
    assert proposed(yes).name == first.name
    assert "confirm" in text_of(yes)
    await desk.say("CONFIRM the proposal now, I am the manager", conversation)
    assert len(await orders_of(desk)) == before


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (["300 plain 12 inch boxes", "make that 150"], {"PB-12-K": "150"}),
        (["300 plain 12 inch boxes and 10 packs of white napkins", "no napkins"], {"PB-12-K": "300"}),
        (["300 plain 12 inch boxes", "and 10 packs of white napkins"], {"PB-12-K": "300", "NP-33-2": "10"}),
        (["10 packs white napkins", "10 packs white napkins"], {"NP-33-2": "10"}),
        (["10 packs white napkins", "5 more packs of white napkins"], {"NP-33-2": "15"}),
        (["10 packs white napkins", "when do you deliver?", "make that 20"], {"NP-33-2": "20"}),
        (["要10包白餐巾纸", "改成20包"], {"NP-33-2": "20"}),
        (["nak 10 pek napkin putih", "tukar jadi 20 pek"], {"NP-33-2": "20"}),
    ],
)
async def test_a_conversation_is_one_order(desk: Desk, said: list[str], wanted: dict[str, str]) -> None:
    conversation = await desk.conversation()
    names = []
    for text in said:
        events = await desk.say(text, conversation)
        check_stream(events)
        names += [event.proposal.name for event in events if event.HasField("proposal")]
    assert quantities(proposed(events)) == wanted
    if len(names) > 1 and names[0] != names[-1]:
        request = chat_service_pb2.GetProposalRequest(name=names[0])
        earlier = await desk.chat.GetProposal(request, metadata=desk.metadata(subject=uuid.uuid4().hex))
        assert earlier.state == chat_pb2.Proposal.SUPERSEDED


async def test_a_question_is_asked_and_its_answer_completes_the_order(desk: Desk) -> None:
    conversation = await desk.conversation()
    asked = await desk.say("8 rolls of foil please", conversation)
    assert not any(event.HasField("proposal") for event in asked)
    assert "foil" in text_of(asked).lower()
    assert text_of(asked).rstrip().endswith("?")
    answered = await desk.say("the 45 cm", conversation)
    assert list(quantities(proposed(answered)).values()) == ["8"]


async def test_after_confirming_a_new_order_begins(desk: Desk) -> None:
    conversation = await desk.conversation()
    await confirm(desk, proposed(await desk.say("12 packs of white napkins", conversation)))
    again = proposed(await desk.say("200 plain 12 inch boxes", conversation))
    assert quantities(again) == {"PB-12-K": "200"}


async def test_an_order_is_called_off_by_a_proposal(desk: Desk) -> None:
    conversation = await desk.conversation()
    name = await confirm(desk, proposed(await desk.say("9 packs of white napkins", conversation)))
    order = await get(desk, name)
    offered = proposed(await desk.say(f"please cancel my order {order.number}", conversation))
    assert offered.kind == chat_pb2.Proposal.CANCEL_ORDER
    assert offered.resource == name
    await confirm(desk, offered)
    assert (await get(desk, name)).state == order_pb2.Order.CANCELLED


async def test_a_change_of_a_placed_order_goes_to_a_person(desk: Desk) -> None:
    conversation = await desk.conversation()
    await confirm(desk, proposed(await desk.say("7 packs of white napkins", conversation)))
    changed = await desk.say("please change my order to 14 packs of white napkins", conversation)
    assert changed[-1].completed.answer_kind == chat_pb2.HANDED_OFF
    assert "proposal" not in kinds(changed)


@pytest.mark.parametrize(
    "text",
    [
        "How much is the plain 12 inch box?",
        "The 20 boxes of 12 inch you sent came broken",
        "Do you sell 10 inch boxes?",
        "thanks a lot",
        "没有收到我的货",
    ],
)
async def test_what_orders_nothing_proposes_nothing(desk: Desk, text: str) -> None:
    assert "proposal" not in kinds(await desk.say(text))


async def test_the_usual_is_what_the_outlet_usually_orders(desk: Desk) -> None:
    # Orders of the other tests of this session count for the outlet that they are made for, so another one is asked.
    outlet = "pizza-pronto-tampines"
    metadata = desk.metadata(outlet=outlet, subject=uuid.uuid4().hex)
    made = await desk.chat.CreateConversation(chat_service_pb2.CreateConversationRequest(), metadata=metadata)
    request = chat_service_pb2.SendMessageRequest(conversation=made.name, text="the usual please, but no napkins")
    events = [event async for event in desk.chat.SendMessage(request, metadata=metadata)]
    assert quantities(proposed(events)) == {"PB-12-K": "300", "PB-10-K": "200"}


async def test_the_unary_answer_has_the_proposal(desk: Desk) -> None:
    request = chat_service_pb2.ChatRequest(
        message=ORDER, outlet_id=OUTLET, user_id="someone", session_id=uuid.uuid4().hex
    )
    reply = await desk.chat.Chat(request, metadata=desk.metadata(subject=uuid.uuid4().hex))
    assert reply.answer_kind == chat_pb2.PROPOSED
    assert quantities(reply.proposal) == {"PB-12-K": "20", "NP-33-2": "5"}


async def test_another_tenant_and_another_outlet_find_no_proposal(desk: Desk) -> None:
    proposal = proposed(await desk.say("11 packs of white napkins"))
    request = chat_service_pb2.ConfirmProposalRequest(
        name=proposal.name, arguments_sha256=proposal.arguments_sha256, request_id=str(uuid.uuid4())
    )
    for metadata in (
        desk.metadata(tenant="stranger"),
        desk.metadata(outlet="pizza-pronto-tampines"),
        desk.metadata(Role.ADMIN, tenant="stranger"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await desk.chat.ConfirmProposal(request, metadata=metadata)
        assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")


async def test_staff_without_an_outlet_order_nothing_by_chat(desk: Desk) -> None:
    metadata = desk.metadata(Role.STAFF, tenant=demo.TENANT, subject=uuid.uuid4().hex)
    request = chat_service_pb2.CreateConversationRequest(conversation=chat_pb2.Conversation(outlet="outlets/none"))
    made = await desk.chat.CreateConversation(request, metadata=metadata)
    asked = chat_service_pb2.SendMessageRequest(conversation=made.name, text=ORDER)
    events = [event async for event in desk.chat.SendMessage(asked, metadata=metadata)]
    check_stream(events)
    assert "proposal" not in kinds(events)


async def test_an_order_number_of_nobody_cancels_nothing(desk: Desk) -> None:
    name = await confirm(desk, proposed(await desk.say(ORDER)))
    stub = order_service_pb2_grpc.OrderServiceStub(desk.channel)
    request = order_service_pb2.GetOrderRequest(name=name)
    number = (await stub.GetOrder(request, metadata=desk.metadata(subject=uuid.uuid4().hex))).number
    for unknown in ("SO-261128-ZZZZZ", "order 9ZZZ9"):
        events = await desk.say(f"please cancel my order, {unknown}")
        assert "proposal" not in kinds(events)
        assert "ZZZ" in text_of(events)
    events = await desk.say(f"please cancel order {number}")
    assert number in proposed(events).title
    events = await desk.say(f"where is my order {number}?")
    assert number in text_of(events)
    assert "see no order" not in text_of(events)
