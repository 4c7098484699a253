"""Every way a call can end, for all four arities, through the whole chain and over a real socket.

Metrics, audit and access log must each have seen exactly one call, with the same code, and the client must learn
nothing of what went wrong inside.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from server.audit.actions import Action, Decision
from tests.support import probe
from tests.support.calls import Served, finish, refusal
from tests.support.stores import eventually

ARITIES = pytest.mark.parametrize("arity", probe.ARITIES)


@dataclass(frozen=True)
class Ending:
    """How a call is made, and how it must end."""

    code: grpc.StatusCode
    decision: Decision
    action: Action = Action.ORDER_ACCEPT
    reason: str = ""
    text: str = "ok"
    raw: bytes | None = None
    name: str = "orders/o1"
    roles: tuple[str, ...] | None = ("STAFF",)
    handled: bool = True


ENDINGS = {
    "completed": Ending(grpc.StatusCode.OK, Decision.ALLOWED),
    "unauthenticated": Ending(
        grpc.StatusCode.UNAUTHENTICATED,
        Decision.DENIED,
        Action.AUTHENTICATION_FAIL,
        "CREDENTIALS_MISSING",
        roles=None,
        handled=False,
    ),
    "denied": Ending(
        grpc.StatusCode.PERMISSION_DENIED,
        Decision.DENIED,
        Action.ACCESS_DENY,
        "PERMISSION_MISSING",
        roles=("AUDITOR",),
        handled=False,
    ),
    "invalid": Ending(
        grpc.StatusCode.INVALID_ARGUMENT, Decision.FAILED, reason="INVALID_FIELD", name="x" * 41, handled=False
    ),
    "malformed": Ending(
        grpc.StatusCode.INVALID_ARGUMENT,
        Decision.FAILED,
        reason="MALFORMED_MESSAGE",
        raw=b"\x0a\x05\xff\xff",
        handled=False,
    ),
    "not utf-8": Ending(
        grpc.StatusCode.INVALID_ARGUMENT,
        Decision.FAILED,
        reason="MALFORMED_MESSAGE",
        raw=b"\x0a\x02\xff\xfe",
        handled=False,
    ),
    "nested too deeply": Ending(
        grpc.StatusCode.INVALID_ARGUMENT,
        Decision.FAILED,
        reason="MALFORMED_MESSAGE",
        raw=b"\x63" * 10_000,
        handled=False,
    ),
    "refused": Ending(grpc.StatusCode.NOT_FOUND, Decision.FAILED, reason="RESOURCE_NOT_FOUND", text="refuse"),
    "crashed": Ending(grpc.StatusCode.INTERNAL, Decision.FAILED, reason="INTERNAL", text="crash"),
}


def request_of(ending: Ending) -> Any:
    return ending.raw if ending.raw is not None else probe.Ask(name=ending.name, text=ending.text)


async def seen_once(served: Served, arity: str, code: grpc.StatusCode, service: str = "Probe") -> Any:
    """The one leaf of the only call so far, after checking that metrics and access log have seen that call once."""

    async def all_there() -> bool:
        leaves = await served.leaves()
        handled = served.counted("grpc_server_handled_total", arity, service)
        return len(leaves) >= 1 and handled >= 1 and len(served.access.lines) >= 1

    await eventually(all_there)
    leaves = await served.leaves()
    assert len(leaves) == 1
    assert served.counted("grpc_server_started_total", arity, service) == 1
    assert served.counted("grpc_server_handled_total", arity, service) == 1
    assert served.counted("grpc_server_handled_total", arity, service, grpc_code=code.name) == 1
    assert served.counted("grpc_server_streams_in_flight", arity, service) == 0
    assert [line.code for line in served.access.lines] == [code.name]  # type: ignore[attr-defined]
    assert served.recorder.stats().lost == 0
    return leaves[0]


@ARITIES
@pytest.mark.parametrize("how", ENDINGS)
async def test_every_ending_is_seen_once(served: Served, arity: str, how: str) -> None:
    ending = ENDINGS[how]
    token = None if ending.roles is None else served.keys.token(roles=list(ending.roles))
    call = served.call(arity, request_of(ending), token=token, metadata=[("x-request-id", "req-1")])
    answers, error = await finish(call)
    if ending.code is grpc.StatusCode.OK:
        assert error is None
        assert answers
    else:
        found = refusal(error)
        assert (error.code(), found.info.reason, found.info.domain) == (ending.code, ending.reason, "tria")  # type: ignore[union-attr]
        assert found.info.metadata["request_id"] == "req-1"
        assert not answers
    assert dict(await call.trailing_metadata())["x-request-id"] == "req-1"
    assert bool(served.handlers.seen) is ending.handled
    leaf = await seen_once(served, arity, ending.code)
    if ending.handled or ending.reason == "INVALID_FIELD":
        assert served.counted("grpc_server_msg_received_total", arity) == 1
    assert (leaf.action, leaf.decision, leaf.status) == (ending.action, ending.decision, ending.code.name)
    assert leaf.details.get("reason", "") == ending.reason
    assert (leaf.request_id, leaf.rpc) == ("req-1", probe.path(arity))
    assert leaf.tenant == ("-" if token is None else "acme")


@ARITIES
async def test_nothing_of_a_crash_reaches_the_client(served: Served, arity: str, caplog: Any) -> None:
    _, error = await finish(served.call(arity, probe.Ask(text="crash")))
    assert error is not None
    assert error.details() == "internal error"
    assert probe.SECRET_TEXT not in repr(error)
    assert "ValueError" not in repr(error)
    assert b"ValueError" not in refusal(error).status.SerializeToString()
    [(cause, reason)] = served.captured
    assert (str(cause), reason) == (probe.SECRET_TEXT, "INTERNAL")
    logged = [record for record in caplog.records if record.exc_info and record.name.startswith("interceptors")]
    assert len(logged) == 1
    assert logged[0].request_id == refusal(error).info.metadata["request_id"]


@ARITIES
async def test_a_response_of_the_wrong_type_is_internal(served: Served, arity: str) -> None:
    _, error = await finish(served.call(arity, probe.Ask(text="wrong type")))
    assert error is not None
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    leaf = await seen_once(served, arity, grpc.StatusCode.INTERNAL)
    assert leaf.decision is Decision.FAILED


@ARITIES
async def test_refusals_are_not_reported_as_defects(served: Served, arity: str) -> None:
    await finish(served.call(arity, probe.Ask(text="refuse")))
    await finish(served.call(arity, probe.Ask(text="ok"), token=None))
    assert served.captured == []


@ARITIES
async def test_a_client_that_goes_away_is_seen_once(served: Served, arity: str) -> None:
    call = served.call(arity, probe.Ask(name="orders/o1", text="hang"))
    pending = asyncio.ensure_future(finish(call))
    await asyncio.wait_for(served.handlers.hanging.wait(), 10)
    call.cancel()
    await asyncio.gather(pending, return_exceptions=True)
    leaf = await seen_once(served, arity, grpc.StatusCode.CANCELLED)
    assert (leaf.decision, leaf.status) == (Decision.FAILED, "CANCELLED")
    assert leaf.details["reason"] == "CANCELLED"


@ARITIES
async def test_a_client_s_deadline_is_seen_once(served: Served, arity: str) -> None:
    _, error = await finish(served.call(arity, probe.Ask(text="hang"), timeout=0.3))
    assert error is not None
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    leaf = await seen_once(served, arity, grpc.StatusCode.DEADLINE_EXCEEDED)
    assert (leaf.decision, leaf.details["reason"]) == (Decision.FAILED, "DEADLINE_EXCEEDED")


@ARITIES
@pytest.mark.parametrize("timeout", [None, 60.0])
async def test_the_policy_s_deadline_holds_without_or_below_the_client_s(
    served: Served, arity: str, timeout: float | None
) -> None:
    _, error = await finish(served.call(arity, probe.Ask(text="hang"), service="Timed", timeout=timeout))
    assert error is not None
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert refusal(error).info.reason == "DEADLINE_EXCEEDED"
    leaf = await seen_once(served, arity, grpc.StatusCode.DEADLINE_EXCEEDED, "Timed")
    assert leaf.decision is Decision.FAILED


@pytest.mark.parametrize("arity", ["ServerStream", "Bidi"])
async def test_a_crash_after_the_first_message_is_a_status_too(served: Served, arity: str) -> None:
    answers, error = await finish(served.call(arity, probe.Ask(text="late crash")))
    assert len(answers) == 1
    assert error is not None
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    leaf = await seen_once(served, arity, grpc.StatusCode.INTERNAL)
    assert leaf.details["sent"] == 1


@pytest.mark.parametrize("arity", ["ClientStream", "Bidi"])
async def test_each_message_of_a_client_s_stream_is_checked(served: Served, arity: str) -> None:
    asks = iter([probe.Ask(text="ok"), probe.Ask(text="ok", name="x" * 41)])
    metadata = [("authorization", f"Bearer {served.keys.token()}")]
    _, error = await finish(served.stub(arity)(asks, metadata=metadata))
    found = refusal(error)
    assert found.info.reason == "INVALID_FIELD"
    assert served.handlers.seen == ["ok"]
    leaf = await seen_once(served, arity, grpc.StatusCode.INVALID_ARGUMENT)
    assert leaf.details["received"] == 2


async def test_violations_name_fields_and_rules_but_no_values(served: Served) -> None:
    secret = "S1234567D" * 5
    _, error = await finish(served.call("Unary", probe.Ask(name=secret, items=["a"] * 3)))
    found = refusal(error)
    [violation] = found.details["BadRequest"].field_violations
    assert (violation.field, violation.reason) == ("name", "string.max_len")
    assert secret.encode() not in found.status.SerializeToString()
    [leaf] = await served.leaves()
    assert leaf.targets == ()


async def test_quota_and_retry_travel_in_the_details(served: Served) -> None:
    _, error = await finish(served.call("Unary", probe.Ask(text="limit")))
    found = refusal(error)
    assert found.details["RetryInfo"].retry_delay.ToMilliseconds() == 1500
    assert found.details["QuotaFailure"].violations[0].subject == "budget"


async def test_a_hundred_thousand_tiny_items_do_not_hold_up_the_loop(served: Served) -> None:
    huge = probe.Ask(items=["a"] * 100_000)
    began = asyncio.get_running_loop().time()
    _, error = await finish(served.call("Unary", huge))
    found = refusal(error)
    assert asyncio.get_running_loop().time() - began < 2.0
    assert [violation.reason for violation in found.details["BadRequest"].field_violations] == ["repeated.max_items"]


async def test_the_leaf_names_what_was_asked_for_and_made_and_nothing_written(served: Served) -> None:
    ask = probe.Ask(name="orders/o1", text="call me at +65 9123 4567", items=["a"])
    await finish(served.call("Unary", ask, metadata=[("user-agent", "phone/1")]))
    [leaf] = await served.leaves()
    assert leaf.targets == ("orders/o1", "orders/made")
    assert (leaf.actor.kind, leaf.actor.id, leaf.actor.auth_method) == ("STAFF", "ada", "JWT")
    assert leaf.details["request"] == {"name": "orders/o1", "items": ["a"]}
    assert "9123" not in str(leaf)
    assert leaf.source.ip_hash.startswith("IP_ADDRESS:v1:")
    assert "127.0.0.1" not in str(leaf)


async def test_a_personal_subject_is_a_pseudonym_in_the_trail(served: Served) -> None:
    await finish(served.call("Unary", probe.Ask(), token=served.keys.token(sub="ada@example.com")))
    [leaf] = await served.leaves()
    assert leaf.actor.id.startswith("EMAIL:v1:")
    assert "example.com" not in str(leaf)


def _raw(channel: Any, path: str) -> Any:
    return channel.unary_unary(path)(b"")


async def test_an_unknown_method_is_refused_audited_and_makes_no_label(served: Served) -> None:
    for number in range(5):
        _, error = await finish(_raw(served.channel, f"/no.Such{number}/Me\tthod"))
        assert error is not None
        assert (error.code(), refusal(error).info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD")
    leaves = await served.leaves()
    assert [leaf.action for leaf in leaves] == [Action.METHOD_UNKNOWN] * 5
    assert leaves[0].rpc == "/no.Such0/Me?thod"
    assert leaves[0].tenant == "-"
    assert "no.Such" not in str([family.samples for family in served.registry.collect()])
    assert len(served.access.lines) == 5


async def test_health_checks_pass_without_credentials_and_without_a_record(served: Served) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    stub = health_pb2_grpc.HealthStub(served.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await stub.Check(health_pb2.HealthCheckRequest(service="none"))
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    assert await served.leaves() == []


async def test_large_metadata_is_refused(served: Served) -> None:
    _, error = await finish(served.call("Unary", probe.Ask(), metadata=[("x-padding", "a" * 8200)]))
    assert refusal(error).info.reason == "METADATA_TOO_LARGE"
    assert served.handlers.seen == []


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "é"])
async def test_an_unfit_request_id_is_replaced(served: Served, given: str) -> None:
    metadata = [("x-request-id", given)] if given.isascii() else []
    call = served.call("Unary", probe.Ask(), metadata=metadata)
    await finish(call)
    made = str(dict(await call.trailing_metadata())["x-request-id"])
    assert made != given
    assert len(made) == 36
    assert served.access.lines[0].request_id == made  # type: ignore[attr-defined]


async def test_a_trace_is_continued(served: Served) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await finish(served.call("Unary", probe.Ask(), metadata=[("traceparent", parent)]))
    [leaf] = await served.leaves()
    assert leaf.trace_id == "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize("arity", ["ServerStream", "Bidi"])
async def test_no_headers_are_sent_before_the_first_message(served: Served, arity: str) -> None:
    call = served.call(arity, probe.Ask(text="hang"))
    pending = asyncio.ensure_future(finish(call))
    headers = asyncio.ensure_future(call.initial_metadata())
    await asyncio.wait_for(served.handlers.hanging.wait(), 10)
    assert not headers.done()
    call.cancel()
    await asyncio.gather(pending, headers, return_exceptions=True)
