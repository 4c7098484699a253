"""Crowds over two server processes and one model, each person with a connection's worth of patience and no more.

`--cache-crowd` says how many ask one question at once, `--queue-users` and `--queue-limit` how many share a model that
allows so many requests a minute (`make chaos-crowds` runs them with 1,000, 100 and 500).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from llmock.pytest_plugin import LLMock

from server.db.migrate import migrate
from tests.support.app import configuration, fill
from tests.support.llmock import model_variables
from tests.support.reading import check_stream, kinds, text_of
from tests.support.replicas import Replicas, replicas
from tria.chat.v1 import chat_event_pb2, chat_service_pb2

ANSWER = "We deliver from Monday to Saturday [1]."
QUESTION = "When do you deliver, and what does it cost on Sentosa?"
OWN = "When do you deliver to our shop, and what does it cost on Sentosa?"  # never answered from the cache
EACH = 3  # questions of each user

Events = list[chat_event_pb2.ChatEvent]

pytestmark = pytest.mark.timeout(600)


@asynccontextmanager
async def two_processes(folder: Path, urls: dict[str, str], llmock: LLMock, limit: int) -> AsyncIterator[Replicas]:
    model = {
        **model_variables(llmock.base_url()),
        "OPENAI_REQUESTS_PER_MINUTE": str(limit),
    }
    await migrate(urls["TRIA_DATABASE_URL"])
    async with replicas(folder, urls, model, count=2, gateways=False) as over:
        await fill(configuration(folder, over.issuer, urls))
        yield over


@pytest.fixture
def urls(dsn: str, redis_url: str, chroma_url: str) -> dict[str, str]:
    return {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": chroma_url}


async def ask(over: Replicas, number: int, text: str) -> Events:
    """A new conversation of somebody new, half of them at each process; every event of the answer."""
    stub = over.stub(over.all[number % len(over.all)])
    who = (("authorization", f"Bearer {over.token(f'asker-{number}')}"),)
    made = await stub.CreateConversation(chat_service_pb2.CreateConversationRequest(), metadata=who)
    request = chat_service_pb2.SendMessageRequest(conversation=made.name, text=text)
    return [event async for event in stub.SendMessage(request, metadata=who)]


async def test_one_question_of_many_costs_one_model_call(
    tmp_path: Path, urls: dict[str, str], llmock: LLMock, pytestconfig: pytest.Config
) -> None:
    crowd = int(pytestconfig.getoption("--cache-crowd"))
    llmock.slow_first_token(1.0, times=1)
    llmock.reply(ANSWER, times=None)
    async with two_processes(tmp_path, urls, llmock, 500) as over:
        answers = await asyncio.gather(*(ask(over, number, QUESTION) for number in range(crowd)))
        later = await ask(over, crowd, QUESTION)
    for events in answers:
        check_stream(events)
    assert {kinds(events)[-1] for events in answers} == {"completed"}
    assert {text_of(events) for events in answers} == {ANSWER}
    assert len(llmock.requests) == 1
    assert later[0].run_accepted.cache_hit


async def test_more_people_than_the_model_allows_wait_in_turn_and_are_answered(
    tmp_path: Path, urls: dict[str, str], llmock: LLMock, pytestconfig: pytest.Config
) -> None:
    users, limit = int(pytestconfig.getoption("--queue-users")), int(pytestconfig.getoption("--queue-limit"))
    llmock.limits(rpm=limit)
    llmock.reply(ANSWER, times=None)
    places: dict[int, list[chat_event_pb2.Queued]] = {number: [] for number in range(users)}

    async def use(over: Replicas, number: int) -> list[Events]:
        ended = []
        for _ in range(EACH):
            events = await ask(
                over,
                number,
                OWN,
            )
            places[number] += [event.queued for event in events if event.HasField("queued")]
            ended.append(events)
        return ended

    async with two_processes(tmp_path, urls, llmock, limit) as over:
        answers = await asyncio.gather(*(use(over, number) for number in range(users)))
    for events in (each for ended in answers for each in ended):
        check_stream(events)
        assert (kinds(events)[-1], text_of(events)) == ("completed", ANSWER)
    saw = sum(map(bool, places.values()))
    # Few people may be lucky with all their questions; of a hundred nobody is.
    assert saw == users if users >= 100 else saw >= users / 2, f"{saw} of {users} saw a place in the queue"
    assert all(place.position >= 1 for seen in places.values() for place in seen)
    assert len(llmock.requests) == EACH * users, "nothing was sent twice"
    assert {request.status for request in llmock.requests} == {200}
    llmock.assert_resilient(strict=True)
