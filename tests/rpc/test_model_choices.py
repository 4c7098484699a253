"""Which model answers, and with which prompt: the fallback, the soft limit of money, the arms of an experiment."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from llmock.pytest_plugin import LLMock

from server.caller import Role
from server.chat import prompts
from server.db.pool import Database
from tests.support.app import Desk, running_desk
from tests.support.llmock import model_variables
from tests.support.reading import check_stream, text_of
from tria.chat.v1 import chat_event_pb2, chat_pb2
from tria.ops.v1 import ops_pb2, ops_service_pb2, ops_service_pb2_grpc

QUESTION = "When do you deliver to our shop, and what does it cost on Sentosa?"  # ours: never answered from the cache
ANSWER = "We deliver to Sentosa on Wednesday and Saturday; the surcharge is SGD 18 [1]."
FIRST, SECOND = "desk-large", "desk-small"

Open = Callable[..., AbstractAsyncContextManager[Desk]]


@pytest.fixture
def open_desk(tmp_path: Path, filled_dsn: str, valkey: str, chroma_url: str, llmock: LLMock) -> Open:
    """Opens a server with a model and another for when it fails, both llmock."""

    @asynccontextmanager
    async def opened(**more: str) -> AsyncIterator[Desk]:
        model = {
            **model_variables(llmock.base_url(), FIRST),
            "OPENAI_FALLBACK_MODEL": SECOND,
            "OPENAI_PRICES": f"{FIRST}=2/0.5/8,{SECOND}=1/0.25/4",
            "OPENAI_TIMEOUT": "10",
            "TRIA_STATE_SECRET": secrets.token_hex(20),
            **more,
        }
        async with running_desk(tmp_path, filled_dsn, valkey, chroma_url, model) as desk:
            yield desk

    return opened


def asked(llmock: LLMock) -> list[str]:
    """The models that were called, in order, without repeats."""
    return list(dict.fromkeys(request.model or "" for request in llmock.requests))


def warnings(events: list[chat_event_pb2.ChatEvent]) -> list[int]:
    return [event.warning.code for event in events if event.HasField("warning")]


def usage(events: list[chat_event_pb2.ChatEvent]) -> chat_pb2.RunUsage:
    [found] = [event.usage for event in events if event.HasField("usage")]
    return found


async def test_a_model_that_fails_before_its_first_word_is_replaced_and_it_is_said(
    llmock: LLMock, open_desk: Open
) -> None:
    llmock.fail(500, times=None, model=FIRST).reply(ANSWER, times=None)
    async with open_desk() as desk:
        events = await desk.say(QUESTION)
    check_stream(events)
    assert asked(llmock) == [FIRST, SECOND]
    assert text_of(events) == ANSWER
    assert events[-1].HasField("completed")
    assert warnings(events) == [chat_event_pb2.Warning.MODEL_FALLBACK]
    assert usage(events).model == SECOND


async def test_a_model_that_fails_after_a_word_is_not_replaced(llmock: LLMock, open_desk: Open) -> None:
    llmock.reply(ANSWER).truncate(after_chunks=14)
    async with open_desk() as desk:
        events = await desk.say(QUESTION)
    check_stream(events)
    assert asked(llmock) == [FIRST]
    assert events[-1].failed.info.reason == "MODEL_STREAM_CUT"
    assert warnings(events) == []


async def test_above_the_soft_limit_the_cheaper_model_answers(llmock: LLMock, open_desk: Open) -> None:
    llmock.reply(ANSWER, times=None)
    async with open_desk(TRIA_MODEL_BUDGET_SOFT="0.0000005", TRIA_MODEL_BUDGET_HARD="1000") as desk:
        await desk.say(QUESTION)  # whatever that costs is too much
        before = len(llmock.requests)
        events = await desk.say(QUESTION)
    check_stream(events)
    assert {request.model for request in llmock.requests[before:]} == {SECOND}
    assert text_of(events) == ANSWER
    assert warnings(events) == [chat_event_pb2.Warning.MODEL_FALLBACK]
    assert usage(events).model == SECOND


async def test_conversations_of_arm_b_are_answered_with_its_prompt(llmock: LLMock, open_desk: Open) -> None:
    llmock.reply(ANSWER, times=None)
    async with open_desk() as desk:
        stub = ops_service_pb2_grpc.OpsServiceStub(desk.channel)

        async def switch(*, enabled: bool) -> None:
            flag = ops_pb2.Flag(name="ops/flags/prompt_b", enabled=enabled, percent=100)
            mask = FieldMask(paths=["enabled", "percent"])
            request = ops_service_pb2.UpdateFlagRequest(flag=flag, update_mask=mask, request_id=str(uuid.uuid4()))
            await stub.UpdateFlag(request, metadata=desk.metadata(Role.ADMIN))

        await switch(enabled=True)
        try:
            events = await desk.say(QUESTION)
        finally:
            await switch(enabled=False)
        usual = await desk.say(QUESTION)
        decisions = [await decision(desk, each[0].run) for each in (events, usual)]
    assert [(each["arm"], each["prompt"]) for each in decisions] == [
        ("b", prompts.version("b")),
        ("a", prompts.version("a")),
    ]
    first, second = [str(request.body) for request in llmock.requests]
    assert "at most three sentences" in first
    assert "at most three sentences" not in second


async def decision(desk: Desk, run: str) -> dict[str, object]:
    """The details of the run's AI_DECISION leaf."""
    async with Database(desk.dsn) as database, database.connection() as connection:
        sql = "select convert_from(leaf, 'utf8') from audit_pending where action = 'AI_DECISION' and resource = $1"
        details: dict[str, object] = json.loads(await connection.fetchval(sql, run))["details"]
    return details
