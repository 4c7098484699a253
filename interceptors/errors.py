"""The one place where an exception becomes a status: the only broad except and the only abort.

`Errors` is a layer: inside metrics and audit, so that they see the final code, and outside auth, so that every refusal
is shaped alike. It turns whatever is raised into `Failed`. `answer` is the outermost step, which puts `Failed` on the
wire once everybody has seen it, and in particular after the audit leaf is durable.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from interceptors.call import Call, Proceed
from interceptors.policy import Method
from server.errors import AppError, Code, Reason

log = logging.getLogger(__name__)

DOMAIN = "tria"
_DETAILS = "grpc-status-details-bin"
_DEADLINE_SLACK = 0.01  # seconds between the core's clock that cancelled us and the one we read
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_MAX_VIOLATIONS = 20


class Failed(Exception):
    """A call that ends with a status other than OK: the status, ready for the wire."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status

    @property
    def code(self) -> grpc.StatusCode:
        return _CODES[self.status.code]


class Errors:
    """The layer: AppError → its status; an unknown exception → INTERNAL, logged once; cancellation passes."""

    name = "errors"

    def around(self, method: Method, proceed: Proceed) -> Proceed:
        """Round every method alike."""
        del method

        async def run(call: Call) -> Any:
            try:
                return await proceed(call)
            except AppError as refusal:
                raise failed(call, refusal) from refusal
            except asyncio.CancelledError as cancelled:
                task = asyncio.current_task()
                if task is not None and not task.cancelling():
                    # Nobody cancelled this call: somebody else's cancellation leaked out of the handler.
                    raise _defect(call, cancelled) from cancelled
                _mark_cancelled(call)
                raise
            except grpc.aio.AbortError:
                # A servicer that is not ours (health) has aborted: its status is on the wire already.
                call.code = code_of(call)
                raise
            except grpc.aio.BaseError as broken:
                if isinstance(broken, grpc.aio.UsageError):
                    raise _defect(call, broken) from broken
                _mark_cancelled(call)  # the transport is gone in the middle of a read or write, or the server stops
                raise
            except Exception as defect:
                # The last resort: whatever it is, the caller learns nothing of it but the id to ask about.
                raise _defect(call, defect) from defect

        return run


async def answer(call: Call, proceed: Proceed) -> Any:
    """Runs the whole chain and puts a failure on the wire; nothing but cancellation and aborts leaves it."""
    try:
        response = await proceed(call)
    except Failed as failure:
        await _abort(call, failure)
    except (asyncio.CancelledError, grpc.aio.BaseError):
        raise
    except Exception as defect:  # noqa: BLE001 - the last resort, see the module's docstring
        # A layer outside `errors` failed: without this grpc.aio would send the exception's class and text.
        await _abort(call, _defect(call, defect))
    else:
        if call.trailers:
            call.context.set_trailing_metadata(tuple(call.trailers))
        return response


def failed(call: Call, refusal: AppError) -> Failed:
    """The status of a refusal; the call remembers its code and reason."""
    call.code = _CODES[refusal.code.value]
    call.reason = refusal.reason.value
    metadata = dict(refusal.metadata)
    if call.request:
        metadata["request_id"] = call.request.request_id
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=refusal.reason.value, domain=DOMAIN, metadata=metadata)
    ]
    if refusal.violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=violation.field, description=violation.description, reason=violation.rule
                    )
                    for violation in refusal.violations[:_MAX_VIOLATIONS]
                ]
            )
        )
    if refusal.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(max(1, round(refusal.retry_after * 1000)))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if refusal.quota is not None:
        quota = error_details_pb2.QuotaFailure.Violation(subject=refusal.quota, description=refusal.message)
        details.append(error_details_pb2.QuotaFailure(violations=[quota]))
    details += (detail for detail in refusal.details if isinstance(detail, Message))
    return Failed(status_pb2.Status(code=refusal.code.value, message=refusal.message, details=_packed(details)))


def code_of(call: Call) -> grpc.StatusCode:
    """The code that the context carries, OK when it carries none (grpc.aio says None, 0, a number or the enum)."""
    code: Any = call.context.code()
    if not code:
        return grpc.StatusCode.OK
    return code if isinstance(code, grpc.StatusCode) else _CODES.get(code, grpc.StatusCode.UNKNOWN)


def deadline_exceeded() -> AppError:
    """DEADLINE_EXCEEDED by the server's own limit."""
    return AppError(Code.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED, "the deadline of the call passed")


def _defect(call: Call, defect: BaseException) -> Failed:
    call.cause = defect
    log.error(
        "call failed unexpectedly",
        exc_info=defect,
        extra={"rpc": call.method.path, "request_id": call.request.request_id if call.request else ""},
    )
    return failed(call, AppError(Code.INTERNAL, Reason.INTERNAL, "internal error"))


def _mark_cancelled(call: Call) -> None:
    remaining = call.context.time_remaining()
    if remaining is not None and remaining <= _DEADLINE_SLACK:
        call.code, call.reason = grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED.value
    else:
        call.code, call.reason = grpc.StatusCode.CANCELLED, Reason.CANCELLED.value


async def _abort(call: Call, failure: Failed) -> NoReturn:
    trailers = (*call.trailers, (_DETAILS, failure.status.SerializeToString()))
    if (seconds := _retry_after(failure.status)) is not None:
        # What HTTP clients look at; whole seconds, as RFC 9110 has them.
        trailers = (*trailers, ("retry-after", str(seconds)))
    await call.context.abort(failure.code, failure.status.message, trailers)
    raise AssertionError("abort always raises")


def _retry_after(status: status_pb2.Status) -> int | None:
    delay = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(delay):
            milliseconds: int = delay.retry_delay.ToMilliseconds()
            return math.ceil(milliseconds / 1000)
    return None


def _packed(details: list[Message]) -> list[any_pb2.Any]:
    packed = []
    for detail in details:
        item = any_pb2.Any()
        item.Pack(detail)
        packed.append(item)
    return packed
