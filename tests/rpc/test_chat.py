"""ChatService over gRPC, through the whole chain, on real stores."""

from __future__ import annotations

import asyncio
import itertools
import uuid

import asyncpg
import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from server.caller import Role
from tests.support.app import Desk
from tests.support.reading import check_stream, kinds, reason
from tria.chat.v1 import chat_event_pb2, chat_pb2
from tria.chat.v1 import chat_service_pb2 as chat

QUESTION = "When do you deliver, and what does it cost on Sentosa?"


async def test_a_question_is_answered_from_documents(desk: Desk) -> None:
    events = await desk.say(QUESTION)
    check_stream(events)
    done = events[-1].completed
    assert done.answer_kind == chat_pb2.ANSWERED
    assert "18" in done.text
    assert "Wednesday" in done.text
    cited = [event.citation for event in events if event.HasField("citation")]
    assert {citation.document for citation in cited} == {"documents/delivery"}
    assert sum(kind == "text_delta" for kind in kinds(events)) >= 2  # the first word at once, the rest as load allows


async def test_the_answer_is_stored_before_it_is_told(desk: Desk) -> None:
    conversation = await desk.conversation()
    events = await desk.say(QUESTION, conversation)
    page = await desk.chat.ListMessages(chat.ListMessagesRequest(parent=conversation), metadata=desk.metadata())
    assert [message.author for message in page.messages] == [chat_pb2.Message.CUSTOMER, chat_pb2.Message.ASSISTANT]
    assert page.messages[1].text == events[-1].completed.text
    assert page.messages[1].name == events[-1].completed.message
    run = await desk.chat.GetRun(chat.GetRunRequest(name=events[0].run), metadata=desk.metadata())
    assert run.state == chat_pb2.Run.COMPLETED
    assert run.last_seq == events[-1].seq
    assert run.usage.cost_micros == 0


async def test_off_topic_is_not_answered(desk: Desk) -> None:
    events = await desk.say("Who won the football match last night?")
    check_stream(events)
    assert events[-1].completed.answer_kind == chat_pb2.ABSTAINED
    assert not [event for event in events if event.HasField("citation")]


@pytest.mark.parametrize(
    "text", ["什么时候送货？圣淘沙要加多少钱？", "Bila hari penghantaran dan berapa caj ke Sentosa?"]
)
async def test_other_languages(desk: Desk, text: str) -> None:
    events = await desk.say(text)
    check_stream(events)
    assert events[-1].completed.answer_kind == chat_pb2.ANSWERED
    assert "18" in events[-1].completed.text


async def test_the_unary_chat_gives_the_whole_answer(desk: Desk) -> None:
    reply = await desk.chat.Chat(chat.ChatRequest(message=QUESTION, session_id="s-1"), metadata=desk.metadata())
    assert reply.answer_kind == chat_pb2.ANSWERED
    assert reply.citations[0].document == "documents/delivery"
    assert reply.intent == chat_pb2.POLICY_QUESTION
    again = await desk.chat.Chat(chat.ChatRequest(message="hello", session_id="s-1"), metadata=desk.metadata())
    assert again.conversation == reply.conversation
    other = await desk.chat.Chat(chat.ChatRequest(message="hello", session_id="s-2"), metadata=desk.metadata())
    assert other.conversation != reply.conversation


async def test_stream_chat_is_the_same_streamed(desk: Desk) -> None:
    call = desk.chat.StreamChat(chat.StreamChatRequest(message=QUESTION), metadata=desk.metadata())
    events = [event async for event in call]
    check_stream(events)
    assert events[-1].completed.answer_kind == chat_pb2.ANSWERED


async def test_a_repeated_client_message_id_attaches(desk: Desk) -> None:
    conversation = await desk.conversation()
    request = chat.SendMessageRequest(conversation=conversation, text=QUESTION, client_message_id="m-1")

    async def send() -> list[chat_event_pb2.ChatEvent]:
        return [event async for event in desk.chat.SendMessage(request, metadata=desk.metadata())]

    first, *others = await asyncio.gather(*(send() for _ in range(5)))
    check_stream(first)
    for other in others:
        assert [event.SerializeToString() for event in other] == [event.SerializeToString() for event in first]
    page = await desk.chat.ListMessages(chat.ListMessagesRequest(parent=conversation), metadata=desk.metadata())
    assert len(page.messages) == 2
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await desk.chat.SendMessage(
            chat.SendMessageRequest(conversation=conversation, text="other", client_message_id="m-1"),
            metadata=desk.metadata(),
        ).read()
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert reason(caught.value) == "IDEMPOTENCY_KEY_REUSED"


async def test_messages_of_one_conversation_are_answered_in_turn(desk: Desk) -> None:
    conversation = await desk.conversation()
    answers = await asyncio.gather(*(desk.say(f"{QUESTION} ({number})", conversation) for number in range(4)))
    worked = []
    for events in answers:
        check_stream(events)
        assert events[-1].HasField("completed")
        began = next(event.time for event in events if event.HasField("step"))
        worked.append((began.ToNanoseconds(), events[-1].time.ToNanoseconds()))
    worked.sort()
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(worked)), "two at once"


