"""A person asked for on the page, and what staff say seen on every tab, against the whole running system."""

from __future__ import annotations

import os
import re
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import httpx
from playwright.async_api import Page, expect

from server.caller import Role
from server.embedded import demo
from server.embedded.issuer import Claims, Issuer
from tests.browser.test_page import ask
from tests.browser.test_page import page as page  # noqa: PLC0414  # the fixture
from tests.support.stores import eventually
from tests.support.system import System


class Staff:
    """A member of staff, over JSON."""

    def __init__(self, live: System) -> None:
        claims = Claims(Role.STAFF, demo.TENANT, f"sam-{uuid.uuid4().hex[:6]}", "", timedelta(hours=1))
        token = Issuer(live.state_dir / "issuer").mint(claims)
        self._client = httpx.AsyncClient(
            base_url=live.ready["http"], timeout=30, headers={"authorization": f"Bearer {token}"}
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def call(self, conversation: str, verb: str, **body: Any) -> dict[str, Any]:
        answer = await self._client.post(f"/v1/{conversation}:{verb}", json={"requestId": str(uuid.uuid4()), **body})
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    async def get(self, conversation: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self._client.get(f"/v1/{conversation}")).json()
        return found


async def test_a_person_answers_on_every_tab(page: Page, live: System, tmp_path: Path) -> None:
    await ask(page, "When do you deliver?")
    log = page.get_by_role("log")
    await expect(page.get_by_text("The answer is complete.")).to_be_visible()
    assert page.context.browser is not None
    other = await page.context.browser.new_page()
    await other.goto(page.url)
    twin = other.get_by_role("log")
    await expect(twin).to_contain_text("When do you deliver?")
    await page.get_by_role("button", name="Ask for a person").click()
    for tab in (page, other):
        await expect(tab.locator("#speaker")).to_contain_text("A person has been asked for.")
        await expect(tab.locator("#speaker")).to_contain_text(re.compile("You are (the next|number)"))
        await expect(tab.get_by_role("button", name="Ask for a person")).to_be_disabled()
    await ask(page, "It is about my last invoice.")
    await expect(page.get_by_text("Your message was passed on.")).to_be_visible()
    await expect(twin).to_contain_text("It is about my last invoice.")

    conversation = page.url.partition("#")[2]
    async with Staff(live) as staff:
        seen = (await staff.get(conversation))["controllerEpoch"]
        epoch = (await staff.call(conversation, "takeOver", controllerEpoch=seen))["controllerEpoch"]
        await staff.call(
            conversation, "sendStaffMessage", controllerEpoch=epoch, text="Sam here. <b>Which</b> invoice?"
        )
        for tab in (page, other):
            await expect(tab.get_by_role("log")).to_contain_text("Sam here. <b>Which</b> invoice?")
            await expect(tab.locator("#speaker")).to_have_text("A member of staff answers here.")
        shot = Path(os.environ.get("TRIA_SCREENSHOT_PEOPLE", tmp_path / "people.png"))
        await page.screenshot(path=shot, full_page=True)
        await staff.call(conversation, "handBack", controllerEpoch=epoch)
    await expect(page.locator("#speaker")).to_be_hidden()
    await ask(other, "How much is the 12 inch pizza box?")

    said: list[str] = []

    async def alike() -> bool:
        """Both tabs show the same: either may be the first to have all of the answer."""
        nonlocal said
        said = await log.locator(".message .text").all_text_contents()
        return "SGD 0.58" in said[-1] and said == await twin.locator(".message .text").all_text_contents()

    await eventually(alike)
    assert len(said) == len(set(said)), "each once"


async def test_a_person_can_be_asked_for_first(page: Page) -> None:
    await page.get_by_role("button", name="Ask for a person").click()
    await expect(page.locator("#speaker")).to_contain_text("A person has been asked for.")
    await expect(page.get_by_role("log")).to_contain_text("The assistant is silent until then.")
    await page.set_viewport_size({"width": 320, "height": 640})
    assert await page.evaluate("document.documentElement.scrollWidth <= 320")
