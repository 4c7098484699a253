"""The embedded issuer: keys that stay private and stay the same, tokens that verify, a certificate for localhost."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import jwt
import pytest
from cryptography import x509

from server.caller import Role
from server.embedded.issuer import AUDIENCE, ISSUER, Claims, Issuer


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    issuer = Issuer(tmp_path / "issuer")
    issuer.prepare()
    return issuer


def verify(issuer: Issuer, token: str) -> dict[str, object]:
    keys = {key["kid"]: key for key in json.loads(issuer.jwks_path.read_text())["keys"]}
    key = jwt.PyJWK(keys[jwt.get_unverified_header(token)["kid"]])
    required = ["iss", "aud", "exp", "iat", "jti", "sub"]
    payload: dict[str, object] = jwt.decode(
        token, key, algorithms=["ES256"], issuer=ISSUER, audience=AUDIENCE, options={"require": required}
    )
    return payload


def test_token_verifies_and_says_who(issuer: Issuer) -> None:
    claims = Claims(Role.CUSTOMER, "demo", "ann", "outlet-1", timedelta(minutes=5))
    payload = verify(issuer, issuer.mint(claims))
    assert (payload["tenant"], payload["sub"], payload["roles"], payload["outlet"]) == (
        "demo", "ann", ["CUSTOMER"], "outlet-1",
    )  # fmt: skip
    assert int(str(payload["exp"])) - int(str(payload["iat"])) == 300


def test_staff_has_no_outlet_and_every_token_its_own_id(issuer: Issuer) -> None:
    claims = Claims(Role.STAFF, "demo", "bob")
    first, second = (verify(issuer, issuer.mint(claims)) for _ in range(2))
    assert "outlet" not in first
    assert first["jti"] != second["jti"]


def test_private_keys_are_private(issuer: Issuer) -> None:
    folder = issuer.jwks_path.parent
    assert folder.stat().st_mode & 0o077 == 0
    for name in ("signing.pem", "tls.key"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert all("d" not in key for key in json.loads(issuer.jwks_path.read_text())["keys"])


def test_keys_and_certificate_stay_over_a_restart(issuer: Issuer) -> None:
    token = issuer.mint(Claims(Role.STAFF, "demo", "bob"))
    certificate = issuer.certificate_path.read_bytes()
    again = Issuer(issuer.jwks_path.parent)
    again.prepare()
    assert verify(again, token)["sub"] == "bob"
    assert again.certificate_path.read_bytes() == certificate


def test_certificate_is_for_this_machine_only(issuer: Issuer) -> None:
    certificate = x509.load_pem_x509_certificate(issuer.certificate_path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca, "a stolen key must not be able to vouch for other sites"


def test_nothing_to_mint_with_before_prepare(tmp_path: Path) -> None:
    assert not Issuer(tmp_path).exists()
