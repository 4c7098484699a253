"""Every RPC of the contract, called in every way that a call can end: exactly one access leaf each."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
import pytest
from click.testing import CliRunner
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from interceptors.policy import Method, contract, read_policies
from server.audit.actions import Action
from server.audit_coverage import coverage, measure, services
from server.caller import Role
from tests.support.app import Desk
from tests.support.stores import eventually

METHODS = {
    path: method
    for path, method in read_policies(contract()).items()
    if method.policy.action is not Action.HEALTH_CHECK
}
WAYS = ("stranger", "wrong role", "empty", "too long", "nothing there", "unreadable", "hurried")


@dataclass(frozen=True, slots=True)
class Ended:
    """A call and how it ended."""

    path: str
    way: str
    request_id: str
    code: grpc.StatusCode


def request_for(method: Method, way: str) -> bytes:
    """What is sent: as a rule it is wrong in some way."""
    assert method.request_type is not None
    message = GetMessageClass(method.request_type)()
    if way == "unreadable":
        return b"\xff\xff\xff"
    if way == "too long":
        fill(message, "x" * 70_000)
    elif way == "nothing there":
        fill(message, str(uuid.UUID(int=7)))
    return message.SerializeToString()


def fill(message: Message, text: str) -> None:
    """Puts the text into every singular text field."""
    for field in message.DESCRIPTOR.fields:
        if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated and field.containing_oneof is None:
            setattr(message, field.name, text)


def role_for(method: Method, way: str) -> Role | None:
    """Whose token is shown."""
    granted = method.policy.granted_to
    others = [role for role in Role if role not in granted]
    if way == "stranger":
        return None
    if way == "wrong role" and others and granted:
        return others[0]
    return next((role for role in Role if role in granted), Role.CUSTOMER)


async def call(desk: Desk, method: Method, way: str) -> Ended:
    """One call, to its end."""
    request_id, role = str(uuid.uuid4()), role_for(method, way)
    metadata: list[tuple[str, str]] = [("x-request-id", request_id)]
    if role is not None:
        metadata += desk.metadata(role, subject=f"someone-{request_id[:8]}")
    timeout = 0.02 if way == "hurried" else 1.0 if method.response_streaming else 20.0
    code = grpc.StatusCode.OK
    try:
        async for _ in answers(desk.channel, method, request_for(method, way), tuple(metadata), timeout):
            pass
    except grpc.aio.AioRpcError as error:
        code = error.code()
    return Ended(method.path, way, request_id, code)


async def answers(
    channel: grpc.aio.Channel, method: Method, request: bytes, metadata: tuple[tuple[str, str], ...], timeout: float
) -> AsyncIterator[Any]:
    """What comes back, whatever the arity."""
    kind = (
        ("stream" if method.request_streaming else "unary") + "_" + ("stream" if method.response_streaming else "unary")
    )
    sent: Any = iter([request]) if method.request_streaming else request
    started = getattr(channel, kind)(method.path)(sent, metadata=metadata, timeout=timeout)
    if method.response_streaming:
        async for answer in started:
            yield answer
    else:
        yield await started


async def leaves(desk: Desk, request_ids: list[str]) -> list[dict[str, Any]]:
    """What was recorded about these calls."""
    connection = await asyncpg.connect(desk.dsn)
    try:
        rows = await connection.fetch("select leaf from audit_pending where request_id = any($1)", request_ids)
    finally:
        await connection.close()
    return [json.loads(row["leaf"]) for row in rows]


async def accessed(desk: Desk, request_ids: list[str]) -> Counter[str]:
    """How many access leaves there are, by request id."""
    return Counter(leaf["request_id"] for leaf in await leaves(desk, request_ids) if leaf["kind"] == "ACCESS")


@pytest.mark.parametrize("service", sorted({method.service for method in METHODS.values()}))
async def test_every_call_leaves_exactly_one_access_leaf(desk: Desk, service: str) -> None:
    methods = [method for method in METHODS.values() if method.service == service]
    ended = [await call(desk, method, way) for method in methods for way in WAYS]
    # A call that was given up before it reached the server has none; all the others were told how they ended by it.
    arrived = [item for item in ended if item.way != "hurried"]

    async def all_recorded() -> bool:
        return len(await accessed(desk, [item.request_id for item in arrived])) == len(arrived)

    await eventually(all_recorded)
    found = await accessed(desk, [item.request_id for item in ended])
    assert max(found.values()) == 1
    by_id = {leaf["request_id"]: leaf for leaf in await leaves(desk, list(found)) if leaf["kind"] == "ACCESS"}
    for item in arrived:
        leaf = by_id[item.request_id]
        assert leaf["rpc"] == item.path
        if item.code is not grpc.StatusCode.DEADLINE_EXCEEDED:  # the client's word, the server's may be CANCELLED
            assert leaf["status"] == item.code.name, item
        if item.way == "stranger" and METHODS[item.path].policy.granted_to:
            assert (leaf["action"], leaf["decision"]) == ("AUTHENTICATION_FAIL", "DENIED")
        if item.code is grpc.StatusCode.PERMISSION_DENIED:
            assert (leaf["action"], leaf["decision"]) == ("ACCESS_DENY", "DENIED")


def test_the_command_finds_every_rpc_recorded() -> None:
    found = measure()
    assert found.percent == 100.0
    assert {f"/{service.full_name}" for service in services()} == {f"/{service.full_name}" for service in contract()}
    assert len(found.recorded) == len(METHODS)
    assert found.health == ("/tria.ops.v1.OpsService/CheckHealth",)
    result = CliRunner().invoke(coverage, [])
    assert result.exit_code == 0
    assert "(100 %)" in result.output
