"""Xero's identity service over HTTP: tokens by the three grants, what they reach, and ending that.

Not by xero-python, whose token calls have no timeout, keep no expiry of a client-credentials token, and refresh once
per thread with the same single-use refresh token.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp

from server.accounting_config import XeroConfig

_TIMEOUT = aiohttp.ClientTimeout(total=10, connect=3)
_MOST_BYTES = 1_000_000


class GrantRefused(Exception):
    """The grant is not taken: it was revoked, used up or never right. Asking again changes nothing."""


class IdentityAway(Exception):
    """No usable answer; whether a refresh token was used up is not known."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a grant gave; `expires_in` are seconds from now, `refresh` is empty for a custom connection."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_in: float
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation that tokens reach; `id` is what calls name it by, `connection` ends it."""

    id: str
    name: str
    connection: str


class Identity:
    """Stateless but for the HTTP session; made on a running loop, closed by `open_identity`."""

    def __init__(self, http: aiohttp.ClientSession, config: XeroConfig) -> None:
        self._http = http
        self._config = config
        self._app = {"authorization": aiohttp.encode_basic_auth(config.client_id, config.client_secret.reveal())}

    def consent_url(self, state: str) -> str:
        """Where a person lets this app into an organisation."""
        query = {
            "response_type": "code",
            "client_id": self._config.client_id,
            "redirect_uri": self._config.redirect_url,
            "scope": " ".join(self._config.scopes),
            "state": state,
        }
        return f"{self._config.login_url}/connect/authorize?{urlencode(query)}"

    async def by_credentials(self) -> Tokens:
        """Tokens of a custom connection. `offline_access` is nothing it could use."""
        scopes = " ".join(scope for scope in self._config.scopes if scope != "offline_access")
        return await self._tokens({"grant_type": "client_credentials", "scope": scopes})

    async def by_code(self, code: str) -> Tokens:
        """Tokens for the code that consent gave."""
        return await self._tokens(
            {"grant_type": "authorization_code", "code": code, "redirect_uri": self._config.redirect_url}
        )

    async def by_refresh(self, refresh: str) -> Tokens:
        """New tokens; the old refresh token is used up, but for a while taken again in case this answer was lost."""
        return await self._tokens({"grant_type": "refresh_token", "refresh_token": refresh})

    async def organisations(self, access: str) -> Sequence[Organisation]:
        """What the access token reaches."""
        url = f"{self._config.api_url}/connections"
        async with self._answer("GET", url, None, {"authorization": f"Bearer {access}"}) as answer:
            rows = await _json(answer)
        if not isinstance(rows, list):
            raise IdentityAway("the list of connections is not a list")
        return [
            Organisation(str(row["tenantId"]), str(row.get("tenantName") or ""), str(row.get("id") or ""))
            for row in rows
            if isinstance(row, dict) and row.get("tenantId")
        ]

    async def disconnect(self, access: str, organisation: Organisation) -> None:
        """Takes this app's access to the organisation away."""
        url = f"{self._config.api_url}/connections/{quote(organisation.connection, safe='')}"
        async with self._answer("DELETE", url, None, {"authorization": f"Bearer {access}"}):
            return

    async def _tokens(self, form: Mapping[str, str]) -> Tokens:
        async with self._answer("POST", f"{self._config.identity_url}/connect/token", form) as answer:
            told = await _json(answer)
        try:
            return Tokens(
                access=str(told["access_token"]),
                refresh=str(told.get("refresh_token") or ""),
                expires_in=float(told["expires_in"]),
                scopes=tuple(str(told.get("scope") or "").split()),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as cause:
            raise IdentityAway("the identity service answered with something that is no token") from cause

    @asynccontextmanager
    async def _answer(
        self, method: str, url: str, form: Mapping[str, str] | None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A 2xx answer. Credentials go to the configured place only: redirects are not followed."""
        try:
            async with self._http.request(
                method, url, data=form, headers=headers or self._app, allow_redirects=False, timeout=_TIMEOUT
            ) as answer:
                if answer.status in {400, 401, 403}:
                    raise GrantRefused(await _refusal(answer))
                if not 200 <= answer.status < 300:
                    raise IdentityAway(f"the identity service answered {answer.status}")
                yield answer
        except (aiohttp.ClientError, OSError) as cause:  # TimeoutError is an OSError
            raise IdentityAway(f"the identity service cannot be reached ({type(cause).__name__})") from cause


async def _json(answer: aiohttp.ClientResponse) -> Any:
    try:
        return json.loads(await answer.content.read(_MOST_BYTES))
    except ValueError as cause:
        raise IdentityAway("the identity service answered with something that is no JSON") from cause


async def _refusal(answer: aiohttp.ClientResponse) -> str:
    """The OAuth error code, which is a word of a closed list (RFC 6749 §5.2)."""
    try:
        told = json.loads(await answer.content.read(_MOST_BYTES))
        return str(told["error"])[:64]
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status}"


@asynccontextmanager
async def open_identity(config: XeroConfig) -> AsyncIterator[Identity]:
    """The identity service with a session of its own."""
    async with aiohttp.ClientSession() as http:
        yield Identity(http, config)
