"""OCSF 1.6 in CloudEvents 1.0, one JSON object a line: for a SIEM.

Every record keeps its seq, its leaf hash and which checkpoint it is under, so that what is lost or changed on the way
or in the SIEM can be found: the numbers have no holes, and GetInclusionProof proves a hash. The last record is a
CloudEvent of type `tria.audit.export.end.v1` or `…cut.v1`, which says what was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import orjson

from server.audit.actions import Action, Decision
from server.audit.checkpoint import origin_of
from server.audit.events import Event
from server.audit.export_lines import text_of
from server.audit.export_plan import Plan
from server.audit.leaf import Leaf
from server.audit.ocsf_classes import OcsfClass, class_of

OCSF_VERSION = "1.6.0"
_EVENT = "tria.audit.event.v1"
_SEVERITY = {Decision.ALLOWED: 1, Decision.DENIED: 2, Decision.FAILED: 2}  # informational, low
_HIGH = 4
_ALARMING = frozenset({Action.INJECTION_SUSPECT, Action.WEBHOOK_FORGED})
_SUCCESS, _FAILURE = 1, 2


class OcsfFormat:
    """One CloudEvent a line."""

    media_type = "application/x-ndjson"
    proves = False

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def begin(self) -> bytes:
        return b""

    def cover(self, hashes: Sequence[bytes]) -> bytes:  # noqa: ARG002  # of the format's protocol; proofs are asked for
        return b""

    def event(self, event: Event) -> bytes:
        leaf, plan = event.leaf, self._plan
        known = class_of(leaf.action)
        return orjson.dumps(
            {
                **_envelope(plan, leaf.event_id, _EVENT, leaf.occurred_at),
                "subject": leaf.targets[0] if leaf.targets else leaf.action.value,
                "sequence": f"{event.seq:020d}",
                "dataschema": f"https://schema.ocsf.io/{OCSF_VERSION}/classes/{known.name}",
                "data": _record(plan, event, leaf, known),
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )

    def end(self) -> bytes:
        plan = self._plan
        data = {"first_seq": plan.first, "last_seq": plan.last, "count": plan.count, "checkpoint": _checkpoint(plan)}
        return self._closing("end", f"{plan.first}-{plan.last}", data)

    def cut(self, next_seq: int, reason: str) -> bytes:
        return self._closing("cut", str(next_seq), {"next_seq": next_seq, "reason": reason})

    def _closing(self, how: str, id: str, data: Mapping[str, object]) -> bytes:
        plan = self._plan
        envelope = _envelope(plan, f"export-{how}-{id}-of-{plan.tree_size}", f"tria.audit.export.{how}.v1")
        return orjson.dumps({**envelope, "data": data}, option=orjson.OPT_APPEND_NEWLINE)


def _envelope(plan: Plan, id: str, kind: str, time: datetime | None = None) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": id,
        "source": f"/{origin_of(plan.tenant)}",
        "type": kind,
        "time": f"{time or datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
        "datacontenttype": "application/json",
    }


def _record(plan: Plan, event: Event, leaf: Leaf, known: OcsfClass) -> dict[str, object]:
    done = leaf.decision is Decision.ALLOWED
    record: dict[str, object] = {
        "category_uid": known.category_uid,
        "class_uid": known.class_uid,
        "activity_id": known.activity_id,
        "type_uid": known.class_uid * 100 + known.activity_id,
        "time": _milliseconds(leaf.occurred_at),
        "severity_id": _HIGH if leaf.action in _ALARMING else _SEVERITY[leaf.decision],
        "status_id": _SUCCESS if done else _FAILURE,
        "status_code": leaf.status,
        "metadata": {
            "version": OCSF_VERSION,
            "uid": leaf.event_id,
            "product": {"name": "TRIA", "vendor_name": "TRIA"},
            "log_name": origin_of(plan.tenant),
            "tenant_uid": plan.tenant,
            "logged_time": _milliseconds(event.recorded_at),
            "sequence": event.seq,
            **({"correlation_uid": leaf.request_id} if leaf.request_id else {}),
        },
        "unmapped": {
            "seq": event.seq,
            "leaf_hash": text_of(event.leaf_hash),
            "checkpoint": _checkpoint(plan),
            "action": leaf.action.value,
            "decision": leaf.decision.value,
            "kind": leaf.kind.value,
            "trace_id": leaf.trace_id,
            "on_behalf_of": leaf.actor.on_behalf_of,
            "details": leaf.details,
        },
    }
    return record | _parts(leaf, known)


def _parts(leaf: Leaf, known: OcsfClass) -> dict[str, object]:
    """What the class wants to know beside the base event."""
    user = {"uid": leaf.actor.id or "anonymous", "type": leaf.actor.kind}
    source = {"uid": leaf.source.ip_hash or "unknown", "name": leaf.source.agent or "unknown"}
    operation = leaf.rpc or leaf.action.value
    resources = [{"uid": target, "type": target.partition("/")[0]} for target in leaf.targets]
    parts: dict[str, object] = {"actor": {"user": user}, "api": {"operation": operation, "service": {"name": "TRIA"}}}
    match known.name:
        case "authentication":
            parts |= {"user": user, "service": {"name": "TRIA"}, "src_endpoint": source}
        case "entity_management":
            parts |= {"entity": resources[0] if resources else {"uid": leaf.action.value, "type": "configuration"}}
        case "detection_finding":
            parts |= {"finding_info": {"uid": leaf.event_id, "title": leaf.action.value}, "resources": resources}
        case _:
            parts |= {"src_endpoint": source, "resources": resources}
    return parts


def _checkpoint(plan: Plan) -> dict[str, object]:
    return {"origin": origin_of(plan.tenant), "tree_size": plan.tree_size, "root_hash": text_of(plan.root)}


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)
