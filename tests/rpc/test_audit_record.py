"""RecordEvent: what a service may write into the trail, once, scrubbed, and as itself only."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from grpc.aio import AioRpcError

from server.audit.actions import Action
from server.audit.leaf import decode
from server.audit.recording import WRITABLE
from server.caller import Role
from tests.support.calls import refusal
from tests.support.reading import reason
from tests.support.stores import eventually
from tests.support.trail import KEY, Trail
from tria.audit.v1 import audit_pb2
from tria.audit.v1 import audit_service_pb2 as rpc
from tria.policy.v1 import audit_action_pb2

SERVICE = (("x-api-key", KEY),)


def asked(request_id: str = "", **event: Any) -> rpc.RecordEventRequest:
    """A good request, changed."""
    good = {
        "action": "CONSENT_CHANGE",
        "decision": "ALLOWED",
        "targets": ["subjects/c42"],
        "details": {"channel": "newsletter", "version": 3, "granted": True, "share": 0.5},
        "actor": {"on_behalf_of": "c42"},
    }
    made = rpc.RecordEventRequest(request_id=request_id or str(uuid.uuid4()))
    ParseDict({name: value for name, value in (good | event).items() if value is not None}, made.event)
    return made


async def record(trail: Trail, request: rpc.RecordEventRequest) -> audit_pb2.AuditEvent:
    return await trail.stub.RecordEvent(request, metadata=SERVICE)


async def refused(trail: Trail, request: rpc.RecordEventRequest, metadata: Any = SERVICE) -> AioRpcError:
    with pytest.raises(AioRpcError) as caught:
        await trail.stub.RecordEvent(request, metadata=metadata)
    return caught.value


async def count(trail: Trail) -> int:
    """How many events of this service's own there are, sequenced or not."""
    found: int = await trail.value(
        "select count(*) from (select action, leaf from audit_pending union all select action, leaf from audit_event) "
        "as every where action = 'CONSENT_CHANGE'"
    )
    return found


async def test_a_service_writes_an_event_of_its_own(trail: Trail) -> None:
    answer = await record(trail, asked(trace_id="a" * 32))
    assert (answer.seq, answer.name) == (-1, f"audit/events/{answer.event_id}")
    size = await trail.signed()
    stored = await trail.stub.GetEvent(rpc.GetEventRequest(name=answer.name), metadata=trail.who())
    assert 0 <= stored.seq < size
    assert stored.leaf_hash == answer.leaf_hash
    assert audit_action_pb2.AuditAction.Name(stored.action) == Action.CONSENT_CHANGE
    assert (stored.actor.kind, stored.actor.id, stored.actor.auth_method) == ("SERVICE", "service:billing", "API_KEY")
    assert stored.actor.on_behalf_of == "c42"
    assert list(stored.targets) == ["subjects/c42"]
    assert (stored.status, stored.rpc) == ("OK", "/tria.audit.v1.AuditService/RecordEvent")
    assert dict(stored.details) == {"channel": "newsletter", "version": 3, "granted": "true", "share": "0.5"}
    assert stored.trace_id == "a" * 32


async def test_an_event_can_be_read_before_it_has_its_place(trail: Trail) -> None:
    """While nothing sequences, it is there with seq -1."""
    trail.keeper.sequencer.request_stop()

    async def stopped() -> bool:
        return not trail.keeper.sequencer.stats.leading

    await eventually(stopped)
    answer = await record(trail, asked())
    found = await trail.stub.GetEvent(rpc.GetEventRequest(name=answer.name), metadata=trail.who())
    assert found == answer
    assert not found.HasField("recorded_at")


async def test_the_same_request_writes_once(trail: Trail) -> None:
    request = asked(str(uuid.uuid4()))
    answers = await asyncio.gather(*(record(trail, request) for _ in range(8)))
    assert len({answer.SerializeToString() for answer in answers}) == 1
    call = trail.stub.RecordEvent(request, metadata=SERVICE)
    await call
    assert ("x-idempotent-replay", "true") in tuple(await call.trailing_metadata())
    assert await count(trail) == 1


async def test_a_request_id_is_not_used_for_another_event(trail: Trail) -> None:
    request_id = str(uuid.uuid4())
    await record(trail, asked(request_id))
    error = await refused(trail, asked(request_id, targets=["subjects/c43"]))
    assert reason(error) == "IDEMPOTENCY_KEY_REUSED"
    assert await count(trail) == 1


