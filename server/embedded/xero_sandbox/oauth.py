"""Xero's identity server: tokens for the one client, and the connection to the one organisation."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import web

from server.embedded.xero_sandbox.organisation import NAME
from server.embedded.xero_sandbox.settings import TENANT_ID, SandboxSettings
from server.embedded.xero_sandbox.store import Store
from server.embedded.xero_sandbox.wire import web_address

_CODE_LIFE = 300.0
_REFRESH_LIFE = 60 * 86_400.0
_GRACE = 1_800.0  # seconds that a refresh token is taken again after its use
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_CONNECTION_ID = "0f4e6c7a-52a3-4b61-8b7e-9a4d2c1e5f60"
_SAVE = "INSERT INTO token (token, kind, expires) VALUES (?, ?, ?)"
_USE = "DELETE FROM token WHERE token = ? AND kind = ? AND expires > ? RETURNING token"
_KNOWN = "SELECT 1 FROM token WHERE token = ? AND kind = 'access' AND expires > ?"
_FORGET = "DELETE FROM token WHERE expires <= ?"


@dataclass(frozen=True, slots=True)
class Denied(Exception):
    """An OAuth error."""

    code: str
    status: int = 400


class Identity:
    """Issues and checks tokens; they are kept in the store, so that a restart does not sign anybody out."""

    def __init__(self, store: Store, settings: SandboxSettings) -> None:
        self._store = store
        self._settings = settings

    @property
    def connected(self) -> bool:
        return self._store.last("disconnect") <= self._store.last("connect")

    def connect(self) -> None:
        """As the person does who agrees."""
        if not self.connected:
            self._store.next("connect")

    def disconnect(self) -> None:
        """As the person does who takes the app's access away."""
        if self.connected:
            self._store.next("disconnect")

    async def token(self, request: web.Request) -> web.Response:
        """POST /connect/token."""
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        try:
            self._check_client(request.headers.get("Authorization", ""), form)
            answer = self._grant(form)
        except Denied as denied:
            return web.json_response({"error": denied.code}, status=denied.status)
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    async def authorize(self, request: web.Request) -> web.Response:
        """GET /identity/connect/authorize: whoever asks here agrees. Back to a loopback address only."""
        query = request.query
        back = web_address(query.get("redirect_uri", ""))
        if query.get("client_id") != self._settings.client_id or query.get("response_type") != "code":
            return web.Response(status=400, text="client_id or response_type is wrong")
        if back is None or back.hostname not in _LOOPBACK:
            return web.Response(status=400, text="redirect_uri must be on this machine")
        self.connect()
        offline = "offline_access" in query.get("scope", "").split()
        code = self._issue(f"code {offline} {back.geturl()}", _CODE_LIFE)
        answer = {"code": code} | ({"state": query["state"]} if "state" in query else {})
        separator = "&" if back.query else "?"
        return web.Response(status=302, headers={"Location": f"{back.geturl()}{separator}{urlencode(answer)}"})

    async def connections(self, request: web.Request) -> web.Response:
        """GET /connections."""
        if not self.knows(request):
            return web.Response(status=401)
        if not self.connected:
            return web.json_response([])
        connection = {
            "id": _CONNECTION_ID,
            "authEventId": _CONNECTION_ID,
            "tenantId": TENANT_ID,
            "tenantType": "ORGANISATION",
            "tenantName": NAME,
            "createdDateUtc": "2026-01-01T00:00:00.0000000",
            "updatedDateUtc": "2026-01-01T00:00:00.0000000",
        }
        return web.json_response([connection])

    async def delete_connection(self, request: web.Request) -> web.Response:
        """DELETE /connections/{id}."""
        if not self.knows(request):
            return web.Response(status=401)
        if request.match_info["id"] != _CONNECTION_ID or not self.connected:
            return web.Response(status=404)
        self.disconnect()
        return web.Response(status=204)

    def knows(self, request: web.Request) -> bool:
        """Whether the bearer token is one of ours and in force."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return False
        return self._store.database.execute(_KNOWN, (token, self._settings.clock())).fetchone() is not None

    def expire_tokens(self) -> None:
        """All access tokens end now, as after half an hour."""
        self._store.database.execute("DELETE FROM token WHERE kind = 'access'")

    def _check_client(self, authorization: str, form: Mapping[str, str]) -> None:
        id, secret = form.get("client_id", ""), form.get("client_secret", "")
        if authorization.lower().startswith("basic "):
            try:
                id, _, secret = base64.b64decode(authorization[6:], validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError) as error:
                raise Denied("invalid_client", 401) from error
        right = hmac.compare_digest(secret.encode(), self._settings.client_secret.encode())
        if id != self._settings.client_id or not right:
            raise Denied("invalid_client", 401)

    def _grant(self, form: Mapping[str, str]) -> dict[str, str | int]:
        match form.get("grant_type"):
            case "client_credentials":
                return self._tokens(offline=False, scope=form.get("scope", ""))
            case "authorization_code":
                return self._redeem(form)
            case "refresh_token":
                self._use_refresh(form.get("refresh_token", ""))
                return self._tokens(offline=True, scope="offline_access")
            case _:
                raise Denied("unsupported_grant_type")

    def _redeem(self, form: Mapping[str, str]) -> dict[str, str | int]:
        code, back = form.get("code", ""), form.get("redirect_uri", "")
        for offline in (True, False):
            try:
                self._use(code, f"code {offline} {back}")
            except Denied:
                continue
            return self._tokens(offline=offline, scope="offline_access" if offline else "")
        raise Denied("invalid_grant")

    def _tokens(self, *, offline: bool, scope: str) -> dict[str, str | int]:
        self._store.database.execute(_FORGET, (self._settings.clock(),))
        answer: dict[str, str | int] = {
            "access_token": self._issue("access", self._settings.token_life),
            "expires_in": int(self._settings.token_life),
            "token_type": "Bearer",
            "scope": scope,
        }
        return answer | ({"refresh_token": self._issue("refresh", _REFRESH_LIFE)} if offline else {})

    def _issue(self, kind: str, life: float) -> str:
        token = secrets.token_urlsafe(32)
        self._store.database.execute(_SAVE, (token, kind, self._settings.clock() + life))
        return token

    def _use_refresh(self, token: str) -> None:
        """Serves once, and for a while again to a client that never got the answer. Raises Denied."""
        again = "used refresh"
        try:
            self._use(token, "refresh")
        except Denied:
            self._use(token, again)
        self._store.database.execute(_SAVE, (token, again, self._settings.clock() + _GRACE))

    def _use(self, token: str, kind: str) -> None:
        """Takes a token that serves once. Raises Denied."""
        if self._store.database.execute(_USE, (token, kind, self._settings.clock())).fetchone() is None:
            raise Denied("invalid_grant")
