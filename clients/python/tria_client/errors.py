"""Errors as TRIA means them: code, reason and what to do, decoded from google.rpc.Status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

_STATUS_DETAILS = "grpc-status-details-bin"
_CODES = {int(code.value[0]): code for code in grpc.StatusCode}
_Detail = TypeVar("_Detail", bound=Message)


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One bad field of a request: `field` is its dotted path, `rule` the bound that it broke where the server says."""

    field: str
    description: str
    rule: str


class TriaError(Exception):
    """A call that failed.

    `reason` is a name of `tria.errors.v1.ErrorReason`, or empty when the failure is of the connection and not of the
    server. `metadata` is that of its ErrorInfo. `retry_after` is in seconds, None when the server gave none.
    `request_id` finds the call in the server's log.
    """

    def __init__(self, status: status_pb2.Status, request_id: str = "") -> None:
        super().__init__(status.message)
        self.code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
        self.message = status.message
        self.request_id = request_id
        self._status = status
        info = self.detail(error_details_pb2.ErrorInfo)
        self.reason = info.reason if info else ""
        self.metadata: Mapping[str, str] = dict(info.metadata) if info else {}
        retry = self.detail(error_details_pb2.RetryInfo)
        self.retry_after = retry.retry_delay.ToTimedelta().total_seconds() if retry else None
        self.violations = self._violations()

    def __str__(self) -> str:
        reason = f" {self.reason}" if self.reason else ""
        return f"{self.code.name}{reason}: {self.message}"

    def detail(self, kind: type[_Detail]) -> _Detail | None:
        """The first detail of that message type, such as the `Proposal` that replaces a stale one; None if absent."""
        for packed in self._status.details:
            found = kind()
            try:
                if packed.Unpack(found):
                    return found
            except DecodeError:
                continue  # a damaged detail takes nothing from the code and the message
        return None

    def _violations(self) -> Sequence[FieldViolation]:
        bad = self.detail(error_details_pb2.BadRequest)
        if bad is None:
            return ()
        return tuple(FieldViolation(one.field, one.description, one.reason) for one in bad.field_violations)


def from_rpc(failure: grpc.aio.AioRpcError, request_id: str = "") -> TriaError:
    """The TriaError that a failed gRPC call stands for."""
    status = status_pb2.Status()
    packed = (failure.trailing_metadata() or {}).get(_STATUS_DETAILS)
    if isinstance(packed, bytes):
        try:
            status.ParseFromString(packed)
        except DecodeError:
            status.Clear()  # the call's own code and text, set below, remain
    code: int = failure.code().value[0]
    status.code = code
    status.message = status.message or failure.details() or ""
    return TriaError(status, request_id)


def made_here(code: grpc.StatusCode, message: str, reason: str = "") -> TriaError:
    """An error that this client finds by itself."""
    number: int = code.value[0]
    status = status_pb2.Status(code=number, message=message)
    if reason:
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="tria"))
    return TriaError(status)