async def test_what_is_personal_does_not_stay(trail: Trail) -> None:
    answer = await record(
        trail,
        asked(
            details={"note": "mei@example.com called from +65 9123 4567", "mei@example.com": ["+65 9123 4567"]},
            actor={"on_behalf_of": "mei@example.com"},
            targets=["subjects/91234567"],
        ),
    )
    text = str(answer)
    assert "mei@" not in text
    assert "9123" not in text
    assert "[EMAIL]" in str(answer.details["note"])
    assert answer.actor.on_behalf_of.startswith("EMAIL:v1:")
    assert answer.targets[0].startswith("subjects/PHONE:v1:")
    rows = await trail.value(
        "select string_agg(convert_from(leaf, 'utf8'), ' ') from "
        "(select leaf from audit_pending union all select leaf from audit_event) as every"
    )
    assert "mei@" not in rows
    assert "9123" not in rows


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"action": None}, "event.action"),
        ({"action": "ORDER_CONFIRM"}, "event.action"),
        ({"action": "AI_DECISION"}, "event.action"),
        ({"action": "SUBJECT_ERASE"}, "event.action"),
        ({"decision": None}, "event.decision"),
        ({"actor": {"kind": "ADMIN", "id": "root"}}, "event.actor"),
        ({"actor": {"id": "service:other"}}, "event.actor"),
        ({"targets": ["Mei Ling of Bugis"]}, "event.targets"),
        ({"targets": ["subjects/mei@example.com"]}, "event.targets"),
        ({"targets": ["subjects/a/../../etc\n"]}, "event.targets"),
        ({"details": {"text": "x" * 300, **{f"k{n}": "y" * 400 for n in range(20)}}}, "event.details"),
        ({"details": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}}, "event.details"),
        ({"sealed": [{"field": "name", "subject": "x"}]}, "event.sealed"),
        ({"status": "it went well"}, "event.status"),
        ({"trace_id": "A" * 32}, "event.trace_id"),
        ({"occurred_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}, "event.occurred_at"),
        ({"occurred_at": (datetime.now(UTC) - timedelta(days=40)).isoformat()}, "event.occurred_at"),
    ],
)
async def test_what_a_service_may_not_say_is_refused(trail: Trail, event: dict[str, Any], field: str) -> None:
    error = await refused(trail, asked(**event))
    found = refusal(error)
    assert found.info.reason == "INVALID_FIELD"
    assert found.details["BadRequest"].field_violations[0].field == field
    assert await count(trail) == 0


async def test_what_only_the_server_says_is_passed_over(trail: Trail) -> None:
    forged = str(uuid.uuid4())
    answer = await record(
        trail,
        asked(
            seq=7, event_id=forged, name=f"audit/events/{forged}", leaf_hash="AAAA", rpc="/x", source={"ip_hash": "h"}
        ),
    )
    assert answer.event_id != forged
    assert answer.seq == -1
    assert answer.rpc.endswith("RecordEvent")
    assert answer.source.ip_hash != "h"


@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.STAFF, Role.AUDITOR, Role.ADMIN])
async def test_people_write_nothing_into_the_trail(trail: Trail, role: Role) -> None:
    error = await refused(trail, asked(), trail.who(role))
    assert reason(error) == "PERMISSION_MISSING"


async def test_a_bad_request_id_is_refused(trail: Trail) -> None:
    assert reason(await refused(trail, asked("again"))) == "INVALID_FIELD"
    empty = rpc.RecordEventRequest(request_id=str(uuid.uuid4()))
    assert reason(await refused(trail, empty)) == "INVALID_FIELD"


async def test_a_cancelled_call_writes_once_or_not_at_all(trail: Trail) -> None:
    request = asked(str(uuid.uuid4()))
    call = trail.stub.RecordEvent(request, metadata=SERVICE)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await record(trail, request)
    assert await count(trail) == 1


async def test_nothing_is_recorded_when_the_trail_cannot_be_written(trail: Trail) -> None:
    request = asked(str(uuid.uuid4()))
    await trail.run("alter table audit_pending rename to audit_hidden")
    error = await refused(trail, request)
    await trail.run("alter table audit_hidden rename to audit_pending")
    assert reason(error)
    assert await trail.value("select count(*) from idempotency") == 0
    await record(trail, request)
    assert await count(trail) == 1


def test_a_service_cannot_write_what_tria_witnesses_itself() -> None:
    own = {
        action for action in Action if action.value.startswith(("ORDER_", "PROPOSAL_", "AUDIT_", "SUBJECT_", "RUN_"))
    }
    assert not own & WRITABLE
    assert Action.AI_DECISION not in WRITABLE


async def test_the_leaf_is_what_the_answer_says(trail: Trail) -> None:
    answer = await record(trail, asked())
    await trail.signed()
    leaf = decode(await trail.value("select leaf from audit_event where event_id = $1", answer.event_id))
    assert leaf.tenant == "acme"
    assert leaf.kind == "CHANGE"
    assert leaf.source.ip_hash.startswith("IP_ADDRESS:")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
async def test_a_number_that_json_does_not_have_is_refused(trail: Trail, number: float) -> None:
    request = asked(str(uuid.uuid4()))
    request.event.details["n"] = number
    assert reason(await refused(trail, request)) == "INVALID_FIELD"


async def test_a_time_that_no_calendar_has_is_refused(trail: Trail) -> None:
    request = asked(str(uuid.uuid4()))
    request.event.occurred_at.seconds = 1 << 62
    assert reason(await refused(trail, request)) == "INVALID_FIELD"
