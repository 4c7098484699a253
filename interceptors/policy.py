"""What each RPC requires and records, read from the descriptors, and which role holds which permission.

The proto is the policy: `(tria.policy.v1.rpc)` on every method. A method without one stops the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor

from server.audit.actions import Action
from server.caller import Role
from tria.accounting.v1 import accounting_service_pb2
from tria.audit.v1 import audit_service_pb2
from tria.chat.v1 import chat_service_pb2
from tria.knowledge.v1 import knowledge_service_pb2
from tria.ops.v1 import ops_service_pb2
from tria.order.v1 import order_service_pb2
from tria.policy.v1 import audit_action_pb2, policy_pb2


class Permission(StrEnum):
    """`tria.policy.v1.Permission`, which says what each means."""

    PUBLIC = "PUBLIC"
    CHAT_USE = "CHAT_USE"
    CHAT_STAFF = "CHAT_STAFF"
    CATALOGUE_READ = "CATALOGUE_READ"
    CATALOGUE_WRITE = "CATALOGUE_WRITE"
    ORDER_USE = "ORDER_USE"
    ORDER_DECIDE = "ORDER_DECIDE"
    ACCOUNTING_VIEW = "ACCOUNTING_VIEW"
    ACCOUNTING_OPERATE = "ACCOUNTING_OPERATE"
    AUDIT_VIEW = "AUDIT_VIEW"
    AUDIT_WRITE = "AUDIT_WRITE"
    SUBJECT_MANAGE = "SUBJECT_MANAGE"
    KNOWLEDGE_READ = "KNOWLEDGE_READ"
    KNOWLEDGE_WRITE = "KNOWLEDGE_WRITE"
    OPS_VIEW = "OPS_VIEW"
    OPS_MANAGE = "OPS_MANAGE"


_CUSTOMER = frozenset({Permission.CHAT_USE, Permission.CATALOGUE_READ, Permission.ORDER_USE, Permission.KNOWLEDGE_READ})
_STAFF = _CUSTOMER | {
    Permission.CHAT_STAFF,
    Permission.ORDER_DECIDE,
    Permission.ACCOUNTING_VIEW,
    Permission.ACCOUNTING_OPERATE,
    Permission.CATALOGUE_WRITE,
    Permission.KNOWLEDGE_WRITE,
    Permission.OPS_VIEW,
}

GRANTS: Mapping[Role, frozenset[Permission]] = {
    Role.CUSTOMER: _CUSTOMER,
    Role.STAFF: _STAFF,
    # Whoever checks the trail sees the trail and nothing else.
    Role.AUDITOR: frozenset({Permission.AUDIT_VIEW}),
    # Everything a person may do; events of other systems are written by services, not by hand.
    Role.ADMIN: frozenset(Permission) - {Permission.PUBLIC, Permission.AUDIT_WRITE},
    # Internal services feed data in and place orders; deciding about orders, money and people stays with people.
    Role.SERVICE: _CUSTOMER
    | {Permission.CATALOGUE_WRITE, Permission.KNOWLEDGE_WRITE, Permission.OPS_VIEW, Permission.AUDIT_WRITE},
}


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket: `per_minute` tokens come, at most `burst` wait."""

    per_minute: int
    burst: int


