"""Bearer tokens: signature, issuer, audience, times, then every claim by type and pattern."""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from typing import Any

import jwt

from interceptors.jwks import JwksStore
from server.caller import AuthMethod, Caller, Role
from server.errors import AppError, Code, Reason

_LEEWAY = 30  # seconds of clock difference
_REMEMBER = 60.0  # seconds: what was verified is looked at again after this, so that a withdrawn key stops working
_REMEMBERED = 4096
_REQUIRED = ["exp", "iss", "aud", "sub"]
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_OUTLET = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SUBJECT_LENGTH = 200
_ACCESS_HEADER_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_ACCESS_CLAIMS = {"typ": frozenset({"bearer", "access", "jwt", "at+jwt"}), "token_use": frozenset({"access"})}


class TokenVerifier:
    """Verifies JWTs (ES256, EdDSA, RS256) against the issuer's keys; remembers good ones for at most a minute."""

    def __init__(self, keys: JwksStore, *, issuer: str, audience: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._good: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()

    async def verify(self, token: str) -> Caller:
        """The caller that the token speaks for. Raises AppError UNAUTHENTICATED (TOKEN_INVALID, TOKEN_EXPIRED)."""
        now = time.time()
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()  # the token itself is not kept
        if remembered := self._good.get(digest):
            until, caller = remembered
            if now < until:
                self._good.move_to_end(digest)
                return caller
            del self._good[digest]
        claims = await self._claims(token)
        caller = caller_of(claims)
        self._good[digest] = (min(float(claims["exp"]), now + _REMEMBER), caller)
        if len(self._good) > _REMEMBERED:
            self._good.popitem(last=False)
        return caller

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as cause:
            raise _invalid("form") from cause
        kid = header.get("kid")
        if "crit" in header or str(header.get("typ", "jwt")).lower() not in _ACCESS_HEADER_TYPES:
            raise _invalid("typ")
        key = await self._keys.key(None if kid is None else str(kid))
        if key is None:
            raise _invalid("kid")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],  # the key's own: no token can choose how it is verified
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY,
                options={"require": _REQUIRED},
            )
        except jwt.ExpiredSignatureError as cause:
            raise AppError(Code.UNAUTHENTICATED, Reason.TOKEN_EXPIRED, "the token is past its end") from cause
        except jwt.InvalidTokenError as cause:
            raise _invalid(_claim_at_fault(cause)) from cause
        return claims


def caller_of(claims: dict[str, Any]) -> Caller:
    """The caller behind verified claims; AppError TOKEN_INVALID for one of the wrong type or form."""
    for name, accepted in _ACCESS_CLAIMS.items():
        if name in claims and str(claims[name]).lower() not in accepted:
            raise _invalid(name)  # a refresh or identity token is not an access token
    roles = _roles(claims.get("roles"))
    return Caller(
        tenant=_text(claims, "tenant", _TENANT),
        subject=_subject(claims),
        roles=roles,
        auth_method=AuthMethod.JWT,
        outlet=_outlet(claims) if Role.CUSTOMER in roles else "",
        expires_at=float(claims["exp"]),
    )


def _subject(claims: dict[str, Any]) -> str:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= _SUBJECT_LENGTH or not subject.isprintable():
        raise _invalid("sub")
    return subject


def _roles(value: object) -> frozenset[Role]:
    if not isinstance(value, list) or not value:
        raise _invalid("roles")
    try:
        return frozenset(Role(role) for role in value)
    except ValueError as cause:
        raise _invalid("roles") from cause


def _outlet(claims: dict[str, Any]) -> str:
    outlet = claims.get("outlet")
    bare = outlet.removeprefix("outlets/") if isinstance(outlet, str) else ""
    if not _OUTLET.fullmatch(bare):
        raise _invalid("outlet")
    return bare


def _text(claims: dict[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _invalid(name)
    return value


def _claim_at_fault(problem: jwt.InvalidTokenError) -> str:
    match problem:
        case jwt.MissingRequiredClaimError(claim=claim):
            return str(claim)
        case jwt.InvalidAudienceError():
            return "aud"
        case jwt.InvalidIssuerError():
            return "iss"
        case jwt.ImmatureSignatureError():
            return "nbf"
        case _:
            return "signature"


def _invalid(claim: str) -> AppError:
    return AppError(
        Code.UNAUTHENTICATED, Reason.TOKEN_INVALID, "the token is not valid here", metadata={"claim": claim}
    )
