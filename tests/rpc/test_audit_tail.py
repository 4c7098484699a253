"""TailEvents: live, resumed by seq, alive in silence, and never ended by an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError

from tests.support.reading import reason
from tests.support.stores import eventually
from tests.support.trail import Trail, trail_server
from tria.audit.v1 import audit_pb2
from tria.audit.v1 import audit_service_pb2 as rpc

PATIENCE = 10.0


@asynccontextmanager
async def tailing(trail: Trail, after: int | None = None, tenant: str = "acme") -> AsyncIterator[Any]:
    """A tail whose first item, the sign of life, has come."""
    request = rpc.TailEventsRequest() if after is None else rpc.TailEventsRequest(after_seq=after)
    call: Any = trail.stub.TailEvents(request, metadata=trail.who(tenant=tenant))
    first = await asyncio.wait_for(call.read(), PATIENCE)
    assert first.WhichOneof("item") == "heartbeat_seq"
    yield call
    call.cancel()


async def following(call: Any, count: int) -> list[audit_pb2.AuditEvent]:
    """The next events."""
    events: list[audit_pb2.AuditEvent] = []
    while len(events) < count:
        item = await asyncio.wait_for(call.read(), PATIENCE)
        assert item is not grpc.aio.EOF
        assert item.WhichOneof("item") != "reconnect_after_seq"
        if item.HasField("event"):
            events.append(item.event)
    return events


async def test_events_come_as_they_are_sequenced(trail: Trail) -> None:
    await trail.add(3)
    async with tailing(trail) as call:
        leaves = await trail.add(4)
        events = await following(call, 4)
    assert [event.seq for event in events] == [3, 4, 5, 6]
    assert [event.event_id for event in events] == [leaf.event_id for leaf in leaves]


async def test_a_tail_begins_at_the_beginning_and_goes_on_anywhere(trail: Trail) -> None:
    await trail.add(250)
    async with tailing(trail, -1) as call:
        events = await following(call, 250)
    assert [event.seq for event in events] == list(range(250))
    async with tailing(trail, 200) as call:
        assert (await following(call, 1))[0].seq == 201


async def test_a_tail_goes_on_at_another_server(trail: Trail, redis_url: str, tmp_path: Path) -> None:
    async with tailing(trail, -1) as call:
        await trail.add(5)
        seen = (await following(call, 3))[-1].seq
    async with trail_server(tmp_path / "other", trail.dsn, redis_url) as other, tailing(other, seen) as call:
        assert [event.seq for event in await following(call, 2)] == [3, 4]
        await trail.add(1)
        events = await following(call, 1)
        assert events[0].seq == 5 or events[0].rpc.endswith("TailEvents")


async def test_a_tail_is_of_the_callers_own_log(trail: Trail) -> None:
    async with tailing(trail, -1, tenant="globex") as call:
        await trail.add(3)
        await trail.add(1, tenant="globex")
        [event] = await following(call, 1)
        assert event.seq == 0
        theirs = await trail.value("select count(*) from audit_event where tenant = 'globex'")
        assert theirs == 1


async def test_who_has_seen_more_than_there_is_is_told(trail: Trail) -> None:
    """A log that was cut short must not look like one where nothing happens."""
    await trail.add(3)
    call = trail.stub.TailEvents(rpc.TailEventsRequest(after_seq=1000), metadata=trail.who())
    with pytest.raises(AioRpcError) as caught:
        await call.read()
    assert reason(caught.value) == "AUDIT_RANGE_INVALID"
    call = trail.stub.TailEvents(rpc.TailEventsRequest(after_seq=-2), metadata=trail.who())
    with pytest.raises(AioRpcError) as caught:
        await call.read()
    assert reason(caught.value) == "INVALID_FIELD"


async def test_what_retention_dropped_is_not_passed_over_in_silence(trail: Trail) -> None:
    await trail.add(10)
    await trail.run(
        "insert into audit_retired (tenant, first, last, partition) values ('acme', 0, 5, 'audit_event_2020_01')"
    )
    async with tailing(trail, -1) as call:
        assert (await following(call, 1))[0].seq == 6
    async with tailing(trail, 5) as call:
        assert (await following(call, 1))[0].seq == 6
    call = trail.stub.TailEvents(rpc.TailEventsRequest(after_seq=4), metadata=trail.who())
    with pytest.raises(AioRpcError) as caught:
        await call.read()
    assert reason(caught.value) == "AUDIT_RANGE_INVALID"


async def test_silence_has_heartbeats_and_an_end(dsn: str, redis_url: str, tmp_path: Path) -> None:
    async with trail_server(tmp_path, dsn, redis_url, heartbeat=0.1, max_age=1.0) as quick, tailing(quick) as call:
        items = []
        while (item := await asyncio.wait_for(call.read(), PATIENCE)) is not grpc.aio.EOF:
            items.append(item)
        assert await call.code() is grpc.StatusCode.OK
    assert [item.WhichOneof("item") for item in items[:-1]] == ["heartbeat_seq"] * (len(items) - 1)
    assert 3 <= len(items) <= 12
    assert items[-1].HasField("reconnect_after_seq")
    assert items[-1].reconnect_after_seq == -1


async def test_a_stopping_server_sends_readers_elsewhere(trail: Trail) -> None:
    await trail.add(2)
    async with tailing(trail, 1) as call:
        trail.desk.drain()
        item = await asyncio.wait_for(call.read(), PATIENCE)
        assert item.reconnect_after_seq == 1


async def test_a_tail_survives_the_loss_of_the_listening_connection(trail: Trail) -> None:
    listeners = (
        "select array_agg(pid) from pg_stat_activity where application_name = 'tria-audit-bell' and datname = $1"
    )
    name = trail.dsn.partition("?")[0].rpartition("/")[2]

    async def listening(without: int = 0) -> bool:
        pids = await trail.value(listeners, name)
        return bool(pids) and without not in pids

    await eventually(listening)
    [pid] = await trail.value(listeners, name)
    async with tailing(trail) as call:
        await trail.value("select pg_terminate_backend($1)", pid)
        await eventually(lambda: listening(pid))
        await trail.add(1)
        assert (await following(call, 1))[0].seq == 0


async def test_a_reader_that_leaves_is_forgotten(trail: Trail) -> None:
    async with tailing(trail):
        assert len(trail.desk.bell._waiting) == 1

    async def gone() -> bool:
        return not trail.desk.bell._waiting

    await eventually(gone)


async def test_a_reader_that_does_not_read_is_only_behind(trail: Trail) -> None:
    """Much more than fits into the windows of HTTP/2; then everything comes, once and in order."""
    await trail.add(600, details={"text": "x" * 2000})
    async with tailing(trail, -1) as call:
        await trail.add(400, details={"text": "x" * 2000})
        events = await following(call, 1000)
    assert [event.seq for event in events] == list(range(1000))
