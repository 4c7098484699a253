"""Streams through the gateway: framing, flushing one by one, errors, cancellation, both kinds of SSE."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx

from tests.edge.conftest import Edge
from tests.edge.test_requests import error
from tests.support.edge import until

SEND = "/v1/conversations/c1:send"


async def frames(response: httpx.Response) -> AsyncIterator[str]:
    """The SSE frames of `response` as they arrive, without their blank line."""
    rest = ""
    async for text in response.aiter_text():
        rest += text
        while "\n\n" in rest:
            frame, rest = rest.split("\n\n", 1)
            yield frame
    assert rest == "", "a frame was cut"


async def test_each_message_is_one_data_line(http: httpx.AsyncClient) -> None:
    async with http.stream("POST", SEND, json={"text": "go"}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["cache-control"] == "no-store, no-transform"
        assert response.headers["x-accel-buffering"] == "no"
        found = [frame async for frame in frames(response)]

    events = []
    for frame in found:
        assert frame.startswith("data: ")
        assert "\n" not in frame, "newlines in the text must not end a frame"
        events.append(json.loads(frame.removeprefix("data: ")))
    assert [event["seq"] for event in events] == ["1", "2", "3", "4", "5"]
    assert "".join(event["textDelta"]["text"] for event in events[1:4]) == "Hello, world\n\n"
    assert "completed" in events[-1]


async def test_events_are_flushed_one_by_one(http: httpx.AsyncClient, edge: Edge) -> None:
    """The upstream sends the next event only after the test has read the one before: nothing may be held back."""
    async with http.stream("POST", SEND, json={"text": "paced"}) as response:
        arriving = frames(response)
        for seq in range(1, 6):
            frame = await asyncio.wait_for(anext(arriving), 5)
            assert json.loads(frame.removeprefix("data: "))["seq"] == str(seq)
            edge.upstream.go_on.set()


async def test_error_before_the_first_message_is_the_status(http: httpx.AsyncClient) -> None:
    error(await http.post(SEND, json={"text": "refuse"}), 429, 8, "RATE_LIMITED")


async def test_caller_that_leaves_cancels_the_rpc(http: httpx.AsyncClient, edge: Edge) -> None:
    async with http.stream("POST", SEND, json={"text": "hang"}) as response:
        arriving = frames(response)
        for _ in range(4):  # now the upstream waits, and is not just handing an event over
            await anext(arriving)
    await until(edge.upstream.cancelled.is_set, seconds=5)


async def test_event_source_gets_ids_and_its_last_event_id_arrives(anonymous: httpx.AsyncClient, edge: Edge) -> None:
    path = "/v1/conversations/c1/runs/r1:sse?ticket=ticket-0123456789"
    async with anonymous.stream("GET", path, headers={"last-event-id": "7", "accept": "text/event-stream"}) as response:
        assert response.headers["content-type"] == "text/event-stream"
        found = [frame async for frame in frames(response)]

    assert found == [": open", "retry: 500\nid: 1\ndata: {}", "id: 2\ndata: {}"]
    call = edge.upstream.calls[0]
    assert (call.request.run, call.request.ticket) == ("conversations/c1/runs/r1", "ticket-0123456789")
    assert call.metadata["last-event-id"] == "7"
