"""The trail as messages of `tria.audit.v1`."""

from __future__ import annotations

from google.api.httpbody_pb2 import HttpBody

from server.audit.events import Event
from server.audit.leaf import SealedValue
from server.audit.proving import Consistency, Inclusion
from server.audit.reading import PENDING
from server.audit.tailing import Alive, Item
from server.audit.tree_store import SignedHead
from tria.audit.v1 import audit_pb2, audit_service_pb2
from tria.policy.v1 import audit_action_pb2


def event_message(event: Event) -> audit_pb2.AuditEvent:
    leaf = event.leaf
    message = audit_pb2.AuditEvent(
        name=f"audit/events/{leaf.event_id}",
        seq=event.seq,
        event_id=leaf.event_id,
        action=audit_action_pb2.AuditAction.Value(leaf.action.value),
        actor=audit_pb2.Actor(
            kind=leaf.actor.kind,
            id=leaf.actor.id,
            auth_method=leaf.actor.auth_method,
            on_behalf_of=leaf.actor.on_behalf_of,
        ),
        targets=leaf.targets,
        decision=audit_pb2.AuditEvent.Decision.Value(leaf.decision.value),
        status=leaf.status,
        request_id=leaf.request_id,
        trace_id=leaf.trace_id,
        source=audit_pb2.Source(ip_hash=leaf.source.ip_hash, agent=leaf.source.agent),
        sealed=map(_sealed, leaf.sealed),
        leaf_hash=event.leaf_hash,
        rpc=leaf.rpc,
    )
    message.occurred_at.FromDatetime(leaf.occurred_at)
    if event.seq != PENDING:
        message.recorded_at.FromDatetime(event.recorded_at)
    message.details.update(leaf.details)
    return message


def item_message(item: Item) -> audit_service_pb2.TailEventsResponse:
    """One item of a tail."""
    if isinstance(item, Event):
        return audit_service_pb2.TailEventsResponse(event=event_message(item))
    if isinstance(item, Alive):
        return audit_service_pb2.TailEventsResponse(heartbeat_seq=item.seq)
    return audit_service_pb2.TailEventsResponse(reconnect_after_seq=item.seq)


def checkpoint_message(head: SignedHead) -> audit_pb2.Checkpoint:
    message = audit_pb2.Checkpoint(note=head.note, tree_size=head.size, root_hash=head.root)
    message.time.FromDatetime(head.signed_at)
    return message


def inclusion_message(proof: Inclusion) -> audit_pb2.InclusionProof:
    return audit_pb2.InclusionProof(
        seq=proof.seq, tree_size=proof.tree_size, leaf_hash=proof.leaf_hash, hashes=proof.hashes
    )


def consistency_message(proof: Consistency) -> audit_pb2.ConsistencyProof:
    return audit_pb2.ConsistencyProof(first=proof.first, second=proof.second, hashes=proof.hashes)


def body_message(media_type: str, data: bytes) -> HttpBody:
    return HttpBody(content_type=media_type, data=data)


def _sealed(value: SealedValue) -> audit_pb2.SealedField:
    return audit_pb2.SealedField(
        field=value.field,
        subject=value.subject,
        key_id=value.key_id,
        nonce=value.nonce,
        ciphertext=value.ciphertext,
    )
