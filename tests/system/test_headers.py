"""What the server tells in trailers reaches HTTP callers as headers."""

from __future__ import annotations

import uuid
from datetime import timedelta

import httpx

from server.caller import Role
from server.embedded import demo
from server.embedded.issuer import Claims, Issuer
from tests.support.app import OUTLET
from tests.support.system import System


def client(live: System) -> httpx.AsyncClient:
    """Somebody new: limits count per person."""
    claims = Claims(Role.CUSTOMER, demo.TENANT, f"someone-{uuid.uuid4().hex}", OUTLET, timedelta(hours=1))
    token = Issuer(live.state_dir / "issuer").mint(claims)
    return httpx.AsyncClient(base_url=live.ready["http"], headers={"authorization": f"Bearer {token}"}, timeout=30)


async def test_a_repeat_is_marked(live: System) -> None:
    draft = {"outlet": f"outlets/{OUTLET}", "lines": [{"sku": "NP-33-2", "quantity": "5"}]}
    query = {"requestId": str(uuid.uuid4())}
    async with client(live) as http:
        first, second = [await http.post("/v1/orders", params=query, json=draft) for _ in range(2)]
    assert (first.status_code, second.status_code) == (200, 200), first.text
    assert first.json() == second.json()
    assert "x-idempotent-replay" not in first.headers
    assert second.headers["x-idempotent-replay"] == "true"


async def test_a_caller_over_the_servers_limit_is_told_how_long_to_wait(live: System) -> None:
    async with client(live) as http:
        for _ in range(60):
            refused = await http.post("/v1/proposals/nothing:reject", json={"requestId": str(uuid.uuid4())})
            if refused.status_code == 429:
                break
    assert refused.status_code == 429
    body = refused.json()
    told = body["details"][0]
    assert (told["reason"], told["metadata"]["limit"]) == ("RATE_LIMITED", "60/min")
    assert int(refused.headers["retry-after"]) > 0
