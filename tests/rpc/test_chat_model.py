"""SendMessage with a model behind it: whatever the model does, one right terminal event and a settled cost."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from llmock.pytest_plugin import LLMock

from tests.support.app import Desk, running_desk
from tests.support.llmock import all_closed, model_variables
from tests.support.reading import check_stream, kinds, text_of
from tests.support.stores import eventually
from tria.chat.v1 import chat_event_pb2, chat_pb2
from tria.chat.v1 import chat_service_pb2 as chat

QUESTION = "When do you deliver, and what does it cost on Sentosa?"
ANSWER = "We deliver to Sentosa on Wednesday and Saturday; the surcharge is SGD 18 [1]."

Open = Callable[[], AbstractAsyncContextManager[Desk]]


@pytest.fixture
def open_desk(tmp_path: Path, filled_dsn: str, valkey: str, chroma_url: str, llmock: LLMock) -> Open:
    """Opens a server whose model is llmock."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Desk]:
        model = {
            **model_variables(llmock.base_url()),
            "OPENAI_PRICES": "desk-test=2/0.5/8",
            "OPENAI_IDLE_TIMEOUT": "0.4",
            "OPENAI_TIMEOUT": "10",
            "TRIA_STATE_SECRET": secrets.token_hex(20),  # keys of kept answers come from it: each server has its own
        }
        async with running_desk(tmp_path, filled_dsn, valkey, chroma_url, model) as desk:
            yield desk

    return opened


def usage(events: list[chat_event_pb2.ChatEvent]) -> chat_pb2.RunUsage:
    [found] = [event.usage for event in events if event.HasField("usage")]
    return found


async def stored(desk: Desk, events: list[chat_event_pb2.ChatEvent]) -> chat_pb2.Run:
    """The run as the database has it: settled as it was told."""
    run: chat_pb2.Run = await desk.chat.GetRun(chat.GetRunRequest(name=events[0].run), metadata=desk.metadata())
    assert run.usage == usage(events)
    assert run.last_seq == events[-1].seq
    return run


async def test_a_streamed_answer_is_cited_and_billed(llmock: LLMock, open_desk: Open) -> None:
    llmock.reply(ANSWER)
    async with open_desk() as desk:
        events = await desk.say(QUESTION)
        run = await stored(desk, events)
    check_stream(events)
    assert text_of(events) == ANSWER
    assert [event.citation.document for event in events if event.HasField("citation")] == ["documents/delivery"]
    assert run.state == chat_pb2.Run.COMPLETED
    assert run.usage.cost_micros == run.usage.input_tokens * 2 + run.usage.output_tokens * 8
    assert run.usage.cost_micros > 0
    assert not run.usage.estimated
    llmock.assert_resilient(strict=True)


async def test_a_tool_call_is_shown_and_answered(llmock: LLMock, open_desk: Open) -> None:
    llmock.call_tool("search_products", {"query": "12 inch box"}).reply("A plain one is [price:PB-12-K].")
    async with open_desk() as desk:
        events = await desk.say("Which pizza box fits a 12 inch pizza?")
    check_stream(events)
    states = [event.tool_call.state for event in events if event.HasField("tool_call")]
    assert states == [chat_event_pb2.ToolCall.STARTED, chat_event_pb2.ToolCall.SUCCEEDED]
    assert "0.58" in text_of(events)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("truncate", "MODEL_STREAM_CUT"), ("disconnect", "MODEL_STREAM_CUT"), ("corrupt", "MODEL_OUTPUT_INVALID")],
)
async def test_a_stream_that_breaks_after_a_word_fails_once(
    llmock: LLMock, open_desk: Open, fault: str, reason: str
) -> None:
    getattr(llmock.reply(ANSWER), fault)(after_chunks=14)
    async with open_desk() as desk:
        conversation = await desk.conversation()
        events = await desk.say(QUESTION, conversation)
        run = await stored(desk, events)
        page = await desk.chat.ListMessages(chat.ListMessagesRequest(parent=conversation), metadata=desk.metadata())
    check_stream(events)
    assert events[-1].failed.info.reason == reason
    assert run.state == chat_pb2.Run.FAILED
    assert run.usage.estimated
    assert run.usage.cost_micros > 0
    assert page.messages[-1].state == chat_pb2.Message.PARTIAL
    assert page.messages[-1].text == text_of(events)
    assert ANSWER.startswith(text_of(events).rstrip())


async def test_a_stall_ends_in_time(llmock: LLMock, open_desk: Open) -> None:
    llmock.reply(ANSWER).stall(after_chunks=4, seconds=30)
    async with open_desk() as desk:
        events = await desk.say(QUESTION)
        assert await all_closed(llmock)
    check_stream(events)
    assert events[-1].failed.info.reason == "MODEL_TIMEOUT"
    assert usage(events).estimated


