"""The issuer's public keys: a file or a URL, kept fresh in the background, kept at all when the source is away."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
import jwt
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from server.errors import AppError, Code, Reason
from server.owned_tasks import end

log = logging.getLogger(__name__)

_MAX_BYTES = 256 * 1024
_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class Key:
    """A public key and the one algorithm that it verifies: the key decides, never the token's header."""

    key: Any
    algorithm: str


@dataclass(frozen=True, slots=True)
class JwksSettings:
    """Seconds. `min_interval` bounds how often unknown key ids may make us ask the source."""

    refresh: float = 300.0
    min_interval: float = 10.0
    timeout: float = 5.0


class JwksStore:
    """Keys by id. Use as `async with` or with `start()` and `close()`; starts without its source too."""

    def __init__(self, source: str, settings: JwksSettings | None = None) -> None:
        self._source = source
        self._settings = settings or JwksSettings()
        self._keys: dict[str, Key] = {}
        self._attempted = float("-inf")
        self._finished = 0
        self._refreshing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Tries to load the keys once, then goes on in the background."""
        if self._source.startswith(("http://", "https://")):
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._settings.timeout))
        await self._refresh()
        self._task = asyncio.create_task(self._keep_fresh(), name="jwks-refresh")

    async def close(self) -> None:
        """Ends the background refresh."""
        if self._task is not None:
            await end({self._task})
            self._task = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def key(self, kid: str | None) -> Key | None:
        """The key of this id, or the only key for a token that names none; None when there is no such key.

        An unknown id asks the source again, at most every `min_interval`: that is how a rotation is noticed at once.
        Raises AppError UNAVAILABLE while no key was ever loaded.
        """
        found = self._find(kid)
        if found is None and asyncio.get_running_loop().time() - self._attempted >= self._settings.min_interval:
            await self._refresh()
            found = self._find(kid)
        if found is None and not self._keys:
            raise AppError(
                Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE, "the signing keys are not available", retry_after=1.0
            )
        return found

    def _find(self, kid: str | None) -> Key | None:
        if kid is not None:
            return self._keys.get(kid)
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    async def _keep_fresh(self) -> None:
        """Root of the refresh task."""
        while True:
            await asyncio.sleep(self._settings.refresh if self._keys else self._settings.min_interval)
            await self._refresh()

    async def _refresh(self) -> None:
        seen = self._finished
        async with self._refreshing:
            if self._finished != seen:  # somebody else has asked while we waited
                return
            self._attempted = asyncio.get_running_loop().time()
            try:
                keys = parse(await self._read())
            except (OSError, aiohttp.ClientError, TimeoutError, ValueError) as problem:
                log.warning("the signing keys could not be read, the old ones stay: %s", type(problem).__name__)
            else:
                self._keys = keys
            finally:
                self._finished += 1

    async def _read(self) -> bytes:
        if self._session is None:
            return await asyncio.to_thread(Path(self._source.removeprefix("file://")).read_bytes)
        async with self._session.get(self._source, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(65536):
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise ValueError("too large")
            return bytes(body)


def parse(document: bytes) -> dict[str, Key]:
    """The usable keys of a JWK set (RFC 7517); ValueError when there is none."""
    try:
        entries = json.loads(document)["keys"]
        keys = {str(entry.get("kid", "")): key for entry in entries if (key := _key(entry))}
    except (KeyError, TypeError, AttributeError) as cause:
        raise ValueError("not a JWK set") from cause
    if not keys:
        raise ValueError("no usable key")
    return keys


def _key(entry: dict[str, Any]) -> Key | None:
    """The key of one entry; None for what is not a public signature key of an algorithm that we accept."""
    accepted = _accepted(entry)
    if accepted is None or "d" in entry:
        return None
    algorithm, reader = accepted
    if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
        return None
    try:
        key = reader.from_jwk(entry)
    except (jwt.InvalidKeyError, ValueError):
        return None
    if algorithm == "RS256" and key.key_size < _RSA_BITS:
        return None
    return Key(key, algorithm)


def _accepted(entry: dict[str, Any]) -> tuple[str, Any] | None:
    match entry.get("kty"), entry.get("crv"):
        case "EC", "P-256":
            return "ES256", ECAlgorithm
        case "OKP", "Ed25519":
            return "EdDSA", OKPAlgorithm
        case "RSA", _:
            return "RS256", RSAAlgorithm
        case _:
            return None
