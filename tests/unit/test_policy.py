"""The proto is the policy: complete, closed, and the only way to a permission."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from interceptors.chain import ORDER, OrderError, check_order
from interceptors.policy import GRANTS, Permission, PolicyError, contract, infrastructure, read_policies
from interceptors.unserved import unserved
from server.audit.actions import Action
from server.caller import Role
from tria.chat.v1 import chat_service_pb2_grpc
from tria.policy.v1 import audit_action_pb2, policy_pb2


def test_every_rpc_of_the_contract_has_a_policy() -> None:
    methods = read_policies(contract())
    described = [f"/{service.full_name}/{method.name}" for service in contract() for method in service.methods]
    assert sorted(methods) == sorted(described)
    assert len(methods) > 50
    for method in methods.values():
        public = method.policy.permission is Permission.PUBLIC
        assert public or method.policy.granted_to, f"nobody may call {method.path}"


def test_public_methods_are_the_few_that_are_meant_to_be() -> None:
    public = {path for path, method in read_policies(contract()).items() if not method.policy.granted_to}
    assert public == {
        "/tria.accounting.v1.AccountingService/ReceiveXeroWebhook",  # HMAC of the body
        "/tria.chat.v1.ChatService/StreamRunSse",  # single-use ticket
        "/tria.ops.v1.OpsService/CheckHealth",
    }


def _service_without_policies() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="tria/gap/v1/gap.proto", package="tria.gap.v1", syntax="proto3")
    file.dependency.append("tria/policy/v1/policy.proto")
    file.message_type.add(name="Nothing")
    service = file.service.add(name="Gap")
    for name in ("None", "NoPermission", "NoAudit", "Good"):
        method = service.method.add(name=name, input_type=".tria.gap.v1.Nothing", output_type=".tria.gap.v1.Nothing")
        if name == "None":
            continue
        policy = method.options.Extensions[policy_pb2.rpc]
        if name != "NoPermission":
            policy.permission = policy_pb2.OPS_VIEW
        if name != "NoAudit":
            policy.audit = audit_action_pb2.OPS_READ
    pool = descriptor_pool.Default()
    pool.Add(file)
    return pool.FindServiceByName("tria.gap.v1.Gap")


def test_methods_without_a_policy_stop_the_start_and_are_all_named() -> None:
    with pytest.raises(PolicyError) as refused:
        read_policies([_service_without_policies()])
    assert refused.value.methods == ("tria.gap.v1.Gap/NoAudit", "tria.gap.v1.Gap/NoPermission", "tria.gap.v1.Gap/None")


def test_permissions_and_actions_are_those_of_the_proto() -> None:
    assert {p.value for p in Permission} == set(policy_pb2.Permission.keys()) - {"PERMISSION_UNSPECIFIED"}
    assert {a.value for a in Action} == set(audit_action_pb2.AuditAction.keys()) - {"AUDIT_ACTION_UNSPECIFIED"}


def test_roles_hold_what_they_should_and_no_more() -> None:
    everything = frozenset(Permission) - {Permission.PUBLIC}
    assert set(GRANTS) == set(Role)
    assert GRANTS[Role.AUDITOR] == {Permission.AUDIT_VIEW}
    assert GRANTS[Role.ADMIN] == everything - {Permission.AUDIT_WRITE}
    assert GRANTS[Role.CUSTOMER] < GRANTS[Role.STAFF] < GRANTS[Role.ADMIN]
    for role in (Role.CUSTOMER, Role.STAFF, Role.SERVICE):
        assert not GRANTS[role] & {Permission.AUDIT_VIEW, Permission.SUBJECT_MANAGE, Permission.OPS_MANAGE}
    assert {role for role in Role if Permission.AUDIT_WRITE in GRANTS[role]} == {Role.SERVICE}
    assert {role for role in Role if Permission.ORDER_DECIDE in GRANTS[role]} == {Role.STAFF, Role.ADMIN}
    assert frozenset().union(*GRANTS.values()) == everything


def test_health_and_reflection_are_open() -> None:
    assert {method.policy.permission for method in infrastructure().values()} == {Permission.PUBLIC}


def test_the_order_of_the_layers_is_checked() -> None:
    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

    layers: list[Any] = [Named(name) for name in ORDER]
    check_order(layers)
    for wrong in (layers[::-1], layers[1:], [*layers, layers[0]], [layers[1], layers[0], *layers[2:]]):
        with pytest.raises(OrderError):
            check_order(wrong)


def test_what_is_not_served_is_listed() -> None:
    class Half(chat_service_pb2_grpc.ChatServiceServicer):
        async def GetRun(self, request: Any, context: Any) -> Any:
            return request, context

    methods = [m for m in read_policies(contract()).values() if m.service == "tria.chat.v1.ChatService"]
    half = Half()  # type: ignore[abstract]  # that it is one is the point
    missing = unserved(methods, {"tria.chat.v1.ChatService": half})
    assert "/tria.chat.v1.ChatService/GetRun" not in missing
    assert "/tria.chat.v1.ChatService/CancelRun" in missing
    assert len(missing) == len(methods) - 1
    assert len(unserved(methods, {})) == len(methods)
