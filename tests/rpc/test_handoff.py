"""People in conversations: asked for, taken over, writing, handing back; the assistant silent meanwhile."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import grpc
import pytest

from server.caller import Role
from tests.support.app import Desk
from tests.support.calls import refusal
from tests.support.desk_people import Somebody, new_key
from tests.support.reading import check_stream, kinds, reason, text_of
from tria.chat.v1 import chat_pb2
from tria.chat.v1 import chat_service_pb2 as rpc
from tria.order.v1 import order_service_pb2, order_service_pb2_grpc

HandOff, Message = chat_pb2.HandOff, chat_pb2.Message


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def leaves(desk: Desk, resource: str, action: str) -> int:
    """CHANGE leaves of the action about the resource."""
    connection = await asyncpg.connect(desk.dsn)
    try:
        found: int = await connection.fetchval(
            "select count(*) from audit_pending where action = $1 and resource = $2 "
            "and convert_from(leaf, 'utf8')::jsonb ->> 'kind' = 'CHANGE'",
            action,
            resource,
        )
        return found
    finally:
        await connection.close()


async def test_a_conversation_goes_to_a_person_and_comes_back(desk: Desk) -> None:
    ann, sam = Somebody(desk), Somebody(desk, Role.STAFF)
    conversation = await ann.begin()
    asked = await ann.ask(conversation, "about my last invoice")
    assert (asked.controller, asked.controller_epoch) == (chat_pb2.WAITING_FOR_STAFF, 2)
    assert (asked.hand_off.reason, asked.hand_off.level, asked.hand_off.holder) == (HandOff.ASKED, 1, "")
    assert asked.hand_off.place >= 1
    assert asked.hand_off.due_time.ToDatetime() - asked.hand_off.request_time.ToDatetime() >= timedelta(hours=4)

    events = await ann.say(conversation, "Hello? Are you there?")
    check_stream(events)
    assert kinds(events) == ["run_accepted", "text_done", "completed"]
    assert events[0].run_accepted.controller == chat_pb2.WAITING_FOR_STAFF
    assert (events[-1].completed.answer_kind, events[-1].completed.text) == (chat_pb2.HANDED_OFF, "")

    held = await sam.take(conversation, asked.controller_epoch)
    assert (held.controller, held.controller_epoch, held.hand_off.place) == (chat_pb2.STAFF, 3, 0)
    assert held.hand_off.note == "about my last invoice"
    assert held.hand_off.holder
    assert (await ann.get(conversation)).hand_off.holder == ""
    said = await sam.write(conversation, 3, "Sam here, let me look.")
    assert said.author == Message.STAFF
    assert (await ann.say(conversation, "Thank you"))[0].run_accepted.controller == chat_pb2.STAFF

    back = await sam.give_back(conversation, 3)
    assert (back.controller, back.controller_epoch) == (chat_pb2.ASSISTANT, 4)
    assert not back.HasField("hand_off")
    answered = await ann.say(conversation, "When do you deliver?")
    assert answered[-1].completed.answer_kind == chat_pb2.ANSWERED
    authors = [Message.Author.Name(message.author) for message in await ann.messages(conversation)]
    assert authors == ["CUSTOMER", "STAFF", "CUSTOMER", "CUSTOMER", "ASSISTANT"]
    for action, count in (("HUMAN_REQUEST", 1), ("CONTROL_TAKE", 1), ("STAFF_MESSAGE_SEND", 1), ("CONTROL_RETURN", 1)):
        assert await leaves(desk, conversation, action) == count, action


async def test_what_staff_and_customers_write_is_sealed(desk: Desk) -> None:
    ann, sam = Somebody(desk), Somebody(desk, Role.STAFF)
    conversation = await ann.begin()
    note, text = f"note {uuid.uuid4().hex}", f"text {uuid.uuid4().hex}"
    asked = await ann.ask(conversation, note)
    held = await sam.take(conversation, asked.controller_epoch)
    said = await sam.write(conversation, held.controller_epoch, text)
    await ann.judge(said.name, rpc.SubmitFeedbackRequest.HELPFUL, note)
    connection = await asyncpg.connect(desk.dsn)
    try:
        for table in ("message", "hand_off", "message_feedback", "conversation_event", "audit_pending", "idempotency"):
            rows = await connection.fetch(f"select row_to_json(each)::text as row from {table} as each")
            assert rows
            assert not [row for row in rows if note in row["row"] or text in row["row"]], table
    finally:
        await connection.close()


async def test_asking_again_changes_nothing(desk: Desk) -> None:
    ann, key = Somebody(desk), new_key()
    conversation = await ann.begin()
    first = await ann.ask(conversation, key=key)
    call = ann.ask(conversation, key=key)
    assert await call == first
    assert ("x-idempotent-replay", "true") in list(await call.trailing_metadata())
    assert (await ann.ask(conversation)).controller_epoch == first.controller_epoch
    error = await refused(ann.ask(conversation, "another note", key))
    assert (error.code(), reason(error)) == (grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED")


async def test_of_two_who_take_over_one_wins(desk: Desk) -> None:
    ann, staff = Somebody(desk), [Somebody(desk, Role.STAFF) for _ in range(2)]
    conversation = await ann.begin()
    asked = await ann.ask(conversation)
    results = await asyncio.gather(
        *(each.take(conversation, asked.controller_epoch) for each in staff), return_exceptions=True
    )
    [won] = [result for result in results if isinstance(result, chat_pb2.Conversation)]
    [lost] = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    told = refusal(lost)
    assert (lost.code(), told.info.reason) == (grpc.StatusCode.ABORTED, "CONTROLLER_CHANGED")
    held = {"controller": "STAFF", "controller_epoch": "3", "holder": won.hand_off.holder}
    assert held.items() <= dict(told.info.metadata).items()
    loser, winner = (staff[0], staff[1]) if results[0] is lost else (staff[1], staff[0])
    for call in (loser.write(conversation, 3, "me too"), loser.give_back(conversation, 3)):
        assert reason(await refused(call)) == "CONTROLLER_CHANGED"
    assert (await winner.take(conversation, 3)).controller_epoch == 3
    # Knowing who has it, the colleague may still take it over.
    assert (await loser.take(conversation, 3)).controller_epoch == 4
    assert reason(await refused(winner.write(conversation, 3, "still me"))) == "CONTROLLER_CHANGED"
    assert [message.text for message in await ann.messages(conversation)] == []


async def test_a_staff_message_is_sent_once(desk: Desk) -> None:
    ann, sam, key = Somebody(desk), Somebody(desk, Role.STAFF), new_key()
    conversation = await ann.begin()
    held = await sam.take(conversation, 1)
    assert held.hand_off.reason == HandOff.STEPPED_IN
    sent = [await sam.write(conversation, held.controller_epoch, "once", key) for _ in range(3)]
    assert sent[0] == sent[1] == sent[2]
    assert len(await ann.messages(conversation)) == 1


async def test_a_customer_has_no_part_in_it(desk: Desk) -> None:
    ann = Somebody(desk)
    conversation = await ann.begin()
    for call in (ann.take(conversation, 1), ann.write(conversation, 1, "x"), ann.give_back(conversation, 1)):
        assert reason(await refused(call)) == "PERMISSION_MISSING"


async def test_the_customer_is_told_when_the_desk_opens(desk: Desk) -> None:
    ann = Somebody(desk)
    hand_off = (await ann.ask(await ann.begin())).hand_off
    assert hand_off.desk_open != hand_off.HasField("opens_at")


@pytest.mark.parametrize("other", [{"tenant": "stranger"}, {"outlet": "pizza-pronto-tampines"}])
async def test_others_find_nothing(desk: Desk, other: dict[str, str]) -> None:
    ann, eve = Somebody(desk), Somebody(desk, **other)  # type: ignore[arg-type]
    conversation = await ann.begin()
    [*_, answer] = await ann.say(conversation, "When do you deliver?")
    calls = [eve.ask(conversation), eve.judge(answer.completed.message, rpc.SubmitFeedbackRequest.HELPFUL)]
    if "tenant" in other:
        spy = Somebody(desk, Role.STAFF, tenant="stranger")
        calls += [spy.take(conversation, 1), spy.write(conversation, 1, "x"), spy.give_back(conversation, 1)]
    for call in calls:
        assert reason(await refused(call)) == "RESOURCE_NOT_FOUND"


async def test_what_is_not_valid_is_refused(desk: Desk) -> None:
    ann, sam = Somebody(desk), Somebody(desk, Role.STAFF)
    conversation = await ann.begin()
    [*_, answer] = await ann.say(conversation, "When do you deliver?")
    mine = (await ann.messages(conversation))[0].name
    for call in (
        ann.ask(conversation, "x" * 501),
        ann.ask("conversations/"),
        sam.take(conversation, 1, "no-uuid"),
        sam.write(conversation, 1, ""),
        ann.judge(answer.completed.message, 0),
        ann.judge(mine, rpc.SubmitFeedbackRequest.HELPFUL),
    ):
        assert reason(await refused(call)) == "INVALID_FIELD"


@pytest.mark.parametrize(
    ("text", "why", "level"),
    [
        ("I want to talk to a person please", HandOff.ASKED, 1),
        ("The boxes arrived broken and wet, this is a complaint", HandOff.COMPLAINT, 2),
        ("A customer found glass in the soup bowl and cut her mouth", HandOff.FOOD_SAFETY, 3),
    ],
)
async def test_an_answer_that_hands_over_does(desk: Desk, text: str, why: int, level: int) -> None:
    ann = Somebody(desk)
    conversation = await ann.begin()
    events = await ann.say(conversation, text)
    check_stream(events)
    assert events[-1].completed.answer_kind == chat_pb2.HANDED_OFF
    [changed] = [event.controller_changed for event in events if event.HasField("controller_changed")]
    assert (changed.to, changed.controller_epoch) == (chat_pb2.WAITING_FOR_STAFF, 2)
    found = await ann.get(conversation)
    assert (found.controller, found.controller_epoch) == (chat_pb2.WAITING_FOR_STAFF, 2)
    assert (found.hand_off.reason, found.hand_off.level) == (why, level)
    if level == 3:
        late = found.hand_off.due_time.ToDatetime() - found.hand_off.request_time.ToDatetime()
        assert late == timedelta(minutes=30)
    assert kinds(await ann.say(conversation, "and now?")) == ["run_accepted", "text_done", "completed"]
    assert await leaves(desk, conversation, "HUMAN_REQUEST") == 1


async def test_three_misunderstandings_hand_over(desk: Desk) -> None:
    ann = Somebody(desk)
    conversation = await ann.begin()
    for text in ("What is the capital of Mongolia?", "Who won the 1998 chess final?", "Sing me something about rain"):
        events = await ann.say(conversation, text)
    assert events[-1].completed.answer_kind == chat_pb2.HANDED_OFF
    assert (await ann.get(conversation)).hand_off.reason == HandOff.MISUNDERSTOOD_THREE_TIMES


async def test_the_queue_is_by_level_and_time(desk: Desk) -> None:
    ann, sam = Somebody(desk), Somebody(desk, Role.STAFF)
    first, second, urgent = [await ann.begin() for _ in range(3)]
    await ann.ask(first)
    await ann.ask(second)
    assert (await ann.ask(urgent, "Somebody found glass in our soup bowls")).hand_off.level == 3
    listed: list[str] = []
    token = ""
    while True:
        page = await desk.chat.ListConversations(
            rpc.ListConversationsRequest(page_size=2, page_token=token, controller=chat_pb2.WAITING_FOR_STAFF),
            metadata=sam.who,
        )
        listed += [found.name for found in page.conversations]
        if not (token := page.next_page_token):
            break
    assert [name for name in listed if name in {first, second, urgent}] == [urgent, first, second]
    before = (await ann.get(second)).hand_off.place
    # Worse than it seemed: it passes the others.
    await ann.say(first, "two guests are vomiting after eating from your trays")
    raised = (await ann.get(first)).hand_off
    assert (raised.reason, raised.level) == (HandOff.FOOD_SAFETY, 3)
    await sam.take(urgent, 2)
    assert (await ann.get(second)).hand_off.place == before - 1
    mine = await desk.chat.ListConversations(rpc.ListConversationsRequest(controller=chat_pb2.STAFF), metadata=sam.who)
    assert urgent in [found.name for found in mine.conversations]
    assert first not in [found.name for found in mine.conversations]


async def test_an_order_held_for_staff_queues_its_conversation_until_it_is_decided(desk: Desk) -> None:
    ann, sam = Somebody(desk), Somebody(desk, Role.STAFF)
    conversation = await ann.begin()
    events = await ann.say(conversation, "5000 plain 12 inch boxes and 200 packs of napkins please")
    [proposal] = [event.proposal for event in events if event.HasField("proposal")]
    assert Decimal(proposal.total.units) > 1000
    done = await desk.chat.ConfirmProposal(
        rpc.ConfirmProposalRequest(
            name=proposal.name, arguments_sha256=proposal.arguments_sha256, request_id=new_key()
        ),
        metadata=ann.who,
    )
    waiting = (await sam.get(conversation)).hand_off
    assert (waiting.reason, waiting.order) == (HandOff.ORDER_HELD, done.resource)
    stub = order_service_pb2_grpc.OrderServiceStub(desk.channel)
    await stub.AcceptOrder(
        order_service_pb2.AcceptOrderRequest(name=done.resource, request_id=new_key()), metadata=sam.who
    )
    back = await ann.get(conversation)
    assert (back.controller, back.controller_epoch) == (chat_pb2.ASSISTANT, 3)
    assert await leaves(desk, conversation, "CONTROL_RETURN") == 1


async def test_staff_see_the_open_proposal(desk: Desk) -> None:
    ann, sam = Somebody(desk), Somebody(desk, Role.STAFF)
    conversation = await ann.begin()
    events = await ann.say(conversation, "30 packs of white napkins please")
    [proposal] = [event.proposal for event in events if event.HasField("proposal")]
    await ann.ask(conversation)
    found = await sam.get(conversation)
    assert found.hand_off.proposal == proposal.name
    shown = await desk.chat.GetProposal(rpc.GetProposalRequest(name=proposal.name), metadata=sam.who)
    assert shown.arguments_sha256 == proposal.arguments_sha256
    assert text_of(events) in [message.text for message in await sam.messages(conversation)]


async def test_a_repeated_message_attaches_also_while_a_person_speaks(desk: Desk) -> None:
    ann, sam = Somebody(desk), Somebody(desk, Role.STAFF)
    conversation = await ann.begin()
    await sam.take(conversation, 1)
    first = await ann.say(conversation, "hello", "m-1")
    again = await ann.say(conversation, "hello", "m-1")
    assert again[0].run == first[0].run
    assert len(await ann.messages(conversation)) == 1
    run = await desk.chat.GetRun(rpc.GetRunRequest(name=first[0].run), metadata=ann.who)
    assert (run.state, run.last_seq) == (chat_pb2.Run.COMPLETED, 3)


async def test_the_last_judgement_counts(desk: Desk) -> None:
    ann, ben = Somebody(desk), Somebody(desk)
    conversation = await ann.begin()
    [*_, answer] = await ann.say(conversation, "When do you deliver?")
    message = answer.completed.message
    await ann.judge(message, rpc.SubmitFeedbackRequest.HELPFUL)
    await ann.judge(message, rpc.SubmitFeedbackRequest.NOT_HELPFUL, "the day was wrong")
    await ben.judge(message, rpc.SubmitFeedbackRequest.HELPFUL)
    connection = await asyncpg.connect(desk.dsn)
    try:
        rows = await connection.fetch(
            "select rating, comment_box is not null as said from message_feedback where message = $1 order by rating",
            message.rpartition("/")[2],
        )
    finally:
        await connection.close()
    assert [tuple(row) for row in rows] == [("HELPFUL", False), ("NOT_HELPFUL", True)]
    assert await leaves(desk, message, "FEEDBACK_SUBMIT") == 3
