"""AuditService on the wire: decode, one call, encode.

ExportSubject and EraseSubject: server/audit/subject_handler.py.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.api.httpbody_pb2 import HttpBody

from server.audit import decode, encode
from server.audit.actor import Shown
from server.audit.changes import Author
from server.audit.desk import AuditDesk
from server.audit.events import Event
from server.audit.exporting import format_of
from server.audit.subject_handler import SubjectHandler
from server.audit.subjects import Subjects
from server.caller import current_caller, current_request
from server.idempotency import Idempotency
from server.replays import tell_replayed
from tria.audit.v1 import audit_pb2, audit_service_pb2

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class AuditHandler(SubjectHandler):
    """The RPCs of the trail. A caller's own tenant is always meant."""

    def __init__(self, desk: AuditDesk, subjects: Subjects, shown: Shown) -> None:
        super().__init__(subjects, shown)
        self._desk = desk
        self._shown = shown

    async def ListEvents(
        self, request: audit_service_pb2.ListEventsRequest, context: Context
    ) -> audit_service_pb2.ListEventsResponse:
        """Events, newest first, a page at a time."""
        found, token = await self._desk.reading.page(
            current_caller.get().tenant, decode.search(request), request.page_size, request.page_token
        )
        return audit_service_pb2.ListEventsResponse(events=map(encode.event_message, found), next_page_token=token)

    async def GetEvent(self, request: audit_service_pb2.GetEventRequest, context: Context) -> audit_pb2.AuditEvent:
        """One event."""
        event_id = request.name.removeprefix("audit/events/")
        return encode.event_message(await self._desk.reading.get(current_caller.get().tenant, event_id))

    async def TailEvents(
        self, request: audit_service_pb2.TailEventsRequest, context: Context
    ) -> AsyncGenerator[audit_service_pb2.TailEventsResponse, None]:
        """Events after a seq, then as they come."""
        after = request.after_seq if request.HasField("after_seq") else None
        async with aclosing(self._desk.tailing.tail(current_caller.get(), after)) as items:
            async for item in items:
                yield encode.item_message(item)

    async def ExportEvents(
        self, request: audit_service_pb2.ExportEventsRequest, context: Context
    ) -> AsyncGenerator[HttpBody, None]:
        """A range of the log in one of its formats."""
        plan = await self._desk.exporting.plan(current_caller.get().tenant, request.first_seq, request.last_seq or None)
        name = decode.export_format(request)
        await self._desk.exporting.announce(self._author(), name, plan)
        form = format_of(name, plan)
        async with aclosing(self._desk.exporting.export(plan, form)) as pieces:
            async for piece in pieces:
                yield encode.body_message(form.media_type, piece)

    async def GetCheckpoint(
        self, request: audit_service_pb2.GetCheckpointRequest, context: Context
    ) -> audit_pb2.Checkpoint:
        """The newest signed state of the log."""
        return encode.checkpoint_message(await self._desk.proving.checkpoint(current_caller.get().tenant))

    async def GetInclusionProof(
        self, request: audit_service_pb2.GetInclusionProofRequest, context: Context
    ) -> audit_pb2.InclusionProof:
        """That a record is in a tree."""
        proof = await self._desk.proving.inclusion(current_caller.get().tenant, request.seq, request.tree_size)
        return encode.inclusion_message(proof)

    async def GetConsistencyProof(
        self, request: audit_service_pb2.GetConsistencyProofRequest, context: Context
    ) -> audit_pb2.ConsistencyProof:
        """That a later tree begins with an earlier one."""
        proof = await self._desk.proving.consistency(current_caller.get().tenant, request.first, request.second)
        return encode.consistency_message(proof)

    async def RecordEvent(
        self, request: audit_service_pb2.RecordEventRequest, context: Context
    ) -> audit_pb2.AuditEvent:
        """An event of another system; the same request_id again gives the first answer."""
        key = Idempotency(
            "RecordEvent", request.request_id, request.event.SerializeToString(deterministic=True), _event_bytes
        )
        done = await self._desk.recording.record(self._author(), decode.told(request.event), key)
        if done.replayed:
            await tell_replayed(context)
        return audit_pb2.AuditEvent.FromString(done.answer)

    def _author(self) -> Author:
        return Author(current_caller.get(), current_request.get(), self._shown)


def _event_bytes(event: Event) -> bytes:
    return encode.event_message(event).SerializeToString()
