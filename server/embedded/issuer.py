"""The token issuer and the TLS certificate of an embedded system: real signatures, keys that never leave the state dir.

A deployment uses its own identity provider; nothing but `tria up` and `tria token` reads this module.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from server.caller import Role

ISSUER = "https://issuer.tria.localhost"
AUDIENCE = "tria"

_CERTIFICATE_LIFE = timedelta(days=397)  # the longest that browsers accept
_CERTIFICATE_RENEWAL = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Claims:
    """Whom a token speaks for. `outlet` is for customers only; `ttl` is its life."""

    role: Role
    tenant: str
    subject: str
    outlet: str = ""
    ttl: timedelta = timedelta(hours=1)


class Issuer:
    """Signs ES256 tokens with a key pair in `directory` (mode 0600), and publishes its public half as `jwks.json`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.jwks_path = directory / "jwks.json"
        self.certificate_path = directory / "tls.crt"
        self.certificate_key_path = directory / "tls.key"

    @property
    def _key_path(self) -> Path:
        return self._directory / "signing.pem"

    def exists(self) -> bool:
        """Whether `prepare` has run here: only then can tokens be minted."""
        return self._key_path.exists() and self.jwks_path.exists()

    def prepare(self) -> None:
        """Make what is missing: the directory, a signing key, jwks.json, and a certificate for localhost in force."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._key_path.exists():
            _write(self._key_path, _pem(ec.generate_private_key(ec.SECP256R1())))
        _write(self.jwks_path, json.dumps({"keys": [self._public_jwk()]}).encode(), mode=0o644)
        if not self._certificate_is_valid():
            self._renew_certificate()

    def mint(self, claims: Claims) -> str:
        """A signed JWT with iss, aud, iat, exp, jti, sub, tenant, roles and, where given, outlet.

        Raises FileNotFoundError when the state directory holds no key yet.
        """
        now = datetime.now(UTC)
        payload: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + claims.ttl,
            "jti": secrets.token_urlsafe(16),
            "sub": claims.subject,
            "tenant": claims.tenant,
            "roles": [claims.role.value],
        }
        if claims.outlet:
            payload["outlet"] = claims.outlet
        key = self._key_path.read_text()
        return jwt.encode(payload, key, algorithm="ES256", headers={"kid": self._public_jwk()["kid"]})

    def _public_jwk(self) -> dict[str, Any]:
        key = serialization.load_pem_private_key(self._key_path.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self._key_path} does not hold an EC key")
        public = key.public_key()
        digest = hashes.Hash(hashes.SHA256())
        digest.update(public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
        jwk: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True)
        return {**jwk, "kid": digest.finalize().hex()[:16], "use": "sig", "alg": "ES256"}

    def _certificate_is_valid(self) -> bool:
        if not (self.certificate_path.exists() and self.certificate_key_path.exists()):
            return False
        certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
        return certificate.not_valid_after_utc > datetime.now(UTC) + _CERTIFICATE_RENEWAL

    def _renew_certificate(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        names = x509.SubjectAlternativeName(
            [
                x509.DNSName("localhost"),
                x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                x509.IPAddress(ipaddress.ip_address("::1")),
            ]
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))  # a client's clock may be a little behind
            .not_valid_after(now + _CERTIFICATE_LIFE)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write(self.certificate_key_path, _pem(key))
        _write(self.certificate_path, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Whole or not at all, and never readable by others in between: a kill must not leave half a key."""
    aside = path.with_name(path.name + ".new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
