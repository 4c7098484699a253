"""The signing keys by URL: read in the background, bounded, kept when the source fails, never followed elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from interceptors.jwks import JwksSettings, JwksStore, parse
from server.errors import AppError
from tests.support.calls import Keys
from tests.support.stores import eventually


class Source:
    """An HTTP server with a JWK set on it."""

    def __init__(self) -> None:
        self.answer: Callable[[], web.StreamResponse] = lambda: web.Response(status=500)
        self.asked = 0
        self.url = ""

    async def handle(self, _: web.Request) -> web.StreamResponse:
        self.asked += 1
        return self.answer()


@pytest_asyncio.fixture
async def source() -> AsyncIterator[Source]:
    made = Source()
    app = web.Application()
    app.router.add_get("/jwks.json", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks.json"
    yield made
    await runner.cleanup()


def _published(keys: Keys) -> Callable[[], web.StreamResponse]:
    return lambda: web.Response(body=keys.file.read_bytes(), content_type="application/json")


async def test_keys_are_read_and_refreshed(source: Source, keys: Keys) -> None:
    source.answer = _published(keys)
    async with JwksStore(source.url, JwksSettings(refresh=0.05)) as store:
        assert await store.key("k1") is not None
        keys.add("k2")

        async def read_again() -> bool:
            return await store.key("k2") is not None

        await eventually(read_again)


@pytest.mark.parametrize(
    "failure",
    [
        lambda: web.Response(status=503),
        lambda: web.Response(status=302, headers={"location": "http://127.0.0.1:1/"}),
        lambda: web.Response(text="not json"),
        lambda: web.Response(text='{"keys": []}'),
        lambda: web.Response(text='{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}]}'),
        lambda: web.Response(text="[1]"),
        lambda: web.Response(body=b" " * 300_000),
    ],
    ids=["503", "redirect", "not json", "no keys", "a shared secret", "not a set", "too large"],
)
async def test_a_failing_source_leaves_the_old_keys(source: Source, keys: Keys, failure: Any) -> None:
    source.answer = _published(keys)
    async with JwksStore(source.url, JwksSettings(min_interval=0.0)) as store:
        source.answer = failure
        assert await store.key("unheard-of") is None
        assert source.asked == 2
        assert await store.key("k1") is not None


async def test_unknown_ids_cannot_make_us_hammer_the_source(source: Source, keys: Keys) -> None:
    source.answer = _published(keys)
    async with JwksStore(source.url, JwksSettings(min_interval=60.0)) as store:
        await asyncio.gather(*(store.key(f"unheard-of-{number}") for number in range(100)))
        assert source.asked == 1


async def test_calls_that_meet_an_unknown_id_together_ask_once(source: Source, keys: Keys) -> None:
    source.answer = _published(keys)
    async with JwksStore(source.url, JwksSettings(min_interval=0.0)) as store:
        await asyncio.gather(*(store.key("unheard-of") for _ in range(50)))
        assert source.asked == 2


async def test_without_any_key_nobody_is_let_in(source: Source) -> None:
    async with JwksStore(source.url) as store:
        with pytest.raises(AppError) as refused:
            await store.key("k1")
        assert refused.value.code.name == "UNAVAILABLE"


def test_keys_that_must_not_verify_are_left_out(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "jwks.json")
    keys.add("good")
    [good] = json.loads(keys.file.read_bytes())["keys"]
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    entries = [
        good,
        {**good, "kid": "for encryption", "use": "enc"},
        {**good, "kid": "other algorithm", "alg": "ES512"},
        {**good, "kid": "private", "d": good["x"]},
        {**good, "kid": "broken", "x": "AA"},
        {**RSAAlgorithm.to_jwk(weak.public_key(), as_dict=True), "kid": "short"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared secret"},
    ]
    assert list(parse(json.dumps({"keys": entries}).encode())) == ["good"]
