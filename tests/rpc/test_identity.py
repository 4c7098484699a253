"""Who may call: every false credential is refused, every spoofed header is ignored, and keys can be rotated."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import grpc
import jwt
import pytest

from tests.support import probe
from tests.support.calls import Served, claims, finish, refusal
from tests.support.stores import eventually


def _unsigned(_: Served) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'kid': 'k1', 'typ': 'JWT'})}.{part(claims())}."


def _public_key_as_secret(served: Served) -> str:
    header, payload = (
        base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")
        for value in ({"alg": "HS256", "kid": "k1", "typ": "JWT"}, claims())
    )
    signed = hmac.new(served.keys.public_pem("k1"), header + b"." + payload, hashlib.sha256).digest()
    return b".".join([header, payload, base64.urlsafe_b64encode(signed).rstrip(b"=")]).decode()


def _other_key(served: Served) -> str:
    served.keys.private["stranger"] = served.keys.private["k1"]
    served.keys.add("k1")  # a new k1, not loaded by the server, signs
    token = served.keys.token()
    served.keys.private["k1"] = served.keys.private.pop("stranger")
    served.keys.publish()
    return token


def _changed(**changes: Any) -> Callable[[Served], str]:
    return lambda served: served.keys.token(**changes)


FALSE_TOKENS: dict[str, tuple[Callable[[Served], str], str]] = {
    "expired": (_changed(exp=time.time() - 31), "TOKEN_EXPIRED"),
    "not yet valid": (_changed(nbf=time.time() + 3600), "TOKEN_INVALID"),
    "no end": (_changed(exp=None), "TOKEN_INVALID"),
    "no subject": (_changed(sub=None), "TOKEN_INVALID"),
    "wrong audience": (_changed(aud="somebody-else"), "TOKEN_INVALID"),
    "no audience": (_changed(aud=None), "TOKEN_INVALID"),
    "wrong issuer": (_changed(iss="https://issuer.elsewhere"), "TOKEN_INVALID"),
    "no issuer": (_changed(iss=None), "TOKEN_INVALID"),
    "no tenant": (_changed(tenant=None), "TOKEN_INVALID"),
    "tenant of a wrong form": (_changed(tenant="Acme; drop table"), "TOKEN_INVALID"),
    "tenant of a wrong type": (_changed(tenant=["acme"]), "TOKEN_INVALID"),
    "no roles": (_changed(roles=[]), "TOKEN_INVALID"),
    "an unknown role": (_changed(roles=["STAFF", "ROOT"]), "TOKEN_INVALID"),
    "roles of a wrong type": (_changed(roles="STAFF"), "TOKEN_INVALID"),
    "a customer without an outlet": (_changed(roles=["CUSTOMER"]), "TOKEN_INVALID"),
    "a refresh token by claim": (_changed(typ="Refresh"), "TOKEN_INVALID"),
    "a refresh token by use": (_changed(token_use="refresh"), "TOKEN_INVALID"),
    "a refresh token by header": (lambda served: served.keys.token(headers={"typ": "rt+jwt"}), "TOKEN_INVALID"),
    "critical extensions": (lambda served: served.keys.token(headers={"crit": ["b64"]}), "TOKEN_INVALID"),
    "alg none": (_unsigned, "TOKEN_INVALID"),
    "the public key as an HMAC secret": (_public_key_as_secret, "TOKEN_INVALID"),
    "signed by another key": (_other_key, "TOKEN_INVALID"),
    "garbage": (lambda _: "not.a.token", "TOKEN_INVALID"),
}


@pytest.mark.parametrize("which", FALSE_TOKENS)
async def test_a_false_token_is_refused(served: Served, which: str) -> None:
    make, reason = FALSE_TOKENS[which]
    token = make(served)
    _, error = await finish(served.call("Unary", probe.Ask(), token=token))
    found = refusal(error)
    assert error is not None
    assert (error.code(), found.info.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)
    assert served.handlers.seen == []
    [leaf] = await served.leaves()
    assert (leaf.tenant, leaf.action.value) == ("-", "AUTHENTICATION_FAIL")


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
async def test_every_accepted_algorithm_works(served: Served, algorithm: str) -> None:
    served.keys.add("other", algorithm)
    _, error = await finish(served.call("Unary", probe.Ask(), token=served.keys.token("other")))
    assert error is None


async def test_a_remembered_token_ends_all_the_same(served: Served) -> None:
    token = served.keys.token(exp=time.time() - 29)  # past its end, inside the leeway
    _, error = await finish(served.call("Unary", probe.Ask(), token=token))
    assert error is None

    async def refused() -> bool:
        _, error = await finish(served.call("Unary", probe.Ask(), token=token))
        return error is not None and refusal(error).info.reason == "TOKEN_EXPIRED"

    await eventually(refused, within=10)


async def test_rotation_a_new_key_works_at_once_and_the_old_one_while_published(served: Served) -> None:
    before = served.keys.token()
    served.keys.add("k2")
    for token in (served.keys.token("k2"), before):
        _, error = await finish(served.call("Unary", probe.Ask(), token=token))
        assert error is None


async def test_a_withdrawn_key_stops_working(served: Served) -> None:
    served.keys.add("k2")
    served.keys.publish(without="k1")
    # A token with the new key makes the server read the set again; the old key is gone from it.
    _, error = await finish(served.call("Unary", probe.Ask(), token=served.keys.token("k2")))
    assert error is None
    _, error = await finish(served.call("Unary", probe.Ask(), token=served.keys.token("k1")))
    assert refusal(error).info.metadata["claim"] == "kid"


async def test_the_old_keys_stay_while_the_source_is_away(served: Served) -> None:
    served.keys.file.unlink()
    _, error = await finish(served.call("Unary", probe.Ask(), token=_signed_by_unknown(served)))
    assert refusal(error).info.reason == "TOKEN_INVALID"
    _, error = await finish(served.call("Unary", probe.Ask()))
    assert error is None


def _signed_by_unknown(served: Served) -> str:
    algorithm, key = served.keys.private["k1"]
    return jwt.encode(claims(), key, algorithm, headers={"kid": "unheard-of"})


SPOOFED = [
    ("x-user-id", "root"),
    ("x-tenant-id", "other"),
    ("x-roles", "ADMIN"),
    ("x_user_id", "root"),
    ("x-forwarded-user", "root"),
    ("x-forwarded-client-cert", "URI=spiffe://tria/tenant/other/service/root"),
    ("x-on-behalf-of", "somebody"),
]


async def test_identity_headers_are_not_believed(served: Served) -> None:
    await finish(served.call("Unary", probe.Ask(), metadata=SPOOFED))
    _, error = await finish(served.call("Unary", probe.Ask(), token=None, metadata=SPOOFED))
    assert refusal(error).info.reason == "CREDENTIALS_MISSING"
    believed, refused = await served.leaves()
    assert (believed.tenant, believed.actor.id, believed.actor.kind) == ("acme", "ada", "STAFF")
    assert believed.actor.on_behalf_of == ""
    assert refused.tenant == "-"


async def test_two_credentials_are_refused(served: Served) -> None:
    good = f"Bearer {served.keys.token()}"
    for extra in ([("authorization", good)], [("x-api-key", "key.0123456789abcdef")]):
        _, error = await finish(served.call("Unary", probe.Ask(), metadata=extra))
        assert refusal(error).info.reason == "CREDENTIALS_AMBIGUOUS"
    assert served.handlers.seen == []


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer a b", "bearer  x"])
async def test_authorization_must_be_a_bearer_token(served: Served, header: str) -> None:
    metadata = [("authorization", header)]
    _, error = await finish(served.call("Unary", probe.Ask(), token=None, metadata=metadata))
    assert refusal(error).info.reason == "TOKEN_INVALID"


async def _store_key(served: Served, key_id: str, secret: str, **columns: Any) -> None:
    row = {"roles": ["SERVICE"], "expires_in": None, "revoked": False} | columns
    async with served.database.connection() as connection:
        await connection.execute("insert into tenant (id, name) values ('acme', 'Acme') on conflict do nothing")
        await connection.execute(
            """insert into api_key (key_id, tenant, subject, roles, secret_sha256, expires_at, revoked_at)
               values ($1, 'acme', 'importer', $2, $3, now() + $4::float8 * interval '1 s',
                       case when $5 then now() end)""",
            key_id,
            row["roles"],
            hashlib.sha256(secret.encode()).digest(),
            row["expires_in"],
            row["revoked"],
        )


SECRET = "0123456789abcdef0123456789abcdef"


async def _with_key(served: Served, key: str, **options: Any) -> grpc.aio.AioRpcError | None:
    metadata = [("x-api-key", key), *options.pop("metadata", ())]
    _, error = await finish(served.call("Unary", probe.Ask(), token=None, metadata=metadata))
    return error


async def test_an_api_key_is_known_by_its_hash(served: Served) -> None:
    await _store_key(served, "good", SECRET, roles=["ADMIN"])
    assert await _with_key(served, f"good.{SECRET}") is None
    [leaf] = await served.leaves()
    assert (leaf.actor.id, leaf.actor.auth_method, leaf.tenant) == ("importer", "API_KEY", "acme")


@pytest.mark.parametrize(
    ("columns", "presented"),
    [
        ({}, "good.fedcba9876543210fedcba9876543210"),
        ({}, f"other.{SECRET}"),
        ({}, "good."),
        ({}, SECRET),
        ({"revoked": True}, f"good.{SECRET}"),
        ({"expires_in": -1.0}, f"good.{SECRET}"),
        ({"roles": ["ROOT"]}, f"good.{SECRET}"),
        ({"roles": ["CUSTOMER"]}, f"good.{SECRET}"),
    ],
    ids=["wrong secret", "unknown", "no secret", "no id", "revoked", "expired", "unknown role", "customer"],
)
async def test_a_false_api_key_is_refused(served: Served, columns: dict[str, Any], presented: str) -> None:
    await _store_key(served, "good", SECRET, **columns)
    assert refusal(await _with_key(served, presented)).info.reason == "API_KEY_INVALID"


async def test_only_a_service_may_act_for_somebody(served: Served) -> None:
    await _store_key(served, "good", SECRET)
    error = await _with_key(served, f"good.{SECRET}", metadata=[("x-on-behalf-of", "outlet-7")])
    assert refusal(error).info.reason == "PERMISSION_MISSING"  # SERVICE does not decide about orders
    [leaf] = await served.leaves()
    assert (leaf.actor.kind, leaf.actor.on_behalf_of) == ("SERVICE", "outlet-7")