async def test_resume_continues_without_gap_or_repeat(desk: Desk) -> None:
    events = await desk.say(QUESTION)
    run = events[0].run
    for after in range(len(events) + 1):
        call = desk.chat.ResumeRun(chat.ResumeRunRequest(run=run, after_seq=after), metadata=desk.metadata())
        resumed = [event async for event in call]
        assert [event.SerializeToString() for event in resumed] == [
            event.SerializeToString() for event in events[after:]
        ]


async def test_a_run_outlives_the_call_that_started_it(desk: Desk) -> None:
    conversation = await desk.conversation()
    call = desk.chat.SendMessage(
        chat.SendMessageRequest(conversation=conversation, text=QUESTION), metadata=desk.metadata()
    )
    first = await call.read()
    assert isinstance(first, chat_event_pb2.ChatEvent)
    call.cancel()
    resumed = desk.chat.ResumeRun(chat.ResumeRunRequest(run=first.run), metadata=desk.metadata())
    check_stream([event async for event in resumed])


async def test_cancel_is_idempotent_and_returns_the_run_as_it_ended(desk: Desk) -> None:
    events = await desk.say(QUESTION)
    for _ in range(2):
        run = await desk.chat.CancelRun(chat.CancelRunRequest(name=events[0].run), metadata=desk.metadata())
        assert run.state == chat_pb2.Run.COMPLETED


async def test_another_tenant_or_outlet_sees_nothing(desk: Desk) -> None:
    conversation = await desk.conversation()
    run = (await desk.say("hello", conversation))[0].run
    strangers = [
        desk.metadata(tenant="other"),
        desk.metadata(outlet="boba-bay-bedok"),
        desk.metadata(Role.STAFF, tenant="other"),
    ]
    for stranger in strangers:
        for call in (
            lambda who: desk.chat.GetConversation(chat.GetConversationRequest(name=conversation), metadata=who),
            lambda who: desk.chat.ListMessages(chat.ListMessagesRequest(parent=conversation), metadata=who),
            lambda who: desk.chat.GetRun(chat.GetRunRequest(name=run), metadata=who),
            lambda who: desk.chat.CancelRun(chat.CancelRunRequest(name=run), metadata=who),
            lambda who: desk.chat.ResumeRun(chat.ResumeRunRequest(run=run), metadata=who).read(),
            lambda who: desk.chat.SendMessage(
                chat.SendMessageRequest(conversation=conversation, text="hi"), metadata=who
            ).read(),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(stranger)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    seen = await desk.chat.GetConversation(
        chat.GetConversationRequest(name=conversation), metadata=desk.metadata(Role.STAFF)
    )
    assert seen.name == conversation


async def test_a_customer_cannot_speak_for_another_outlet(desk: Desk) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await desk.chat.Chat(chat.ChatRequest(message="hi", outlet_id="boba-bay-bedok"), metadata=desk.metadata())
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert reason(caught.value) == "OUTLET_MISMATCH"


async def test_a_time_that_the_server_sets_itself_may_be_anything(desk: Desk) -> None:
    asked = chat_pb2.Conversation(title="boxes", create_time=Timestamp(seconds=2**62), update_time=Timestamp(nanos=-1))
    request = chat.CreateConversationRequest(conversation=asked)
    made = await desk.chat.CreateConversation(request, metadata=desk.metadata())
    assert made.title == "boxes"
    assert made.create_time.ToJsonString()


async def test_create_conversation_is_idempotent(desk: Desk) -> None:
    request = chat.CreateConversationRequest(
        conversation=chat_pb2.Conversation(title="weekly"), request_id=str(uuid.uuid4())
    )
    answers = await asyncio.gather(
        *(desk.chat.CreateConversation(request, metadata=desk.metadata()) for _ in range(10))
    )
    assert len({answer.SerializeToString() for answer in answers}) == 1
    call = desk.chat.CreateConversation(request, metadata=desk.metadata())
    await call
    assert ("x-idempotent-replay", "true") in tuple(await call.trailing_metadata())
    request.conversation.title = "monthly"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await desk.chat.CreateConversation(request, metadata=desk.metadata())
    assert reason(caught.value) == "IDEMPOTENCY_KEY_REUSED"


async def test_lists_are_paged(desk: Desk) -> None:
    mine = desk.metadata(outlet="paging-outlet")
    made = [
        (await desk.chat.CreateConversation(chat.CreateConversationRequest(), metadata=mine)).name for _ in range(5)
    ]
    names: list[str] = []
    token = ""
    while True:
        page = await desk.chat.ListConversations(
            chat.ListConversationsRequest(page_size=2, page_token=token), metadata=mine
        )
        names += [conversation.name for conversation in page.conversations]
        token = page.next_page_token
        if not token:
            break
    assert names == made[::-1]


async def test_every_run_leaves_a_message_a_decision_and_an_access_leaf(desk: Desk) -> None:
    events = await desk.say(QUESTION)
    connection = await asyncpg.connect(desk.dsn)
    try:
        rows = await connection.fetch(
            "select action, leaf from audit_pending where convert_from(leaf, 'UTF8') like '%' || $1 || '%'",
            events[0].run,
        )
    finally:
        await connection.close()
    actions = sorted(row["action"] for row in rows)
    assert actions == ["AI_DECISION", "MESSAGE_SEND"]
    assert not any(QUESTION.encode() in bytes(row["leaf"]) for row in rows)
