"""OpsService and what it turns, over the wire: shared answers, warming, usage, flags, and the hour's money."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from llmock.pytest_plugin import LLMock

from server.audit.changes import operator
from server.caller import Role
from server.db.pool import Database
from server.embedded import demo
from server.order.catalogue import Catalogue
from server.order.catalogue_csv import read_catalogue
from tests.support.app import Desk, running_desk
from tests.support.llmock import model_variables
from tests.support.reading import check_stream, reason, text_of
from tria.chat.v1 import chat_event_pb2, chat_pb2
from tria.chat.v1 import chat_service_pb2 as chat
from tria.ops.v1 import ops_pb2, ops_service_pb2, ops_service_pb2_grpc

QUESTION = "When do you deliver, and what does it cost on Sentosa?"
ANSWER = "We deliver to Sentosa on Wednesday and Saturday; the surcharge is SGD 18 [1]."

Open = Callable[..., AbstractAsyncContextManager[Desk]]


@pytest.fixture
def open_desk(tmp_path: Path, filled_dsn: str, valkey: str, chroma_url: str, llmock: LLMock) -> Open:
    """Opens a server whose model is llmock, over the demo data."""

    @asynccontextmanager
    async def opened(more: Mapping[str, str] | None = None) -> AsyncIterator[Desk]:
        model = {
            **model_variables(llmock.base_url(), f"desk-{secrets.token_hex(4)}"),
            "TRIA_STATE_SECRET": secrets.token_hex(20),
            **(more or {}),
        }
        model["OPENAI_PRICES"] = f"{model['OPENAI_MODEL']}=2/0.5/8"
        async with running_desk(tmp_path, filled_dsn, valkey, chroma_url, model) as desk:
            yield desk

    return opened


def ops(desk: Desk) -> ops_service_pb2_grpc.OpsServiceAsyncStub:
    return ops_service_pb2_grpc.OpsServiceStub(desk.channel)


async def ask(desk: Desk, text: str, *, outlet: str = "pizza-pronto-bugis") -> list[chat_event_pb2.ChatEvent]:
    """A question in a conversation of its own, by somebody new of the outlet."""
    metadata = desk.metadata(subject=f"someone-{uuid.uuid4().hex[:8]}", outlet=outlet)
    made = await desk.chat.CreateConversation(chat.CreateConversationRequest(), metadata=metadata)
    request = chat.SendMessageRequest(conversation=made.name, text=text)
    events = [event async for event in desk.chat.SendMessage(request, metadata=metadata)]
    check_stream(events)
    return events


def hit(events: list[chat_event_pb2.ChatEvent]) -> bool:
    [usage] = [event.usage for event in events if event.HasField("usage")]
    if usage.saved_micros:
        assert usage.cost_micros == 0
    return usage.saved_micros > 0


async def test_an_answer_is_shared_counted_and_forgotten_when_it_ends(llmock: LLMock, open_desk: Open) -> None:
    llmock.slow_first_token(2.0, times=None)
    llmock.reply(ANSWER, times=None)
    async with open_desk() as desk:
        admin = desk.metadata(Role.ADMIN)
        begin = Timestamp()
        begin.GetCurrentTime()
        started = time.monotonic()
        first = await ask(desk, QUESTION)
        between = time.monotonic()
        second = await ask(desk, QUESTION.upper() + " ", outlet="pizza-pronto-tampines")
        ended = time.monotonic()
        assert (hit(first), hit(second)) == (False, True)
        assert not first[0].run_accepted.cache_hit
        assert text_of(second) == text_of(first) == ANSWER
        assert [event.citation for event in first if event.HasField("citation")] == [
            event.citation for event in second if event.HasField("citation")
        ]
        assert len(llmock.requests) == 1
        assert (between - started) > 2 * (ended - between), "with two new conversations and their calls in it"
        run = await desk.chat.GetRun(chat.GetRunRequest(name=first[0].run), metadata=desk.metadata(Role.STAFF))
        assert run.state == chat_pb2.Run.COMPLETED
        stats = await ops(desk).GetCacheStats(ops_service_pb2.GetCacheStatsRequest(), metadata=admin)
        assert (stats.hits, stats.misses, stats.entries, stats.fallback) == (1, 1, 1, False)
        assert stats.saved_micros == run.usage.cost_micros > 0
        assert stats.hit_latency.ToMicroseconds() * 5 < stats.miss_latency.ToMicroseconds()
        usage = await ops(desk).GetUsage(
            ops_service_pb2.GetUsageRequest(start_time=begin, granularity=ops_service_pb2.GetUsageRequest.HOUR),
            metadata=admin,
        )
        assert (usage.runs, usage.cost_micros, usage.saved_micros) == (2, stats.saved_micros, stats.saved_micros)
        assert {(kind.answer_kind, kind.runs) for kind in usage.answer_kinds} == {("ANSWERED", 2)}
        assert sum(cut.runs for cut in usage.slices) == 2
        # Somebody with another role, or another question, is answered anew; so is everybody after an import.
        assert not hit(await ask(desk, "How much is the delivery fee for Jurong Island?"))
        async with Database(desk.dsn) as database:
            await import_and_restore(Catalogue(database))
        assert not hit(await ask(desk, QUESTION))
        assert hit(await ask(desk, QUESTION))


async def import_and_restore(catalogue: Catalogue) -> None:
    """Two imports that change a product and change it back: revisions that others' tests do not see."""
    row = read_catalogue((demo.DATA / "products.csv").read_bytes())[0][0]
    changed = replace(row, product=replace(row.product, min_quantity=row.product.min_quantity + 1))
    for each in (changed, row):
        await catalogue.import_rows(operator(demo.TENANT), [each])


