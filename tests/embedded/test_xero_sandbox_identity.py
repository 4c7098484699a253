"""The sandbox's tokens: who gets them, how long they serve, and how a connection ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import pytest_asyncio

from server.embedded.xero_sandbox.sandbox import Sandbox
from server.embedded.xero_sandbox.settings import TENANT_ID
from tests.support.xero import CLIENT, MovableClock, xero_client, xero_sandbox

BACK = "http://localhost:9999/callback?step=2"


@pytest_asyncio.fixture
async def web(xero_sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=xero_sandbox.url) as client:
        yield client


async def grant(web: httpx.AsyncClient, **form: str) -> httpx.Response:
    return await web.post("/connect/token", data=form, auth=CLIENT)


async def agree(web: httpx.AsyncClient, scope: str = "accounting.invoices offline_access") -> str:
    """The code that comes back after consent."""
    query = {"client_id": CLIENT[0], "response_type": "code", "redirect_uri": BACK, "scope": scope, "state": "s"}
    answer = await web.get("/identity/connect/authorize", params=query)
    assert answer.status_code == 302
    place = urlsplit(answer.headers["Location"])
    assert place.netloc == "localhost:9999"
    parts = parse_qs(place.query)
    assert (parts["state"], parts["step"]) == (["s"], ["2"])
    return parts["code"][0]


@pytest.mark.parametrize(
    ("auth", "form"),
    [
        ((CLIENT[0], "wrong"), {}),
        (("other", CLIENT[1]), {}),
        (None, {}),
        (None, {"client_id": CLIENT[0], "client_secret": ""}),
        (None, {"client_id": "", "client_secret": CLIENT[1]}),
    ],
)
async def test_clients_are_checked(web: httpx.AsyncClient, auth: tuple[str, str] | None, form: dict[str, str]) -> None:
    form = {"grant_type": "client_credentials", **form}
    answer = await web.post("/connect/token", data=form, **({"auth": auth} if auth else {}))  # type: ignore[arg-type]  # one keyword or none
    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})


async def test_a_broken_authorization_is_no_client(web: httpx.AsyncClient) -> None:
    headers = {"Authorization": "Basic !!!"}
    answer = await web.post("/connect/token", data={"grant_type": "client_credentials"}, headers=headers)
    assert answer.status_code == 401


async def test_client_credentials(web: httpx.AsyncClient) -> None:
    form = {"client_id": CLIENT[0], "client_secret": CLIENT[1], "scope": "accounting.invoices"}
    answer = await web.post("/connect/token", data={"grant_type": "client_credentials", **form})
    token = answer.json()
    assert (token["expires_in"], token["token_type"], token["scope"]) == (1_800, "Bearer", "accounting.invoices")
    assert "refresh_token" not in token
    assert answer.headers["Cache-Control"] == "no-store"


async def test_a_code_serves_once_and_for_its_address(web: httpx.AsyncClient) -> None:
    code = await agree(web)
    wrong = await grant(web, grant_type="authorization_code", code=code, redirect_uri="http://localhost/other")
    assert (wrong.status_code, wrong.json()) == (400, {"error": "invalid_grant"})
    first = await grant(web, grant_type="authorization_code", code=code, redirect_uri=BACK)
    assert first.json()["refresh_token"]
    again = await grant(web, grant_type="authorization_code", code=code, redirect_uri=BACK)
    assert again.json() == {"error": "invalid_grant"}


async def test_without_offline_access_there_is_no_refresh_token(web: httpx.AsyncClient) -> None:
    code = await agree(web, scope="accounting.invoices")
    token = await grant(web, grant_type="authorization_code", code=code, redirect_uri=BACK)
    assert "access_token" in token.json()
    assert "refresh_token" not in token.json()


async def test_refresh_tokens_rotate() -> None:
    clock = MovableClock()
    async with xero_sandbox(clock=clock) as sandbox, httpx.AsyncClient(base_url=sandbox.url) as web:
        await rotate(web, clock)


async def rotate(web: httpx.AsyncClient, clock: MovableClock) -> None:
    made = await grant(web, grant_type="authorization_code", code=await agree(web), redirect_uri=BACK)
    first = made.json()
    second = (await grant(web, grant_type="refresh_token", refresh_token=first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    lost = await grant(web, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert lost.status_code == 200, "a client that never got the answer may ask again, for half an hour"
    clock.now += 1_801
    old = await grant(web, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert (old.status_code, old.json()) == (400, {"error": "invalid_grant"})
    assert (await grant(web, grant_type="refresh_token", refresh_token=second["refresh_token"])).status_code == 200
    access = await grant(web, grant_type="refresh_token", refresh_token=lost.json()["access_token"])
    assert access.json() == {"error": "invalid_grant"}, "an access token refreshes nothing"


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "https://elsewhere.example/"},
        {"redirect_uri": "//elsewhere.example/"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": "http://["},
        {"redirect_uri": ""},
        {"client_id": "other"},
        {"response_type": "token"},
    ],
)
async def test_consent_goes_back_to_this_machine_only(web: httpx.AsyncClient, changes: dict[str, str]) -> None:
    query = {"client_id": CLIENT[0], "response_type": "code", "redirect_uri": BACK} | changes
    assert (await web.get("/identity/connect/authorize", params=query)).status_code == 400


async def test_all_tokens_may_end_at_once(xero_sandbox: Sandbox) -> None:
    async with xero_client(xero_sandbox) as client:
        xero_sandbox.identity.expire_tokens()
        assert (await client.get("Organisation")).status_code == 401


async def test_an_unknown_grant(web: httpx.AsyncClient) -> None:
    assert (await grant(web, grant_type="password")).json() == {"error": "unsupported_grant_type"}


async def test_a_connection_ends_and_comes_back(xero_sandbox: Sandbox) -> None:
    async with xero_client(xero_sandbox) as client:
        place = f"{xero_sandbox.url}/connections"
        (connection,) = (await client.get(place)).json()
        assert connection["tenantId"] == TENANT_ID
        assert (await client.delete(f"{place}/{TENANT_ID}")).status_code == 404
        assert (await client.delete(f"{place}/{connection['id']}")).status_code == 204
        assert (await client.get(place)).json() == []
        assert (await client.get("Organisation")).status_code == 403
        await client.post(f"{xero_sandbox.url}/sandbox/connect")
        assert (await client.get("Organisation")).status_code == 200
        assert (await client.get(place, headers={"Authorization": "Bearer wrong"})).status_code == 401
