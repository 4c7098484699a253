"""ListEvents and GetEvent: filtered, paged, of the caller's tenant only; and that reading the trail is in the trail."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp
from grpc.aio import AioRpcError

from interceptors.policy import Permission, read_policies
from interceptors.policy import contract as services
from server.audit.actions import Action, Decision
from server.audit.leaf import encode, leaf_hash
from server.caller import Role
from tests.support.calls import finish
from tests.support.reading import reason
from tests.support.stores import eventually
from tests.support.trail import Trail
from tria.audit.v1 import audit_pb2
from tria.audit.v1 import audit_service_pb2 as rpc
from tria.policy.v1 import audit_action_pb2


async def listed(trail: Trail, **request: Any) -> list[audit_pb2.AuditEvent]:
    """Every page of a list."""
    found: list[audit_pb2.AuditEvent] = []
    token = ""
    who = trail.who()
    while True:
        page = await trail.stub.ListEvents(rpc.ListEventsRequest(page_token=token, **request), metadata=who)
        found += page.events
        token = page.next_page_token
        if not token:
            return found


async def refused(call: Any) -> str:
    with pytest.raises(AioRpcError) as caught:
        await call
    return reason(caught.value)


def stamp(time: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(time)
    return made


async def test_events_are_listed_newest_first_a_page_at_a_time(trail: Trail) -> None:
    leaves = await trail.add(23)
    who = trail.who()
    first = await trail.stub.ListEvents(rpc.ListEventsRequest(page_size=10), metadata=who)
    assert [event.seq for event in first.events] == list(range(22, 12, -1))
    second = await trail.stub.ListEvents(
        rpc.ListEventsRequest(page_size=10, page_token=first.next_page_token), metadata=who
    )
    assert [event.seq for event in second.events] == list(range(12, 2, -1))
    assert first.events[0].event_id == leaves[22].event_id
    assert first.events[0].leaf_hash == leaf_hash(encode(leaves[22]))


async def test_new_events_do_not_move_the_next_page(trail: Trail) -> None:
    await trail.add(6)
    who = trail.who()
    first = await trail.stub.ListEvents(rpc.ListEventsRequest(page_size=3), metadata=who)
    await trail.add(5)
    second = await trail.stub.ListEvents(
        rpc.ListEventsRequest(page_size=3, page_token=first.next_page_token), metadata=who
    )
    assert [event.seq for event in second.events] == [2, 1, 0]


@pytest.mark.parametrize(
    ("request_", "numbers"),
    [
        ({"actor": "ada-1"}, [7, 4, 1]),
        ({"actions": [audit_action_pb2.ORDER_CREATE]}, [7, 5, 3, 1]),
        ({"actions": [audit_action_pb2.ORDER_CREATE, audit_action_pb2.DATA_READ], "actor": "ada-0"}, [6, 3, 0]),
        ({"resource": "orders/5"}, [5]),
        ({"resource": "outlets/pizza", "actor": "ada-2"}, [5, 2]),
        ({"decision": audit_pb2.AuditEvent.DENIED}, []),
        ({"decision": audit_pb2.AuditEvent.ALLOWED, "actor": "ada-2"}, [5, 2]),
        ({"actor": "nobody"}, []),
    ],
)
async def test_lists_are_filtered(trail: Trail, request_: dict[str, Any], numbers: list[int]) -> None:
    await trail.add(8)
    found = await listed(trail, page_size=2, **request_)
    assert [event.details["n"] for event in found] == numbers


async def test_a_time_bounds_a_list(trail: Trail) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for hours in range(4):
        await trail.add(1, occurred_at=noon + timedelta(hours=hours))
    found = await listed(trail, start_time=stamp(noon + timedelta(hours=1)), end_time=stamp(noon + timedelta(hours=3)))
    assert [event.occurred_at.ToDatetime(UTC).hour for event in found] == [14, 13]


async def test_a_bad_list_is_refused(trail: Trail) -> None:
    await trail.add(3)
    who = trail.who()
    page = await trail.stub.ListEvents(rpc.ListEventsRequest(page_size=1, actor="ada-0"), metadata=who)
    assert not page.next_page_token
    page = await trail.stub.ListEvents(rpc.ListEventsRequest(page_size=1), metadata=who)
    token = page.next_page_token
    other = rpc.ListEventsRequest(page_size=1, page_token=token, actor="ada-1")
    assert await refused(trail.stub.ListEvents(other, metadata=who)) == "PAGE_TOKEN_INVALID"
    theirs = rpc.ListEventsRequest(page_size=1, page_token=token)
    assert await refused(trail.stub.ListEvents(theirs, metadata=trail.who(tenant="globex"))) == "PAGE_TOKEN_INVALID"
    none = rpc.ListEventsRequest(actions=[audit_action_pb2.AUDIT_ACTION_UNSPECIFIED])
    assert await refused(trail.stub.ListEvents(none, metadata=who)) == "INVALID_FIELD"
    now = stamp(datetime.now(UTC))
    backwards = rpc.ListEventsRequest(start_time=now, end_time=now)
    assert await refused(trail.stub.ListEvents(backwards, metadata=who)) == "INVALID_FIELD"


async def test_an_event_is_read_in_full(trail: Trail) -> None:
    [leaf] = await trail.add(1, details={"note": "two boxes", "n": 3, "list": ["a", 1]}, trace_id="0" * 32)
    event = await trail.stub.GetEvent(rpc.GetEventRequest(name=f"audit/events/{leaf.event_id}"), metadata=trail.who())
    assert (event.seq, event.event_id, event.name) == (0, leaf.event_id, f"audit/events/{leaf.event_id}")
    assert event.action == audit_action_pb2.DATA_READ
    assert (event.actor.kind, event.actor.id, event.actor.auth_method) == ("STAFF", "ada-0", "JWT")
    assert list(event.targets) == ["orders/0", "outlets/pizza"]
    assert event.occurred_at.ToDatetime(UTC) == leaf.occurred_at
    assert event.recorded_at.ToDatetime(UTC) >= leaf.occurred_at
    assert dict(event.details)["note"] == "two boxes"
    assert MessageToDict(event.details)["list"] == ["a", 1]


async def test_another_tenants_event_is_not_found(trail: Trail) -> None:
    [leaf] = await trail.add(1)
    request = rpc.GetEventRequest(name=f"audit/events/{leaf.event_id}")
    absent = rpc.GetEventRequest(name=f"audit/events/{uuid.uuid4()}")
    for metadata, wanted in ((trail.who(tenant="globex"), request), (trail.who(), absent)):
        assert await refused(trail.stub.GetEvent(wanted, metadata=metadata)) == "RESOURCE_NOT_FOUND"
    assert not [event for event in await _theirs(trail) if event.event_id == leaf.event_id]
    bad = rpc.GetEventRequest(name="audit/events/1")
    assert await refused(trail.stub.GetEvent(bad, metadata=trail.who())) == "INVALID_FIELD"


async def _theirs(trail: Trail) -> list[audit_pb2.AuditEvent]:
    page = await trail.stub.ListEvents(rpc.ListEventsRequest(), metadata=trail.who(tenant="globex"))
    return list(page.events)


@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.STAFF, Role.SERVICE])
async def test_the_trail_is_for_auditors_and_admins(trail: Trail, role: Role) -> None:
    calls = [
        trail.stub.ListEvents(rpc.ListEventsRequest(), metadata=trail.who(role)),
        trail.stub.GetEvent(rpc.GetEventRequest(name=f"audit/events/{uuid.uuid4()}"), metadata=trail.who(role)),
        trail.stub.TailEvents(rpc.TailEventsRequest(), metadata=trail.who(role)),
        trail.stub.ExportEvents(rpc.ExportEventsRequest(), metadata=trail.who(role)),
        trail.stub.GetCheckpoint(rpc.GetCheckpointRequest(), metadata=trail.who(role)),
        trail.stub.GetInclusionProof(rpc.GetInclusionProofRequest(), metadata=trail.who(role)),
        trail.stub.GetConsistencyProof(rpc.GetConsistencyProofRequest(), metadata=trail.who(role)),
    ]
    for call in calls:
        _, error = await finish(call)
        assert error is not None
        assert reason(error) == "PERMISSION_MISSING"


async def test_an_auditor_reads_the_trail_and_nothing_else(trail: Trail) -> None:
    """Every RPC of the contract, called with nothing: what is not the trail's is refused before it is looked at."""
    for method in read_policies(services()).values():
        if method.policy.permission is Permission.PUBLIC:
            continue
        make: Any = {
            (False, False): trail.channel.unary_unary,
            (False, True): trail.channel.unary_stream,
            (True, False): trail.channel.stream_unary,
            (True, True): trail.channel.stream_stream,
        }[method.request_streaming, method.response_streaming]
        if method.policy.permission is Permission.AUDIT_VIEW:
            continue
        _, error = await finish(
            make(method.path)(iter([b""]) if method.request_streaming else b"", metadata=trail.who())
        )
        assert error is not None, method.path
        assert reason(error) == "PERMISSION_MISSING", method.path


