"""Events of `tria.chat.v1` read again, for a caller that gets one answer instead of a stream."""

from __future__ import annotations

from google.rpc import error_details_pb2

from server.errors import AppError, Code, Reason
from tria.chat.v1 import chat_event_pb2, chat_service_pb2


def gather(reply: chat_service_pb2.ChatReply, event: chat_event_pb2.ChatEvent) -> None:
    """Puts what a unary caller gets to see of an event into the reply; raises AppError for a run that did not end in an
    answer."""
    match event.WhichOneof("event"):
        case "citation":
            reply.citations.add().CopyFrom(event.citation)
        case "proposal":
            reply.proposal.CopyFrom(event.proposal)
        case "snapshot":
            reply.text = event.snapshot.text
        case "completed":
            done = event.completed
            reply.text, reply.confidence = done.text, done.confidence
            reply.answer_kind, reply.intent = done.answer_kind, done.intent
        case "failed":
            raise _error(event.failed)
        case "interrupted":
            raise AppError(
                Code.UNAVAILABLE, Reason.RUN_OWNER_LOST, "the answer was interrupted; send the message again"
            )
        case "cancelled":
            raise AppError(Code.CANCELLED, Reason.CANCELLED, "the run was cancelled")
        case _:
            pass


def _error(failed: chat_event_pb2.Failed) -> AppError:
    """The error that a run ended with."""
    retry = error_details_pb2.RetryInfo()
    again = next((detail for detail in failed.status.details if detail.Unpack(retry)), None)
    return AppError(
        Code(failed.status.code),
        Reason(failed.info.reason),
        failed.status.message,
        metadata=dict(failed.info.metadata),
        retry_after=retry.retry_delay.ToMilliseconds() / 1000 if again is not None else None,
    )
