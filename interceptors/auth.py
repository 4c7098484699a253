"""Who is calling, and whether they may: deny by default.

Identity comes from exactly one verified credential and from nothing else: `x-user-id`, `x-tenant-id` and their kind are
not read anywhere. A PUBLIC method reads no credential at all.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeAlias

from interceptors.call import Call, Metadata, Proceed
from interceptors.policy import Method, Permission
from server.caller import AuthMethod, Caller, Role, current_caller
from server.errors import AppError, Code, Reason, invalid
from server.pii.people import People

METADATA_LIMIT = 8192
_ENTRY_OVERHEAD = 32  # bytes, as RFC 9113 §6.5.2 counts a header
_TENANT = r"[a-z0-9][a-z0-9_-]{0,62}"
_SERVICE_PATH = re.compile(rf"/tenant/({_TENANT})/service/([A-Za-z0-9._-]{{1,64}})")
_GATEWAY_PATH = re.compile(r"/gateway/[A-Za-z0-9._-]{1,64}")
_ON_BEHALF_OF = re.compile(r"[A-Za-z0-9._@:+-]{1,128}")

Verifier: TypeAlias = Callable[[str], Awaitable[Caller]]
"""Turns a token or a key into a caller; raises AppError UNAUTHENTICATED."""


class Auth:
    """The layer. `token` verifies bearer tokens, `api_key` keys; `trust_domain` is set where there is mTLS; `people`
    tells whose rows the call writes.

    `stand_in` gives what stands for a subject of a tenant everywhere behind this layer: the subject itself where it is
    opaque, a pseudonym where it is somebody's address or number, so that no store, key or log ever meets it.
    """

    name = "auth"

    def __init__(
        self,
        *,
        token: Verifier,
        api_key: Verifier,
        stand_in: Callable[[str, str], str],
        trust_domain: str | None = None,
        people: People | None = None,
    ) -> None:
        self._people = people
        self._stand_in = stand_in
        self._token = token
        self._api_key = api_key
        self._trust_domain = trust_domain

    def around(self, method: Method, proceed: Proceed) -> Proceed:
        policy = method.policy
        if policy.permission is Permission.PUBLIC:

            async def anonymous(call: Call) -> Any:
                check_size(call.metadata)
                return await proceed(call)

            return anonymous

        async def run(call: Call) -> Any:
            check_size(call.metadata)
            caller = await self._identify(call)
            call.caller = caller
            current_caller.set(caller)
            if not caller.roles & policy.granted_to:
                raise AppError(
                    Code.PERMISSION_DENIED,
                    Reason.PERMISSION_MISSING,
                    f"this needs the permission {policy.permission}",
                    metadata={"permission": policy.permission.value},
                )
            return await proceed(call)

        return run

    async def _identify(self, call: Call) -> Caller:
        bearer, key, spiffe = self._credentials(call)
        if spiffe is not None:
            caller = self._service(spiffe)
        elif bearer is not None:
            caller = await self._token(_bearer_token(bearer))
        elif key is not None:
            caller = await self._api_key(key)
        else:
            raise AppError(Code.UNAUTHENTICATED, Reason.CREDENTIALS_MISSING, "credentials are needed")
        caller = _for_somebody(call, caller)
        return self._behind_the_door(caller)

    def _behind_the_door(self, caller: Caller) -> Caller:
        """The caller as everything behind this layer knows it."""
        if self._people is not None:
            who = caller.on_behalf_of or caller.subject
            caller = replace(caller, person=self._people.reference(caller.tenant, who))
        subject, other = (self._stand_in(caller.tenant, who) for who in (caller.subject, caller.on_behalf_of))
        if (subject, other) == (caller.subject, caller.on_behalf_of):
            return caller
        return replace(caller, subject=subject, on_behalf_of=other)

    def _credentials(self, call: Call) -> tuple[str | None, str | None, str | None]:
        """The one credential of the call, in its place; AppError when there are several or a header is repeated."""
        bearers = [str(value) for name, value in call.metadata if name == "authorization"]
        keys = [str(value) for name, value in call.metadata if name == "x-api-key"]
        spiffe = self._certificate(call) if self._trust_domain else None
        if len(bearers) + len(keys) + (spiffe is not None) > 1:
            raise AppError(Code.UNAUTHENTICATED, Reason.CREDENTIALS_AMBIGUOUS, "send exactly one credential")
        return next(iter(bearers), None), next(iter(keys), None), spiffe

    def _certificate(self, call: Call) -> str | None:
        """The SPIFFE id of a verified client certificate; None without one, and for the gateway's, which only carries
        other people's calls."""
        context = call.context.auth_context()
        alternatives = context.get("peer_spiffe_id") or context.get("x509_subject_alternative_name", ())
        names = [name for name in alternatives if name.startswith(b"spiffe://")]
        if not names:
            return None
        spiffe = names[0].decode("utf-8", "replace")
        domain, _, path = spiffe.removeprefix("spiffe://").partition("/")
        is_gateway = domain == self._trust_domain and _GATEWAY_PATH.fullmatch("/" + path)
        return None if is_gateway and len(names) == 1 else spiffe

    def _service(self, spiffe: str) -> Caller:
        domain, _, path = spiffe.removeprefix("spiffe://").partition("/")
        match = _SERVICE_PATH.fullmatch("/" + path)
        if domain != self._trust_domain or match is None:
            raise AppError(
                Code.UNAUTHENTICATED, Reason.CERTIFICATE_INVALID, "the certificate carries no identity known here"
            )
        tenant, service = match.groups()
        return Caller(tenant=tenant, subject=service, roles=frozenset({Role.SERVICE}), auth_method=AuthMethod.MTLS)


def check_size(metadata: Metadata) -> None:
    """Raises AppError METADATA_TOO_LARGE past 8 KiB: grpcio delivers megabytes, whatever its channel arguments say."""
    if sum(len(name) + len(value) + _ENTRY_OVERHEAD for name, value in metadata) > METADATA_LIMIT:
        raise AppError(
            Code.RESOURCE_EXHAUSTED,
            Reason.METADATA_TOO_LARGE,
            f"the metadata is larger than {METADATA_LIMIT} bytes",
            metadata={"limit_bytes": str(METADATA_LIMIT)},
        )


def _bearer_token(header: str) -> str:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token or " " in token:
        raise AppError(Code.UNAUTHENTICATED, Reason.TOKEN_INVALID, "authorization must be `Bearer <token>`")
    return token


def _for_somebody(call: Call, caller: Caller) -> Caller:
    """The caller, acting for somebody where it is a service and says so; from anybody else the header is not read."""
    person = call.headers.get("x-on-behalf-of", "")
    if not person or Role.SERVICE not in caller.roles:
        return caller
    if not _ON_BEHALF_OF.fullmatch(person):
        raise invalid("x-on-behalf-of", "must be 1 to 128 of letters, digits and ._@:+-")
    return replace(caller, on_behalf_of=person)
