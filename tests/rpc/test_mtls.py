"""A client certificate with a SPIFFE id is a credential: of a service, of the gateway (none), or of nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from interceptors.auth import Auth
from interceptors.call import Call
from interceptors.errors import Errors, answer
from interceptors.policy import Method, MethodPolicy, Permission
from server.audit.actions import Action
from server.audit.actor import Shown
from server.caller import AuthMethod, Caller, Role
from tests.support.calls import finish, refusal


class Authority:
    """A certificate authority of this test."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.certificate = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0), [])

    def issue(self, *names: x509.GeneralName) -> tuple[bytes, bytes]:
        """A key and a certificate, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")])
        certificate = self._signed(name, key, x509.BasicConstraints(ca=False, path_length=None), list(names))
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem, certificate

    def _signed(self, subject: x509.Name, key: Any, basic: x509.BasicConstraints, names: list[Any]) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(basic, critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


GUARDED = Method(
    "/probe/Whoami",
    MethodPolicy(Permission.ORDER_USE, Action.DATA_READ, granted_to=frozenset({Role.SERVICE, Role.STAFF})),
    request_streaming=False,
    response_streaming=False,
)


async def _token(token: str) -> Caller:
    return Caller("acme", token, frozenset({Role.STAFF}), AuthMethod.JWT)


async def _no_key(key: str) -> Caller:
    raise AssertionError(key)


@asynccontextmanager
async def whoami(*client_names: x509.GeneralName) -> AsyncIterator[Any]:
    """A TLS server that answers with the caller that auth found; the stub shows a certificate with these names."""
    authority = Authority()

    async def tell(call: Call) -> bytes:
        caller = call.caller
        return f"{caller.tenant}/{caller.subject}/{caller.auth_method}/{'+'.join(sorted(caller.roles))}".encode()

    chain = Errors().around(
        GUARDED,
        Auth(token=_token, api_key=_no_key, stand_in=Shown(None).stand_in, trust_domain="tria").around(GUARDED, tell),
    )

    async def handle(request: bytes, context: Any) -> Any:
        return await answer(Call(GUARDED, context, request, bytes), chain)

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Whoami": grpc.unary_unary_rpc_method_handler(handle)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("probe", handlers),))
    key, certificate = authority.issue(x509.DNSName("localhost"))
    credentials = grpc.ssl_server_credentials([(key, certificate)], authority.certificate, require_client_auth=True)
    port = server.add_secure_port("localhost:0", credentials)
    await server.start()
    client_key, client_certificate = authority.issue(*client_names)
    channel_credentials = grpc.ssl_channel_credentials(authority.certificate, client_key, client_certificate)
    async with grpc.aio.secure_channel(f"localhost:{port}", channel_credentials) as channel:
        yield channel.unary_unary("/probe/Whoami")
    await server.stop(0)


def spiffe(path: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(f"spiffe://{path}")


async def test_a_service_is_known_by_its_certificate() -> None:
    async with whoami(spiffe("tria/tenant/acme/service/importer")) as call:
        assert await call(b"") == b"acme/importer/MTLS/SERVICE"


async def test_a_certificate_and_a_token_are_ambiguous() -> None:
    async with whoami(spiffe("tria/tenant/acme/service/importer")) as call:
        _, error = await finish(call(b"", metadata=[("authorization", "Bearer ada")]))
        assert refusal(error).info.reason == "CREDENTIALS_AMBIGUOUS"


async def test_the_gateway_s_certificate_only_carries_other_people_s_calls() -> None:
    async with whoami(spiffe("tria/gateway/edge-1")) as call:
        assert await call(b"", metadata=[("authorization", "Bearer ada")]) == b"acme/ada/JWT/STAFF"
        _, error = await finish(call(b""))
        assert refusal(error).info.reason == "CREDENTIALS_MISSING"


@pytest.mark.parametrize(
    "path",
    [
        "elsewhere/tenant/acme/service/importer",
        "tria/tenant/acme/service/importer/more",
        "tria/tenant/ACME/service/importer",
        "tria/tenant/acme",
        "elsewhere/gateway/edge-1",
    ],
)
async def test_an_identity_that_is_not_ours_is_refused(path: str) -> None:
    async with whoami(spiffe(path)) as call:
        _, error = await finish(call(b""))
        assert refusal(error).info.reason == "CERTIFICATE_INVALID"


async def test_a_certificate_without_an_identity_is_no_credential() -> None:
    async with whoami(x509.DNSName("client.test")) as call:
        _, error = await finish(call(b""))
        assert refusal(error).info.reason == "CREDENTIALS_MISSING"
        assert await asyncio.wait_for(call(b"", metadata=[("authorization", "Bearer ada")]), 5)
