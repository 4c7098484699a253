"""The page and its buttons: what was booked is shown as text, and only a person on this machine presses them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import httpx
import pytest
import pytest_asyncio

from server.embedded.xero_sandbox.sandbox import Sandbox
from tests.support.xero import book, xero_client

BROWSER = {"Accept": "text/html,application/xhtml+xml"}


@pytest_asyncio.fixture
async def browser(xero_sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=xero_sandbox.url, headers=BROWSER, follow_redirects=True) as client:
        yield client


class Tags(HTMLParser):
    """Which tags and attributes a browser would find."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}


async def booked(sandbox: Sandbox, *numbers: str, **changes: object) -> None:
    async with xero_client(sandbox) as client:
        await book(client, *numbers, **changes)


def status(sandbox: Sandbox) -> str:
    return str(sandbox.state()["invoices"][0]["status"])


async def test_an_empty_page_says_so(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/")
    assert "None yet" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "<script" not in answer.text


async def test_what_was_booked_is_listed(browser: httpx.AsyncClient, xero_sandbox: Sandbox) -> None:
    line = {"Description": "Box", "Quantity": 2_000, "UnitAmount": 1, "AccountCode": "200", "TaxType": "OUTPUT"}
    await booked(
        xero_sandbox, "A-1", Reference="order 7", Url="https://desk.example/orders/7?a=1&b=2", LineItems=[line]
    )
    text = (await browser.get("/")).text
    assert "2,180.00" in text
    assert '<a href="https://desk.example/orders/7?a=1&amp;b=2" rel="noreferrer">order 7</a>' in text
    assert 'aria-label="Mark paid A-1"' in text


async def test_a_person_pays_and_voids(browser: httpx.AsyncClient, xero_sandbox: Sandbox) -> None:
    await booked(xero_sandbox, "A/1 ü", "B-2")
    forms = re.findall(r'action="(/sandbox/(?:pay|void)/[^"]+)"', (await browser.get("/")).text)
    assert len(forms) == 4
    for action, number, said in (("pay", "A", "A/1 ü is paid"), ("void", "B-2", "B-2 is taken out")):
        answer = await browser.post(next(form for form in forms if form.startswith(f"/sandbox/{action}/{number}")))
        assert answer.url.path == "/"
        assert said in answer.text
    assert [one["status"] for one in xero_sandbox.state()["invoices"]] == ["PAID", "VOIDED"]
    for path, said in (
        ("/sandbox/void/B-2", "VOIDED"),
        ("/sandbox/pay/B-2", "VOIDED"),
        ("/sandbox/pay/C", "no invoice"),
    ):
        assert said in (await browser.post(path)).text


async def test_a_person_disconnects_and_connects(browser: httpx.AsyncClient, xero_sandbox: Sandbox) -> None:
    assert "Connect again" in (await browser.post("/sandbox/disconnect")).text
    assert not xero_sandbox.identity.connected
    assert "Disconnect" in (await browser.post("/sandbox/connect")).text


async def test_a_program_gets_json(xero_sandbox: Sandbox) -> None:
    await booked(xero_sandbox)
    async with httpx.AsyncClient(base_url=xero_sandbox.url) as client:
        assert (await client.post("/sandbox/pay/T-1")).json() == {"said": "T-1 is paid."}
        assert (await client.post("/sandbox/pay/T-1")).status_code == 409
        assert (await client.post("/sandbox/void/T-9")).status_code == 404


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onclick='x"])
async def test_what_was_booked_stays_text(browser: httpx.AsyncClient, xero_sandbox: Sandbox, text: str) -> None:
    line = {"Description": text, "Quantity": 1, "UnitAmount": 1, "AccountCode": "200", "TaxType": "OUTPUT"}
    await booked(xero_sandbox, f"N {text}", Reference=text, Contact={"Name": text}, Url=f"http://x.example/{text}")
    async with xero_client(xero_sandbox) as client:
        note = {"Type": "ACCRECCREDIT", "CreditNoteNumber": text, "Reference": text, "Contact": {"Name": text}}
        answer = await client.put("CreditNotes", json={"CreditNotes": [note | {"LineItems": [line]}]})
        assert answer.status_code == 200
    for path in ("/", f"/?told={text}"):
        page = (await browser.get(path)).text
        assert text not in page
        tags = Tags()
        tags.feed(page)
        assert not {"script", "img"} & tags.names
        assert not [name for name in tags.attributes if name.startswith("on")]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_posts_of_other_sites_are_refused(xero_sandbox: Sandbox, headers: dict[str, str]) -> None:
    await booked(xero_sandbox)
    async with httpx.AsyncClient(base_url=xero_sandbox.url, headers=headers) as client:
        for path in ("pay/T-1", "void/T-1", "faults", "webhooks", "disconnect"):
            assert (await client.post(f"/sandbox/{path}")).status_code == 403
    assert status(xero_sandbox) == "AUTHORISED"
    assert xero_sandbox.identity.connected


async def test_its_own_page_may_post(xero_sandbox: Sandbox) -> None:
    await booked(xero_sandbox)
    headers = {"Origin": xero_sandbox.url, "Sec-Fetch-Site": "same-origin"}
    async with httpx.AsyncClient(base_url=xero_sandbox.url, headers=headers) as client:
        assert (await client.post("/sandbox/pay/T-1")).status_code == 200
    assert status(xero_sandbox) == "PAID"


@pytest.mark.parametrize("host", ["elsewhere.example", "127.0.0.1.elsewhere.example:80", "[::", ""])
async def test_other_names_of_this_machine_are_refused(xero_sandbox: Sandbox, host: str) -> None:
    """A page of another site that makes its own name point at 127.0.0.1 must not read what was booked."""
    async with httpx.AsyncClient(base_url=xero_sandbox.url, headers={"Host": host}) as client:
        for path in ("/", "/sandbox/state", "/connections"):
            assert (await client.get(path)).status_code in {400, 421}
