"""Ordering on the page: from words to a confirmed order whose state is followed live, by keyboard as by mouse."""

from __future__ import annotations

import os
import re
import uuid
from decimal import Decimal
from pathlib import Path

import httpx
from playwright.async_api import Page, expect

from tests.browser.test_page import ask, page
from tests.support.system import System, run

__all__ = ["page"]  # the fixture

ORDER = "Hi, 20 boxes of 12 inch and 5 packs of napkins for tomorrow please"


async def staff_token(live: System) -> str:
    process = await run("token", "--role", "STAFF", "--state-dir", str(live.state_dir))
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().strip()


async def test_an_order_is_proposed_confirmed_and_followed(page: Page, live: System, tmp_path: Path) -> None:
    await ask(page, ORDER)
    proposal = page.get_by_role("region", name=re.compile("^Order for delivery on "))
    await expect(proposal).to_be_visible()  # the first question of a system waits for what it reads
    rows = proposal.get_by_role("row")
    await expect(rows.nth(1)).to_contain_text(re.compile(r"Pizza box 12 inch plain kraft.*20 piece.*11\.60"))
    await expect(rows.nth(2)).to_contain_text(re.compile(r"Lunch napkin 33 cm 2 ply white.*5 pack.*15\.50"))
    await expect(rows.last).to_contain_text("42.62")
    await page.screenshot(path=shot(tmp_path, "proposal"))
    assert await page.get_by_role("region", name="Your orders").count() == 0

    await proposal.get_by_role("button", name="Confirm").focus()
    await page.keyboard.press("Enter")
    orders = page.get_by_role("region", name="Your orders")
    await expect(orders).to_contain_text(re.compile(r"Order SO-\S+ over .*42\.62 is confirmed\."))
    await expect(proposal.get_by_role("button", name="Confirm")).to_be_disabled()
    await page.screenshot(path=shot(tmp_path, "confirmed"))

    number = re.search(r"SO-\S+", await orders.inner_text())
    assert number
    async with httpx.AsyncClient(base_url=live.ready["http"], timeout=30) as client:
        headers = {"authorization": f"Bearer {await staff_token(live)}"}
        listed = (await client.get("/v1/orders", headers=headers)).raise_for_status().json()["orders"]
        [order] = [each for each in listed if each["number"] == number.group()]
        assert Decimal(order["total"]["units"]) + Decimal(order["total"]["nanos"]).scaleb(-9) == Decimal("42.62")
        for verb, told in (("accept", "is accepted"), ("fulfil", "is being prepared"), ("complete", "is completed")):
            (
                await client.post(f"/v1/{order['name']}:{verb}", json={"requestId": str(uuid.uuid4())}, headers=headers)
            ).raise_for_status()
            await expect(orders).to_contain_text(told)
    await page.screenshot(path=shot(tmp_path, "completed"))


async def test_the_order_status_fits_a_phone_and_is_announced(page: Page) -> None:
    await page.set_viewport_size({"width": 320, "height": 640})
    await ask(page, "30 packs of white napkins please")
    await page.get_by_role("button", name="Confirm").click()
    orders = page.get_by_role("region", name="Your orders")
    await expect(orders).to_contain_text("is confirmed")
    assert await orders.locator("[aria-live=polite]").count() == 1
    assert await page.evaluate("document.documentElement.scrollWidth <= 320")


async def test_a_declined_proposal_orders_nothing(page: Page) -> None:
    await ask(page, "25 packs of white napkins please")
    await page.get_by_role("button", name="Do not").click()
    await expect(page.get_by_role("log")).to_contain_text("Nothing was ordered.")
    assert await page.get_by_role("region", name="Your orders").count() == 0


def shot(folder: Path, name: str) -> Path:
    """Where a picture goes; TRIA_PICTURES keeps them for somebody to look at."""
    return Path(os.environ.get("TRIA_PICTURES", folder)) / f"order-{name}.png"