async def test_reading_the_trail_is_in_the_trail(trail: Trail) -> None:
    await trail.add(2)
    who = trail.who(subject="carla")
    await trail.stub.ListEvents(rpc.ListEventsRequest(), metadata=who)
    await trail.stub.GetCheckpoint(rpc.GetCheckpointRequest(), metadata=who)
    _, error = await finish(trail.stub.ExportEvents(rpc.ExportEventsRequest(), metadata=who))
    assert error is None

    async def all_there() -> bool:
        return len(await listed(trail, actor="carla")) == 4

    await eventually(all_there)
    found = await listed(trail, actor="carla")
    assert [Action(audit_action_pb2.AuditAction.Name(event.action)) for event in found] == [
        Action.AUDIT_EXPORT,  # the call, at its end
        Action.AUDIT_EXPORT,  # what is about to be given, before its first byte
        Action.AUDIT_PROVE,
        Action.AUDIT_READ,
    ]
    announced = MessageToDict(found[1].details)
    assert (announced["format"], announced["first"]) == ("ndjson", 0)
    assert {event.decision for event in found} == {audit_pb2.AuditEvent.Decision.Value(Decision.ALLOWED)}


async def test_what_is_no_id_is_an_invalid_argument(trail: Trail) -> None:
    request = rpc.GetEventRequest(name="audit/events/" + "-" * 36)
    assert await refused(trail.stub.GetEvent(request, metadata=trail.who())) == "INVALID_FIELD"


@pytest.mark.parametrize("time", [Timestamp(seconds=1 << 62), Timestamp(seconds=-(1 << 62)), Timestamp(nanos=-5)])
async def test_a_time_that_no_calendar_has_is_refused(trail: Trail, time: Timestamp) -> None:
    for request in (rpc.ListEventsRequest(start_time=time), rpc.ListEventsRequest(end_time=time)):
        assert await refused(trail.stub.ListEvents(request, metadata=trail.who())) == "INVALID_FIELD"
