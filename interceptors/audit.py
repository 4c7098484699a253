"""One ACCESS leaf for every call of every arity, however it ended: done, refused, invalid, failed, cancelled, late.

Outside errors, so that the code is final; a unary answer or refusal leaves the server only after its leaf is durable. A
cancelled call cannot wait: its leaf is handed to the recorder, which owns it from then on. A stream's leaf is written
at its end. Health checks (HEALTH_CHECK) are not recorded: several a second from every prober would bury the trail.

The action is the policy's, except where the event *is* the refusal: AUTHENTICATION_FAIL, ACCESS_DENY, RATE_LIMIT and
WEBHOOK_FORGED; then `details.intended` holds the policy's. A call without a known tenant goes to the log `-`.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

import grpc
import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from interceptors.call import Call, Proceed
from interceptors.errors import Failed, failed
from interceptors.policy import Method
from server.audit.actions import Action, Decision, LeafKind
from server.audit.leaf import NO_TENANT, Leaf, Plain, plain
from server.audit.recorder import AuditRecorder
from server.audit.store import UNENCODABLE
from server.caller import current_caller
from server.errors import AppError, Reason
from server.pii.scrub import scrub

log = logging.getLogger(__name__)

_REFUSALS = {
    Reason.RATE_LIMITED: Action.RATE_LIMIT,
    Reason.SERVER_BUSY: Action.RATE_LIMIT,
    Reason.TOO_MANY_STREAMS: Action.RATE_LIMIT,
    Reason.WEBHOOK_SIGNATURE_INVALID: Action.WEBHOOK_FORGED,
}
_BY_CODE = {
    grpc.StatusCode.UNAUTHENTICATED: Action.AUTHENTICATION_FAIL,
    grpc.StatusCode.PERMISSION_DENIED: Action.ACCESS_DENY,
}
_RESOURCE_NAME = re.compile(r"[a-z][a-z0-9_]*(/[\w.~:%-]+){1,7}")
_NAME_LENGTH = 200
_VIEW_BYTES = 2048
_RESOURCE_FIELDS = frozenset(
    "name parent conversation run message order product proposal document event resource".split()  # noqa: SIM905
)


class Audit:
    """The layer."""

    name = "audit"

    def __init__(self, recorder: AuditRecorder) -> None:
        self._recorder = recorder

    def around(self, method: Method, proceed: Proceed) -> Proceed:
        policy = method.policy
        if policy.action is Action.HEALTH_CHECK:
            return proceed
        requested = resource_fields(method.request_type)
        made = resource_fields(method.response_type) if policy.mutates else ()

        def leaf(call: Call, began: float) -> Leaf:
            targets = [*_names(_request(call), requested), *_names(call.response, made)]
            return self._leaf(call, tuple(dict.fromkeys(targets)), time.perf_counter() - began)

        async def run(call: Call) -> Any:
            began = time.perf_counter()
            try:
                if policy.mutates:
                    self._check(call)
                response = await proceed(call)
            except Failed:
                await self._record(call, leaf(call, began))
                raise
            except BaseException:  # cancelled, or the transport is gone: nobody waits for us, nor may we wait
                self._recorder.submit(leaf(call, began))
                raise
            await self._record(call, leaf(call, began))
            return response

        return run

    def _check(self, call: Call) -> None:
        try:
            self._recorder.check()
        except AppError as unavailable:
            raise failed(call, unavailable) from unavailable

    async def _record(self, call: Call, leaf: Leaf) -> None:
        try:
            await self._recorder.record(leaf)
        except AppError as unavailable:
            # Closed for changes, open for reads: the recorder has counted and logged the loss, an alert watches it.
            if call.method.policy.mutates:
                raise failed(call, unavailable) from unavailable

    def _leaf(self, call: Call, targets: tuple[str, ...], seconds: float) -> Leaf:
        shown, caller, request = self._recorder.shown, current_caller.get(), call.request
        tenant = caller.tenant or NO_TENANT
        action, decision = _outcome(call)
        details: dict[str, Plain] = {"ms": round(seconds * 1000), **call.notes}
        if call.reason:
            details["reason"] = call.reason
        if action is not call.method.policy.action:
            details["intended"] = call.method.policy.action.value
        if call.method.response_streaming:
            details["sent"] = call.sent
        if call.method.request_streaming:
            details["received"] = call.received
        if call.method.policy.mutates and call.view is not None:
            details["request"] = _bounded(call.view())
        return Leaf(
            tenant=tenant,
            action=action,
            actor=shown.actor(caller),
            decision=decision,
            kind=LeafKind.ACCESS,
            status=call.code.name,
            targets=targets,
            rpc=call.method.path,
            request_id=request.request_id if request else "",
            trace_id=request.trace_id if request else "",
            source=shown.source(tenant, request),
            details=details,
        )


def resource_fields(descriptor: Descriptor | None) -> tuple[Callable[[Any], str], ...]:
    """Getters for the fields of a message that hold resource names: `name`, `conversation`, … and `order.name`."""
    if descriptor is None:
        return ()
    return tuple(getter for field in descriptor.fields for getter in _getters(field))


def _getters(field: FieldDescriptor) -> Iterable[Callable[[Any], str]]:
    if field.is_repeated:
        return
    outer = field.name
    if field.type == FieldDescriptor.TYPE_STRING and outer in _RESOURCE_FIELDS:
        yield lambda message: str(getattr(message, outer))
    elif field.message_type is not None:
        inner = field.message_type.fields_by_name.get("name")
        if inner is not None and inner.type == FieldDescriptor.TYPE_STRING:
            yield lambda message: str(getattr(message, outer).name)


def _names(message: Message | None, getters: Iterable[Callable[[Any], str]]) -> Iterable[str]:
    if message is None:
        return
    for getter in getters:
        name = getter(message)
        # What failed validation may be anything, a person's words included: only what is shaped like a name is kept.
        if len(name) <= _NAME_LENGTH and _RESOURCE_NAME.fullmatch(name):
            yield scrub(name)


def _request(call: Call) -> Message | None:
    """The request, decoded for the trail when somebody known was refused before it was; strangers' are left alone."""
    if call.method.request_streaming or call.method.request_type is None:
        return None
    if not call.decoded and not call.caller.tenant:
        return None
    try:
        message: Message = call.message()
    except AppError:  # malformed: it names no resource
        return None
    return message


def _outcome(call: Call) -> tuple[Action, Decision]:
    if call.code is grpc.StatusCode.OK:
        return call.method.policy.action, Decision.ALLOWED
    refusal = _REFUSALS.get(call.reason) or _BY_CODE.get(call.code)  # type: ignore[call-overload]  # a StrEnum is its text
    if refusal is not None:
        return refusal, Decision.DENIED
    return call.method.policy.action, Decision.FAILED


def _bounded(view: dict[str, object]) -> Plain:
    try:
        encodable = plain(view)
        size = len(orjson.dumps(encodable))
    except (ValueError, RecursionError):  # nested too deeply, or text that is no Unicode: the call stays recorded
        log.exception("a request cannot be shown in the audit trail")
        return dict(UNENCODABLE)
    return encodable if size <= _VIEW_BYTES else {"omitted_bytes": size}