async def test_warming(llmock: LLMock, open_desk: Open) -> None:
    llmock.reply(ANSWER, times=None)
    async with open_desk() as desk:
        admin = desk.metadata(Role.ADMIN)
        request_id = str(uuid.uuid4())
        asked = ops_service_pb2.WarmCacheRequest(questions=[QUESTION, "Where is my order?"], request_id=request_id)
        warmed = await ops(desk).WarmCache(asked, metadata=admin)
        assert (warmed.warmed, warmed.present, warmed.vetoed) == (1, 0, 1)
        assert await ops(desk).WarmCache(asked, metadata=admin) == warmed, "the same call again"
        again = await ops(desk).WarmCache(
            ops_service_pb2.WarmCacheRequest(request_id=str(uuid.uuid4())), metadata=admin
        )
        assert (again.warmed, again.present, again.vetoed) == (0, 1, 0), "the standing list, without what is personal"
        assert hit(await ask(desk, QUESTION))
        async with Database(desk.dsn) as database, database.connection() as connection:
            prompts = await connection.fetchval("select count(*) from prompt_version")
        assert prompts == 2


async def test_the_hours_money(llmock: LLMock, open_desk: Open) -> None:
    llmock.reply(ANSWER, times=None)
    async with open_desk({"TRIA_MODEL_BUDGET_HARD": "0.0000005"}) as desk:
        await ask(desk, QUESTION)
        requests = len(llmock.requests)
        # Whatever that cost is too much: what is not known is answered offline, and said to be.
        free = await ask(desk, "How much is the delivery fee for Jurong Island?")
        assert len(llmock.requests) == requests
    warnings = [event.warning.code for event in free if event.HasField("warning")]
    assert warnings == [chat_event_pb2.Warning.MODEL_FALLBACK]
    assert free[-1].HasField("completed")


async def test_flags(llmock: LLMock, open_desk: Open) -> None:
    llmock.reply(ANSWER, times=None)
    async with open_desk() as desk:
        admin = desk.metadata(Role.ADMIN)
        await ask(desk, QUESTION)
        assert hit(await ask(desk, QUESTION))
        flags = await ops(desk).ListFlags(ops_service_pb2.ListFlagsRequest(page_size=2), metadata=admin)
        assert [flag.name for flag in flags.flags] == ["ops/flags/answer_cache", "ops/flags/answer_cache_by_meaning"]
        off = ops_service_pb2.UpdateFlagRequest(
            flag=ops_pb2.Flag(name="ops/flags/answer_cache", enabled=False, etag=flags.flags[0].etag),
            update_mask=FieldMask(paths=["enabled"]),
            request_id=str(uuid.uuid4()),
        )
        changed = await ops(desk).UpdateFlag(off, metadata=admin)
        assert (changed.enabled, changed.percent) == (False, 100)
        assert await ops(desk).UpdateFlag(off, metadata=admin) == changed, "the same call again"
        assert not hit(await ask(desk, QUESTION))
        on = ops_service_pb2.UpdateFlagRequest(
            flag=ops_pb2.Flag(name="ops/flags/answer_cache", enabled=True),
            update_mask=FieldMask(paths=["enabled"]),
            request_id=str(uuid.uuid4()),
        )
        await ops(desk).UpdateFlag(on, metadata=admin)
        off.request_id = str(uuid.uuid4())
        with pytest.raises(grpc.aio.AioRpcError) as stale:
            await ops(desk).UpdateFlag(off, metadata=admin)
        assert reason(stale.value) == "ETAG_MISMATCH"
        off.flag.name, off.request_id = "ops/flags/unknown", str(uuid.uuid4())
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await ops(desk).UpdateFlag(off, metadata=admin)
        assert missing.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ops(desk).GetUsage(ops_service_pb2.GetUsageRequest(), metadata=desk.metadata())
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_usage_of_a_time_that_no_calendar_has_is_refused(open_desk: Open) -> None:
    async with open_desk() as desk:
        request = ops_service_pb2.GetUsageRequest(start_time=Timestamp(seconds=1 << 62))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ops(desk).GetUsage(request, metadata=desk.metadata(Role.ADMIN))
    assert reason(refused.value) == "INVALID_FIELD"
