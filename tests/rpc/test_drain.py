"""A stop that nobody loses anything by: streams are told to come back, runs finish, and the process ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
from llmock.pytest_plugin import LLMock

from server.health import Status
from tests.support.app import running_desk
from tests.support.llmock import model_variables
from tests.support.reading import text_of
from tria.chat.v1 import chat_pb2
from tria.chat.v1 import chat_service_pb2 as chat

QUESTION = "When do you deliver, and what does it cost on Sentosa?"


async def test_a_stream_is_sent_elsewhere_and_its_run_finishes(
    tmp_path: Path, filled_dsn: str, valkey: str, chroma_url: str, llmock: LLMock
) -> None:
    llmock.reply("word " * 40).pace(25)
    model = {
        **model_variables(llmock.base_url()),
        "TRIA_DRAIN": "10",
    }
    async with running_desk(tmp_path, filled_dsn, valkey, chroma_url, model) as desk:
        request = chat.SendMessageRequest(conversation=await desk.conversation(), text=QUESTION)
        call = desk.chat.SendMessage(request, metadata=desk.metadata())
        events = []
        stop = asyncio.Event()
        stopping = asyncio.create_task(desk.application.run_until(stop))
        async for event in call:
            events.append(event)
            if len(text_of(events)) > 20:
                stop.set()
        assert events[-1].HasField("reconnect")
        assert not events[-1].seq
        assert events[-1].reconnect.resume_after_seq == events[-2].seq
        assert 0 < events[-1].reconnect.delay.ToMilliseconds() <= 2000
        await stopping
        assert desk.application.monitor.health.status is Status.NOT_SERVING
        assert await call.code() is grpc.StatusCode.OK
        run_name = events[0].run
    async with running_desk(tmp_path, filled_dsn, valkey, chroma_url) as other:
        run = await other.chat.GetRun(chat.GetRunRequest(name=run_name), metadata=other.metadata())
        assert run.state == chat_pb2.Run.COMPLETED
        after = events[-1].reconnect.resume_after_seq
        resumed = [
            event
            async for event in other.chat.ResumeRun(
                chat.ResumeRunRequest(run=run_name, after_seq=after), metadata=other.metadata()
            )
        ]
    assert [event.seq for event in resumed] == list(range(after + 1, run.last_seq + 1))
    assert resumed[-1].completed.text == text_of([*events, *resumed]) == "word " * 40