async def test_retry_after_is_kept_and_costs_nothing(llmock: LLMock, open_desk: Open) -> None:
    llmock.rate_limit(retry_after=1.0).reply(ANSWER)
    async with open_desk() as desk:
        events = await desk.say(QUESTION)
    check_stream(events)
    assert text_of(events) == ANSWER
    assert not usage(events).estimated
    first, second = llmock.requests
    assert second.started_at - first.ended_at >= 1.0
    llmock.assert_resilient(strict=True)


async def test_a_server_error_is_retried(llmock: LLMock, open_desk: Open) -> None:
    llmock.fail(500).reply(ANSWER)
    async with open_desk() as desk:
        events = await desk.say(QUESTION)
    check_stream(events)
    assert text_of(events) == ANSWER
    llmock.assert_resilient(strict=True)


async def test_an_outage_is_answered_offline_and_said(llmock: LLMock, open_desk: Open) -> None:
    llmock.outage(status=503)
    async with open_desk() as desk:
        events = await desk.say(QUESTION)
    check_stream(events)
    assert [event.warning.code for event in events if event.HasField("warning")] == [
        chat_event_pb2.Warning.MODEL_FALLBACK
    ]
    assert events[-1].completed.answer_kind == chat_pb2.ANSWERED
    assert "18" in text_of(events)


async def test_the_model_never_sees_what_is_personal(llmock: LLMock, open_desk: Open) -> None:
    llmock.reply("Noted.").reply("We will write to ⟦EMAIL_1⟧ about Sentosa [1].")
    personal = ("S1234567D", "lee.example@mail.example", "+65 9123 4567")
    async with open_desk() as desk:
        conversation = await desk.conversation()
        await desk.say(f"My NRIC is {personal[0]} and my phone is {personal[2]}. {QUESTION}", conversation)
        events = await desk.say(f"Write to {personal[1]} when you deliver to Sentosa, what does it cost?", conversation)
    sent = [str(request.body) for request in llmock.requests]
    assert sent
    assert not [value for value in personal if any(value in body for body in sent)]
    assert personal[1] in text_of(events), "the customer reads the original"
    check_stream(events)


async def test_a_greeting_needs_no_model(llmock: LLMock, open_desk: Open) -> None:
    async with open_desk() as desk:
        events = await desk.say("hello")
    check_stream(events)
    assert not llmock.requests


async def first_words(call: AsyncIterable[chat_event_pb2.ChatEvent]) -> list[chat_event_pb2.ChatEvent]:
    events = []
    async for event in call:
        events.append(event)
        if len(text_of(events)) > 20:
            break
    return events


async def test_cancel_stops_the_model_and_keeps_what_was_said(llmock: LLMock, open_desk: Open) -> None:
    llmock.reply("word " * 400).pace(20)
    async with open_desk() as desk:
        request = chat.SendMessageRequest(conversation=await desk.conversation(), text=QUESTION)
        call = desk.chat.SendMessage(request, metadata=desk.metadata())
        events = await first_words(call)
        run = await desk.chat.CancelRun(chat.CancelRunRequest(name=events[0].run), metadata=desk.metadata())
        assert run.state == chat_pb2.Run.CANCELLED
        assert await all_closed(llmock), "the model was left writing"
        events += [event async for event in call]
        again = await desk.chat.CancelRun(chat.CancelRunRequest(name=events[0].run), metadata=desk.metadata())
    check_stream(events)
    assert kinds(events)[-1] == "cancelled"
    assert events[-1].cancelled.text == text_of(events)
    assert run.usage.estimated
    assert run.usage.cost_micros > 0
    assert again == run


@pytest.mark.parametrize(
    ("policy", "state"), [(chat.CANCEL, chat_pb2.Run.CANCELLED), (chat.CONTINUE, chat_pb2.Run.COMPLETED)]
)
async def test_a_disconnect_does_what_was_asked(
    llmock: LLMock, open_desk: Open, policy: chat.OnDisconnect.ValueType, state: chat_pb2.Run.State.ValueType
) -> None:
    llmock.reply("word " * 40).pace(25)
    async with open_desk() as desk:
        request = chat.SendMessageRequest(conversation=await desk.conversation(), text=QUESTION, on_disconnect=policy)
        call = desk.chat.SendMessage(request, metadata=desk.metadata())
        events = await first_words(call)
        call.cancel()
        await eventually(run_is(desk, events[0].run, state))


def run_is(desk: Desk, run: str, state: chat_pb2.Run.State.ValueType) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        found = await desk.chat.GetRun(chat.GetRunRequest(name=run), metadata=desk.metadata())
        return bool(found.state == state)

    return look
