"""ExportSubject and EraseSubject on the wire."""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from server.audit.actor import Shown
from server.audit.changes import Author
from server.audit.receipt import Receipt, event_of
from server.audit.subjects import Export, Subjects, too_much
from server.caller import current_caller, current_request
from server.idempotency import Idempotency, Once
from server.replays import tell_replayed
from tria.audit.v1 import audit_pb2, audit_service_pb2, audit_service_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_MOST_BYTES = 3 * 1024 * 1024  # below the 4 MiB that a message may have on the wire
_MOST_RECORDS = 20_000  # of which the smallest would fill it
_PATIENCE = 2.0  # seconds for the receipt's leaf to get its number
_POLL = 0.05


class SubjectHandler(audit_service_pb2_grpc.AuditServiceServicer):
    """The RPCs of AuditService about people."""

    def __init__(self, subjects: Subjects, shown: Shown) -> None:
        self._subjects = subjects
        self._subject_shown = shown

    async def ExportSubject(
        self, request: audit_service_pb2.ExportSubjectRequest, context: Context
    ) -> audit_pb2.SubjectExport:
        idempotency = Idempotency("ExportSubject", request.request_id, _body(request), _export_bytes)
        given = await self._subjects.export(self._author(), request.subject, idempotency, _MOST_RECORDS)
        await _tell_replay(context, given)
        return await asyncio.to_thread(audit_pb2.SubjectExport.FromString, given.answer)

    async def EraseSubject(
        self, request: audit_service_pb2.EraseSubjectRequest, context: Context
    ) -> audit_pb2.ErasureReceipt:
        idempotency = Idempotency("EraseSubject", request.request_id, _body(request), _receipt_bytes)
        erased = await self._subjects.erase(self._author(), request.subject, request.reason, idempotency)
        await _tell_replay(context, erased)
        receipt = audit_pb2.ErasureReceipt.FromString(erased.answer)
        receipt.seq = await self._seq(event_of(receipt.signed_note))
        return receipt

    async def _seq(self, event: str) -> int:
        """Where the log has the receipt, waited for a moment; -1 when it is not sequenced by then."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while True:
            seq = await self._subjects.seq(event)
            if seq >= 0 or asyncio.get_running_loop().time() >= deadline:
                return seq
            await asyncio.sleep(_POLL)  # the sequencer may be in another process

    def _author(self) -> Author:
        return Author(current_caller.get(), current_request.get(), self._subject_shown)


def _body(request: audit_service_pb2.ExportSubjectRequest | audit_service_pb2.EraseSubjectRequest) -> bytes:
    """The request without its request_id."""
    bare: Message = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("request_id")
    return bare.SerializeToString(deterministic=True)


async def _tell_replay(context: Context, answer: Once) -> None:
    if answer.replayed:
        await tell_replayed(context)


def _export_bytes(export: Export) -> bytes:
    time = Timestamp()
    time.FromDatetime(export.time)
    message = audit_pb2.SubjectExport(subject=export.person, export_time=time)
    json_format.ParseDict(dict(export.data), message.data)
    content = message.SerializeToString()
    if len(content) > _MOST_BYTES:
        raise too_much()
    return content


def _receipt_bytes(receipt: Receipt) -> bytes:
    time = Timestamp()
    time.FromDatetime(receipt.time)
    message = audit_pb2.ErasureReceipt(
        subject=receipt.subject,
        erase_time=time,
        stores=[
            audit_pb2.StoreErasure(store=each.store, erased=each.erased, kept=each.kept, legal_basis=each.legal_basis)
            for each in receipt.stores
        ],
        seq=-1,
        signed_note=receipt.note,
    )
    return message.SerializeToString()
