"""Who is calling, as verified by `interceptors/auth.py`: set once per call, read by handlers, then an argument."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """Roles that a token may carry; `tria.policy.v1` permissions are granted to them in interceptors/policy.py."""

    CUSTOMER = "CUSTOMER"
    STAFF = "STAFF"
    AUDITOR = "AUDITOR"
    ADMIN = "ADMIN"
    SERVICE = "SERVICE"


class AuthMethod(StrEnum):
    """How the caller proved who it is."""

    NONE = "NONE"
    JWT = "JWT"
    API_KEY = "API_KEY"
    MTLS = "MTLS"


@dataclass(frozen=True, slots=True)
class Caller:
    """The verified identity behind one call.

    `tenant` and `subject` are empty for a PUBLIC method called without credentials. `outlet` is set for customers
    only. `expires_at` is the credential's end in Unix seconds, or None where it has none. `person` is the reference
    (server/pii/people.py) of whoever this is for; rows that are theirs carry it.
    """

    tenant: str
    subject: str
    roles: frozenset[Role]
    auth_method: AuthMethod
    outlet: str = ""
    on_behalf_of: str = ""
    expires_at: float | None = None
    person: str = ""

    def has(self, role: Role) -> bool:
        return role in self.roles


@dataclass(frozen=True, slots=True)
class Request:
    """What belongs to the call rather than to the caller: ids for logs, audit and answers."""

    request_id: str
    trace_id: str
    traceparent: str
    method: str
    peer: str
    agent: str


@dataclass(frozen=True, slots=True)
class StoredKey:
    """The key of an internal service as it is stored; `sha256` is of its secret."""

    tenant: str
    subject: str
    roles: tuple[str, ...]
    sha256: bytes
    expires_at: datetime | None
    revoked_at: datetime | None


ANONYMOUS = Caller(tenant="", subject="", roles=frozenset(), auth_method=AuthMethod.NONE)

current_caller: ContextVar[Caller] = ContextVar("current_caller", default=ANONYMOUS)
current_request: ContextVar[Request | None] = ContextVar("current_request", default=None)
