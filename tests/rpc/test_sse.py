"""The door for EventSource: the same events as everywhere, and a ticket opens what it was made for and nothing else."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import redis.asyncio
from google.protobuf import json_format

from server.caller import AuthMethod, Caller, Role
from server.chat.tickets import Tickets
from server.errors import AppError, Reason
from tests.support.app import Desk, running_desk
from tests.support.reading import reason
from tria.chat.v1 import chat_event_pb2
from tria.chat.v1 import chat_service_pb2 as chat

QUESTION = "When do you deliver, and what does it cost on Sentosa?"
RUN = "conversations/c/runs/r"
ANN = Caller("demo", "ann", frozenset({Role.CUSTOMER}), AuthMethod.JWT, "o1", person="p1", expires_at=4e9)


async def ticket_for(desk: Desk, run: str) -> str:
    made: chat.StreamTicket = await desk.chat.CreateStreamTicket(
        chat.CreateStreamTicketRequest(run=run), metadata=desk.metadata()
    )
    return made.ticket


async def stream(desk: Desk, run: str, ticket: str, last: int | None = None, after: int = 0) -> list[str]:
    """The frames of one connection."""
    metadata = () if last is None else (("last-event-id", str(last)),)
    request = chat.StreamRunSseRequest(run=run, ticket=ticket, after_seq=after)
    bodies = [body async for body in desk.chat.StreamRunSse(request, metadata=metadata)]
    assert {body.content_type for body in bodies} == {"text/event-stream"}
    return b"".join(body.data for body in bodies).decode().split("\n\n")[:-1]


def event(frame: str) -> chat_event_pb2.ChatEvent:
    found = json_format.Parse(re.findall(r"^data: (.*)$", frame, re.MULTILINE)[0], chat_event_pb2.ChatEvent())
    assert f"event: {found.WhichOneof('event')}" in frame.split("\n")
    return found


async def test_frames_are_the_events_of_the_run(desk: Desk) -> None:
    events = await desk.say(QUESTION)
    run = events[0].run
    opening, *frames = await stream(desk, run, await ticket_for(desk, run))
    assert opening == ": open\nretry: 1000\nid: 0"
    assert [event(frame) for frame in frames] == events
    assert [f"id: {each.seq}" in frame.split("\n") for each, frame in zip(events, frames, strict=True)]
    assert [frame for frame in frames if "retry:" in frame] == frames[-1:], "the end stops the browser"
    assert frames[-1].startswith("retry: 2000000000\n")


async def test_last_event_id_goes_before_the_query_and_the_end_is_told_again(desk: Desk) -> None:
    events = await desk.say(QUESTION)
    run, end = events[0].run, events[-1]
    assert [event(frame) for frame in (await stream(desk, run, await ticket_for(desk, run), after=2))[1:]] == events[2:]
    ticket = await ticket_for(desk, run)
    frames = await stream(desk, run, ticket, last=3, after=1)
    assert [event(frame) for frame in frames[1:]] == events[3:]
    [_, again] = await stream(desk, run, ticket, last=end.seq)
    assert event(again) == end
    assert "retry: 2000000000" in again


async def test_a_used_ticket_opens_only_the_rest_of_its_run(desk: Desk) -> None:
    run, other = [(await desk.say(QUESTION))[0].run for _ in range(2)]
    ticket = await ticket_for(desk, run)
    for wrong_run, wrong_ticket in ((other, ticket), (run, "x" * 43)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream(desk, wrong_run, wrong_ticket)
        assert reason(refused.value) == "TICKET_INVALID"
    await stream(desk, run, ticket)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream(desk, run, ticket)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert len(await stream(desk, run, ticket, last=1)) > 2


async def test_nobody_gets_a_ticket_for_what_is_not_theirs(desk: Desk) -> None:
    run = (await desk.say(QUESTION))[0].run
    for who in (desk.metadata(tenant="other"), desk.metadata(outlet="another")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await desk.chat.CreateStreamTicket(chat.CreateStreamTicketRequest(run=run), metadata=who)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_ticket_is_bound_to_where_it_was_first_used(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        tickets = Tickets(client)
        made = await tickets.issue(ANN, RUN)
        for returning in (False, True):
            caller = await tickets.redeem(made.ticket, RUN, "here", returning=returning)
            assert replace(caller, expires_at=ANN.expires_at) == ANN
            assert caller.expires_at is not None
            assert caller.expires_at < time.time() + 3600, "not for as long as the credential"
        for place, returning in (("here", False), ("there", True), ("there", False)):
            with pytest.raises(AppError) as refused:
                await tickets.redeem(made.ticket, RUN, place, returning=returning)
            assert refused.value.reason is Reason.TICKET_INVALID
        [key] = [key async for key in client.scan_iter(match="ticket:*")]
        assert 60 < await client.ttl(key) <= 120
        held = repr(await client.hgetall(key)) + repr(key)
        assert all(word not in held for word in (made.ticket, "ann", "p1", "here", "demo"))


async def test_a_ticket_ends_with_the_credential_behind_it(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        tickets = Tickets(client)
        made = await tickets.issue(replace(ANN, expires_at=1.0), RUN)
        with pytest.raises(AppError):
            await tickets.redeem(made.ticket, RUN, "here", returning=False)
        fresh = await tickets.issue(ANN, RUN)
        [key] = [key async for key in client.scan_iter(match="ticket:*") if 0 < await client.ttl(key) <= 60]
        await client.delete(key)  # as 60 s do
        with pytest.raises(AppError):
            await tickets.redeem(fresh.ticket, RUN, "here", returning=False)


async def test_without_redis_there_are_no_tickets_and_browsers_are_told_to_come_back(
    tmp_path: Path, filled_dsn: str, chroma_url: str
) -> None:
    async with running_desk(tmp_path, filled_dsn, "redis://127.0.0.1:1", chroma_url) as desk:
        run = (await desk.say(QUESTION))[0].run
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ticket_for(desk, run)
        assert reason(refused.value) == "STORE_UNAVAILABLE"
        assert await stream(desk, run, "x" * 43) == ["retry: 5000\nevent: reconnect\ndata: {}"]
