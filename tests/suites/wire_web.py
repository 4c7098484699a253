"""Attacks by HTTP: forged tokens, tricks with paths, bodies that eat memory, addresses that the server should fetch."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt

from server.caller import Role
from server.embedded import demo
from server.embedded.issuer import AUDIENCE, ISSUER, Claims, Issuer
from tests.suites.wire_fuzzing import INJECTIONS, LEAK, deep_json, long_list
from tests.support.edge import Tokens

PROTECTED = ("GET", "/v1/orders")
PATHS = (
    "/health/../v1/orders", "/health/..%2fv1/orders", "/%2e%2e/v1/orders", "/v1/./orders", "//v1/orders", "/v1//orders",
    "/v1/orders%00", "/v1/orders;x=/health", "/v1/orders/", "/V1/ORDERS", "/v1%2forders", "/healthz/%2e%2e/v1/orders",
    "/assets/../../issuer/signing.pem", "/assets/..%2f..%2fissuer%2fsigning.pem", "/..%5c..%5cissuer%5csigning.pem",
    "/../environment.json", "/%2e%2e/environment.json", "/session.json/../../state_secret", "/stats", "/config_dump",
    "/server_info", "/quitquitquit", "/metrics", "/stats/prometheus", "/debug/pprof", "/.git/config", "/.env", "/docs",
    "/openapi.json", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/actuator/env",
)  # fmt: skip
SECRETS = ("PRIVATE KEY", "TRIA_STATE_SECRET", "XERO_CLIENT_SECRET", "TRIA_MASTER_KEYS", "[core]", "listeners")


class Web:
    """Somebody at the gateway with a browser's means, and what went wrong."""

    def __init__(self, url: str, issuer: Issuer, folder: Path) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=30)
        self._issuer = issuer
        self._folder = folder
        self.wrong: list[str] = []
        self.calls = 0

    async def close(self) -> None:
        await self._client.aclose()

    def token(self, subject: str, role: Role = Role.CUSTOMER) -> str:
        outlet = "pizza-pronto-bugis" if role is Role.CUSTOMER else ""
        return self._issuer.mint(Claims(role, demo.TENANT, subject, outlet, timedelta(hours=1)))

    async def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        """As written: the path is not tidied by the client."""
        self.calls += 1
        request = self._client.build_request(method, "/", **more)
        request.url = request.url.copy_with(raw_path=path.encode())
        answer = await self._client.send(request)
        said = LEAK.search(answer.text)
        if said and answer.status_code >= 400 and said[0].encode() not in request.content:
            self.wrong.append(f"{method} {path[:60]} says {said[0]!r}")
        if answer.status_code >= 500 and answer.status_code != 503:
            self.wrong.append(f"{method} {path[:60]} answered {answer.status_code}")
        return answer

    async def tokens(self) -> str:
        """No forged token opens a door; a good one does."""
        forged = Tokens(self._issuer, self._folder).bad() | self._forged()
        for name, token in forged.items():
            for method, path in (PROTECTED, ("POST", "/api/chatbot"), ("POST", "/v1/documents:import")):
                body = {} if method == "GET" else {"json": {"message": "hello"}}
                answer = await self.send(method, path, headers={"authorization": f"Bearer {token}"}, **body)
                if answer.status_code not in {400, 401, 431}:
                    self.wrong.append(f"token {name}: {method} {path} answered {answer.status_code}")
        twice = [("authorization", f"Bearer {self.token('twice')}"), ("authorization", "Bearer x.y.z")]
        if (await self.send(*PROTECTED, headers=twice)).status_code == 200:
            self.wrong.append("two authorization headers were taken")
        good = await self.send(*PROTECTED, headers={"authorization": f"Bearer {self.token('good')}"})
        if good.status_code != 200:
            self.wrong.append(f"a good token answered {good.status_code}")
        return f"{len(forged)} forged tokens at three doors"

    def _forged(self) -> dict[str, str]:
        """Headers that make a careless verifier fetch or read a key."""
        now = datetime.now(UTC)
        payload = {"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "tenant": demo.TENANT, "roles": ["ADMIN"],
                   "exp": now + timedelta(hours=1)}  # fmt: skip
        public = self._issuer.jwks_path.read_text()
        tricks: dict[str, Mapping[str, Any]] = {
            "kid of a file": {"kid": "../../../../dev/null"},
            "kid of SQL": {"kid": "x' union select 'key' --"},
            "kid of a URL": {"kid": "http://127.0.0.1:9/jwks.json"},
            "jku": {"jku": "http://127.0.0.1:9/jwks.json"},
            "x5u": {"x5u": "http://127.0.0.1:9/cert.pem"},
            "jwk": {"jwk": json.loads(public)["keys"][0]},
            "crit": {"crit": ["b64"], "b64": False},
        }
        made = {
            name: jwt.encode(payload, "k" * 64, algorithm="HS256", headers=dict(head)) for name, head in tricks.items()
        }
        head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
        body = base64.urlsafe_b64encode(json.dumps({**payload, "exp": 4e9}).encode()).rstrip(b"=").decode()
        signature = hmac.digest(public.encode(), f"{head}.{body}".encode(), hashlib.sha256)
        made |= {"alg NONE with dots": f"{head}.{body}.", "no dots": "a" * 500, "100 KB": "a" * 100_000}
        made["signed by the public key"] = f"{head}.{body}.{base64.urlsafe_b64encode(signature).decode()}"
        stolen = self.token("stolen").split(".")
        made["roles changed after signing"] = f"{stolen[0]}.{body}.{stolen[2]}"
        return made

    async def paths(self) -> str:
        """No spelling of a path opens what is closed, or a file."""
        for path in PATHS:
            for method in ("GET", "POST"):
                answer = await self.send(method, path)
                if any(secret in answer.text for secret in SECRETS):
                    self.wrong.append(f"{method} {path} shows a secret")
                page = answer.headers.get("content-type", "").startswith("text/html")
                if answer.status_code == 200 and not page and not answer.text.startswith('{"status"'):
                    self.wrong.append(f"{method} {path} answered 200: {answer.text[:80]}")
        return f"{len(PATHS)} paths without a credential"

    async def bodies(self) -> str:
        """Bodies that make a parser recurse or a loop stand still."""
        headers = {"authorization": f"Bearer {self.token('bodies')}", "content-type": "application/json"}
        kinds = {
            "deep JSON": ("/api/chatbot", deep_json()),
            "deep lists": ("/api/chatbot", b'{"message":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
            "100,000 empty lines": ("/v1/orders", long_list()),
            "huge number": ("/v1/orders", b'{"order":{"lines":[{"sku":"PB-12-K","quantity":"' + b"9" * 5000 + b'"}]}}'),
            "not finite": ("/v1/orders:quote", b'{"lines":[{"sku":"PB-12-K","quantity":"NaN"}]}'),
            "exponent": ("/v1/orders:quote", b'{"lines":[{"sku":"PB-12-K","quantity":"1e999999999"}]}'),
            "twice the same key": ("/api/chatbot", b'{"message":"a","message":"b","message":' + b'"c"' * 1 + b"}"),
            "32 KiB of dots": ("/api/chatbot", json.dumps({"message": "a.a." * 8000}).encode()),
            "compressed": ("/api/chatbot", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"),
        }
        for path, content in kinds.values():
            await self.send("POST", path, headers=headers, content=content)
        return ", ".join(kinds)

    async def injections(self) -> str:
        """Each attack in chat, query, header and path; what comes back is JSON that no page runs."""
        for number, text in enumerate(INJECTIONS.values()):
            headers = {"authorization": f"Bearer {self.token(f'injector-{number}')}"}
            chat = await self.send("POST", "/api/chatbot", headers=headers, json={"message": text})
            await self.send("GET", f"/v1/products:search?query={httpx.QueryParams({'q': text})}", headers=headers)
            clean = "".join(letter for letter in text if " " <= letter <= "~")
            await self.send("GET", "/v1/orders", headers={**headers, "x-request-id": clean, "user-agent": clean})
            kind = chat.headers.get("content-type", "")
            if not kind.startswith("application/json") or chat.headers.get("x-content-type-options") != "nosniff":
                self.wrong.append(f"{text[:20]!r} was answered as {kind}")
        return f"{len(INJECTIONS)} texts by four ways in"

    async def foreign_pages(self) -> str:
        """A page of somebody else may neither read answers nor ask ahead; there are no cookies to ride on."""
        for origin in ("https://evil.example", "null", "http://localhost.evil.example"):
            asked = {"origin": origin, "access-control-request-method": "POST"}
            ahead = await self.send("OPTIONS", "/api/chatbot", headers=asked)
            read = await self.send("GET", "/health", headers={"origin": origin})
            for answer in (ahead, read):
                if answer.headers.get("access-control-allow-origin") in {"*", origin}:
                    self.wrong.append(f"{origin} may read answers")
                if "set-cookie" in answer.headers:
                    self.wrong.append("a cookie was set")
        return "three origins"

    async def webhooks(self, key: str) -> str:
        """Forged ones are refused; a signed one cannot make the server fetch an address of the sender's choice."""
        met = asyncio.Event()

        async def meet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            met.set()
            writer.close()

        listener = await asyncio.start_server(meet, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/steal"
        event = dict.fromkeys(("resourceUrl", "resourceId", "tenantId", "tenantType"), url)
        event |= {"eventCategory": "INVOICE", "eventType": "UPDATE", "eventDateUtc": "2026-01-01T00:00:00"}
        body = json.dumps({"events": [event], "firstEventSequence": 1, "lastEventSequence": 1}).encode()
        signature = base64.b64encode(hmac.digest(key.encode(), body, hashlib.sha256)).decode()
        for name, shown in {"none": "", "garbage": "AAAA", "of another body": signature[::-1]}.items():
            answer = await self.send("POST", "/webhooks/xero", content=body, headers={"x-xero-signature": shown})
            if answer.status_code != 401:
                self.wrong.append(f"a webhook with signature {name} answered {answer.status_code}")
        signed = await self.send("POST", "/webhooks/xero", content=body, headers={"x-xero-signature": signature})
        if signed.status_code != 200:
            self.wrong.append(f"a signed webhook answered {signed.status_code}")
        with suppress(TimeoutError):
            await asyncio.wait_for(met.wait(), 6)
            self.wrong.append("the server fetched the address of a webhook")
        listener.close()
        return "three forged, one signed that names another server"
