"""Requests of `tria.audit.v1` in the words of the services."""

from __future__ import annotations

from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.struct_pb2 import Struct

from server.audit.actions import Action, Decision
from server.audit.events import Search
from server.audit.exporting import FormatName
from server.audit.recording import Told
from server.errors import invalid
from server.moments import moment
from tria.audit.v1 import audit_pb2, audit_service_pb2
from tria.policy.v1 import audit_action_pb2

_FORMATS = {
    audit_service_pb2.ExportEventsRequest.FORMAT_UNSPECIFIED: FormatName.NDJSON,
    audit_service_pb2.ExportEventsRequest.NDJSON: FormatName.NDJSON,
    audit_service_pb2.ExportEventsRequest.OCSF: FormatName.OCSF,
    audit_service_pb2.ExportEventsRequest.CSV: FormatName.CSV,
}


def search(request: audit_service_pb2.ListEventsRequest) -> Search:
    """The filters of a list; raises INVALID_ARGUMENT for an action that is none."""
    return Search(
        actor=request.actor,
        actions=tuple(_action("actions", number) for number in request.actions),
        resource=request.resource,
        decision=_decision(request.decision),
        since=moment(request.start_time, "start_time") if request.HasField("start_time") else None,
        until=moment(request.end_time, "end_time") if request.HasField("end_time") else None,
    )


def export_format(request: audit_service_pb2.ExportEventsRequest) -> FormatName:
    return _FORMATS[request.format]


def told(event: audit_pb2.AuditEvent) -> Told:
    """What a service says happened; what only the server says (seq, hashes, source, rpc, ids) is passed over."""
    decision = _decision(event.decision)
    if decision is None:
        raise invalid("event.decision", "must say how it ended")
    return Told(
        action=_action("event.action", event.action),
        decision=decision,
        actor_kind=event.actor.kind,
        actor_id=event.actor.id,
        on_behalf_of=event.actor.on_behalf_of,
        targets=tuple(event.targets),
        status=event.status,
        request_id=event.request_id,
        trace_id=event.trace_id,
        occurred_at=moment(event.occurred_at, "event.occurred_at") if event.HasField("occurred_at") else None,
        details=_details(event.details),
        sealed=bool(event.sealed),
    )


def _details(given: Struct) -> dict[str, object]:
    """Raises INVALID_ARGUMENT for what JSON does not have, such as infinity."""
    try:
        found = MessageToDict(given)
    except (ValueError, SerializeToJsonError) as error:
        raise invalid("event.details", "must be what JSON can hold") from error
    return {name: _whole(item) for name, item in found.items()}


def _whole(value: object) -> object:
    """A Struct knows no whole numbers; the trail knows no others."""
    match value:
        case dict():
            return {name: _whole(item) for name, item in value.items()}
        case list():
            return [_whole(item) for item in value]
        case float() if value.is_integer() and abs(value) < 1 << 53:
            return int(value)
        case _:
            return value


def _action(field: str, number: int) -> Action:
    if number == audit_action_pb2.AUDIT_ACTION_UNSPECIFIED:
        raise invalid(field, "must name an action")
    return Action(audit_action_pb2.AuditAction.Name(audit_action_pb2.AuditAction.ValueType(number)))


def _decision(number: int) -> Decision | None:
    if number == audit_pb2.AuditEvent.DECISION_UNSPECIFIED:
        return None
    return Decision(audit_pb2.AuditEvent.Decision.Name(audit_pb2.AuditEvent.Decision.ValueType(number)))
