"""However the connections of a run are cut, its events arrive once, in order, and end with one terminal."""

from __future__ import annotations

import asyncio
from collections import deque

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.scripted import RUN, Connection, Cut, Script
from tests.unit.client.conftest import QUICK
from tria.chat.v1 import chat_event_pb2, chat_service_pb2
from tria_client.client import TriaClient
from tria_client.errors import TriaError
from tria_client.following import TERMINALS

EVENTS = 5  # of the script's own log: accepted, two deltas, hash, terminal
CUTS = [cut for cut in Cut if cut is not Cut.HANG]

connections = st.builds(
    Connection, sent=st.integers(1, 6), cut=st.sampled_from(CUTS), back=st.integers(0, 4), heartbeats=st.booleans()
)


async def sent(client: TriaClient, timeout: float | None = None) -> list[chat_event_pb2.ChatEvent]:
    return [event async for event in client.send("conversations/c1", "hello", timeout=timeout)]


def refusal(code: grpc.StatusCode, reason: str, retry_after: float | None = None) -> status_pb2.Status:
    number: int = code.value[0]
    status = status_pb2.Status(code=number, message="refused")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="tria"))
    if retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(int(retry_after * 1000))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


@given(
    texts=st.lists(st.text(max_size=5), max_size=6),
    terminal=st.sampled_from(sorted(TERMINALS)),
    plan=st.lists(connections, max_size=8),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_every_pattern_of_cuts_gives_the_log(
    client: TriaClient, script: Script, texts: list[str], terminal: str, plan: list[Connection]
) -> None:
    script.reset(texts, terminal)
    script.connections = deque(plan)
    assert await sent(client, timeout=30) == script.log


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("after", range(EVENTS))
async def test_a_cut_at_every_event(client: TriaClient, script: Script, cut: Cut, after: int) -> None:
    script.connections.append(Connection(sent=after, cut=cut, back=0))
    assert await sent(client) == script.log
    calls = [call.method for call in script.calls]
    # A gap before the terminal of a stream's first event is how a run without its log looks: nothing to ask again.
    assert calls == ["SendMessage", "ResumeRun" if after else "SendMessage"]


async def test_a_resume_asks_for_what_is_missing_and_drops_what_it_knows(client: TriaClient, script: Script) -> None:
    script.connections.extend([Connection(sent=3, cut=Cut.END), Connection(sent=9, cut=Cut.END, back=2)])
    assert await sent(client) == script.log
    assert [call.method for call in script.calls] == ["SendMessage", "ResumeRun"]
    assert script.calls[1].request == chat_service_pb2.ResumeRunRequest(run=RUN, after_seq=3)


async def test_before_the_first_event_the_same_message_is_sent_again(client: TriaClient, script: Script) -> None:
    script.connections.append(Connection(sent=0, cut=Cut.END))
    await sent(client)
    first, second = [call.request for call in script.calls]
    assert isinstance(first, chat_service_pb2.SendMessageRequest)
    assert first.client_message_id
    assert first == second


async def test_a_streamed_chat_keeps_its_session_when_it_is_repeated(client: TriaClient, script: Script) -> None:
    script.connections.append(Connection(sent=0, cut=Cut.UNAVAILABLE))
    assert [event async for event in client.stream_chat("hello")] == script.log
    first, second = [call.request for call in script.calls]
    assert isinstance(first, chat_service_pb2.StreamChatRequest)
    assert first.session_id
    assert first == second


async def test_a_silent_stream_is_a_cut_one(target: str, script: Script) -> None:
    script.connections.append(Connection(sent=2, cut=Cut.HANG))
    async with TriaClient(target, tls=False, backoff=QUICK, silence=0.2) as impatient:
        assert await sent(impatient) == script.log
    assert [call.method for call in script.calls] == ["SendMessage", "ResumeRun"]


async def test_the_deadline_ends_a_run_that_hangs(client: TriaClient, script: Script) -> None:
    script.connections.append(Connection(sent=2, cut=Cut.HANG))
    with pytest.raises(TriaError) as caught:
        await sent(client, timeout=0.3)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_the_deadline_ends_a_wait_at_once(client: TriaClient, script: Script) -> None:
    script.reconnect_delay = 60.0
    script.connections.append(Connection(sent=1, cut=Cut.RECONNECT))
    async with asyncio.timeout(5):
        with pytest.raises(TriaError) as caught:
            await sent(client, timeout=10)
    assert caught.value.reason == "DEADLINE_EXCEEDED"


async def test_reconnect_waits_as_long_as_the_server_asks(client: TriaClient, script: Script) -> None:
    script.reconnect_delay = 0.25
    script.connections.append(Connection(sent=1, cut=Cut.RECONNECT))
    before = asyncio.get_running_loop().time()
    assert await sent(client) == script.log
    assert asyncio.get_running_loop().time() - before >= 0.25


async def test_attempts_that_bring_nothing_end(client: TriaClient, script: Script) -> None:
    script.connections.extend([Connection(sent=0, cut=Cut.UNAVAILABLE)] * 20)
    with pytest.raises(TriaError, match="connection reset"):
        await sent(client)
    assert len(script.calls) == QUICK.attempts + 1


async def test_connections_that_bring_only_what_is_known_end_too(client: TriaClient, script: Script) -> None:
    script.connections.extend([Connection(sent=0, cut=Cut.UNAVAILABLE, back=2)] * 20)
    with pytest.raises(TriaError, match="connection reset"):
        [event async for event in client.resume(RUN, after_seq=2)]
    assert len(script.calls) == QUICK.attempts + 1


async def test_a_run_that_waits_may_be_cut_as_often_as_it_likes(client: TriaClient, script: Script) -> None:
    script.connections.extend([Connection(sent=0, cut=Cut.UNAVAILABLE, heartbeats=True)] * (2 * QUICK.attempts))
    assert await sent(client) == script.log


@pytest.mark.parametrize("back", [46, 50])
async def test_a_terminal_ends_the_run_whatever_its_seq(client: TriaClient, script: Script, back: int) -> None:
    script.connections.extend([Connection(sent=0, cut=Cut.UNAVAILABLE, back=back)] * 20)
    assert [event async for event in client.resume(RUN, after_seq=50)] == script.log[-1:]
    assert len(script.calls) == 1


async def test_progress_resets_the_count_of_attempts(client: TriaClient, script: Script) -> None:
    script.reset(list("a long answer in many pieces"))
    script.connections.extend([Connection(sent=1, cut=Cut.UNAVAILABLE)] * 20)
    assert await sent(client) == script.log


async def test_a_refusal_is_raised_and_not_repeated(client: TriaClient, script: Script) -> None:
    script.refusals.append(refusal(grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"))
    with pytest.raises(TriaError) as caught:
        await sent(client)
    assert caught.value.reason == "RESOURCE_NOT_FOUND"
    assert len(script.calls) == 1


@pytest.mark.parametrize("reason", ["RUN_OWNER_LOST", "MODEL_UNAVAILABLE"])
async def test_an_outcome_is_not_repeated(client: TriaClient, script: Script, reason: str) -> None:
    script.refusals.append(refusal(grpc.StatusCode.UNAVAILABLE, reason))
    with pytest.raises(TriaError):
        await sent(client)
    assert len(script.calls) == 1


async def test_too_many_streams_delay_a_resume_but_refuse_a_message(client: TriaClient, script: Script) -> None:
    busy = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", retry_after=0.05)
    script.refusals.append(busy)
    assert [event async for event in client.resume(RUN)] == script.log
    script.refusals.append(busy)
    with pytest.raises(TriaError) as caught:
        await sent(client)
    assert caught.value.retry_after == pytest.approx(0.05)


async def test_text_that_does_not_fit_its_hash_is_data_loss(client: TriaClient, script: Script) -> None:
    script.log[2].text_delta.text = "other"
    with pytest.raises(TriaError) as caught:
        await sent(client)
    assert caught.value.code is grpc.StatusCode.DATA_LOSS
    assert len(script.calls) == 1


async def test_a_snapshot_stands_for_what_the_log_lost(client: TriaClient, script: Script) -> None:
    snapshot = chat_event_pb2.ChatEvent(run=RUN, seq=4, snapshot=chat_event_pb2.Snapshot(text="Hello", last_seq=4))
    script.log[:4] = [snapshot]
    assert [event async for event in client.resume(RUN)] == script.log


async def test_resume_in_the_middle_does_not_judge_a_text_it_did_not_see(client: TriaClient, script: Script) -> None:
    assert [event.seq async for event in client.resume(RUN, after_seq=2)] == [3, 4, 5]


async def test_a_stream_that_is_let_go_ends_its_call(client: TriaClient, script: Script) -> None:
    script.connections.append(Connection(sent=1, cut=Cut.HANG))
    events = client.send("conversations/c1", "hello")
    assert (await anext(events)).seq == 1
    await events.aclose()
    assert [event async for event in client.resume(RUN)] == script.log


async def test_a_cancelled_reader_is_cancelled(client: TriaClient, script: Script) -> None:
    script.connections.append(Connection(sent=1, cut=Cut.HANG))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await sent(client)
    assert len(script.calls) == 1