@dataclass(frozen=True, slots=True)
class MethodPolicy:
    """The policy of one RPC. `default_deadline` is in seconds, None where only the server's age limit holds."""

    permission: Permission
    action: Action
    mutates: bool = False
    default_deadline: float | None = None
    rate: Rate | None = None
    granted_to: frozenset[Role] = frozenset()


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC as the chain sees it. `known` is False for what is in no contract: such names become no label."""

    path: str
    policy: MethodPolicy
    request_streaming: bool
    response_streaming: bool
    request_type: Descriptor | None = None
    response_type: Descriptor | None = None
    known: bool = True

    @property
    def service(self) -> str:
        """The full name of the service, `tria.order.v1.OrderService`."""
        return self.path.split("/")[1]

    @property
    def name(self) -> str:
        """The name of the method, `GetOrder`."""
        return self.path.rpartition("/")[2]

    @property
    def kind(self) -> str:
        """The arity as go-grpc-prometheus writes it."""
        if self.request_streaming:
            return "BIDI_STREAMING" if self.response_streaming else "CLIENT_STREAMING"
        return "SERVER_STREAMING" if self.response_streaming else "UNARY"


class PolicyError(Exception):
    """Methods without a usable policy; `methods` names every one of them."""

    def __init__(self, methods: Iterable[str]) -> None:
        self.methods = tuple(methods)
        super().__init__("no usable (tria.policy.v1.rpc) option on: " + ", ".join(self.methods))


UNKNOWN = Method(
    path="/unknown/Unknown",
    policy=MethodPolicy(Permission.PUBLIC, Action.METHOD_UNKNOWN, rate=Rate(per_minute=60, burst=20)),
    request_streaming=True,
    response_streaming=True,
    known=False,
)
"""Stands for every method that is in no contract, whatever it was called as. Bidirectional: it reads nothing."""


def contract() -> list[ServiceDescriptor]:
    """The services of TRIA."""
    modules = (
        accounting_service_pb2,
        audit_service_pb2,
        chat_service_pb2,
        knowledge_service_pb2,
        ops_service_pb2,
        order_service_pb2,
    )
    return [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]


def read_policies(services: Iterable[ServiceDescriptor]) -> dict[str, Method]:
    """Every method of the services by its path (`/package.Service/Method`), with its policy.

    Raises PolicyError that names every method without a policy, permission or audit action.
    """
    methods: dict[str, Method] = {}
    wrong: list[str] = []
    for service in services:
        for descriptor in service.methods:
            policy = _read(descriptor)
            path = f"/{service.full_name}/{descriptor.name}"
            if policy is None:
                wrong.append(f"{service.full_name}/{descriptor.name}")
            else:
                methods[path] = Method(
                    path=path,
                    policy=policy,
                    request_streaming=descriptor.client_streaming,
                    response_streaming=descriptor.server_streaming,
                    request_type=descriptor.input_type,
                    response_type=descriptor.output_type,
                )
    if wrong:
        raise PolicyError(sorted(wrong))
    return methods


def infrastructure() -> dict[str, Method]:
    """Health and reflection, which carry no options of ours: open to whoever reaches the port that serves them."""
    health = MethodPolicy(Permission.PUBLIC, Action.HEALTH_CHECK)
    reflection = MethodPolicy(Permission.PUBLIC, Action.OPS_READ, rate=Rate(per_minute=120, burst=30))
    methods = [
        Method("/grpc.health.v1.Health/Check", health, request_streaming=False, response_streaming=False),
        Method("/grpc.health.v1.Health/List", health, request_streaming=False, response_streaming=False),
        Method("/grpc.health.v1.Health/Watch", health, request_streaming=False, response_streaming=True),
    ]
    for version in ("v1", "v1alpha"):
        path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        methods.append(Method(path, reflection, request_streaming=True, response_streaming=True))
    return {method.path: method for method in methods}


def _read(descriptor: MethodDescriptor) -> MethodPolicy | None:
    options = descriptor.GetOptions()
    if not options.HasExtension(policy_pb2.rpc):
        return None
    found = options.Extensions[policy_pb2.rpc]
    if not found.permission or not found.audit:
        return None
    permission = Permission(policy_pb2.Permission.Name(found.permission))
    deadline = found.default_deadline.ToTimedelta().total_seconds()
    limit = found.max_rate
    return MethodPolicy(
        permission=permission,
        action=Action(audit_action_pb2.AuditAction.Name(found.audit)),
        mutates=found.mutates,
        default_deadline=deadline or None,
        rate=Rate(limit.per_minute, max(limit.burst, 1)) if limit.per_minute else None,
        granted_to=frozenset(role for role, granted in GRANTS.items() if permission in granted),
    )
