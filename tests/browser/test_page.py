"""The page in a real browser (Debian's chromium), against the whole running system."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright, expect

from tests.support.system import System

QUESTION = "When do you deliver, and what does it cost on Sentosa?"
# Nothing may be fetched from outside, and root has no sandbox.
FLAGS = [
    "--disable-background-networking", "--disable-component-update", "--disable-gpu", "--disable-quic",
    "--disable-sync", "--no-first-run", *(["--no-sandbox"] if os.geteuid() == 0 else []),
]  # fmt: skip


@pytest_asyncio.fixture
async def page(live: System) -> AsyncIterator[Page]:
    """The page, opened; fails the test at the end when the browser complained about anything."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "the browser test needs chromium: apt-get install chromium"
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        opened = await browser.new_page(viewport={"width": 1100, "height": 900})
        opened.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        await opened.goto(live.ready["http"])
        yield opened
        await browser.close()
    assert not complaints


async def ask(page: Page, text: str) -> None:
    box = page.get_by_label("Your message")
    await box.fill(text)
    await box.press("Enter")


async def test_a_question_is_answered_with_its_source(page: Page) -> None:
    await ask(page, QUESTION)
    log = page.get_by_role("log")
    await expect(log).to_contain_text("SGD 18")
    await expect(log).to_contain_text("Wednesday and Saturday")
    await expect(log).to_contain_text("[1] Delivery")
    await expect(page.get_by_role("status")).to_have_text("The answer is complete.")
    await expect(page.get_by_label("Your message")).to_be_focused()


@pytest.mark.parametrize("text", ["圣淘沙什么时候送货？", "Bila penghantaran ke Sentosa?"])
async def test_other_languages(page: Page, text: str) -> None:
    await ask(page, text)
    await expect(page.get_by_role("log")).to_contain_text(re.compile("星期三|Rabu|Wednesday"))


async def test_markup_in_a_message_stays_text(page: Page) -> None:
    await ask(page, "<img src=x onerror=alert(1)> <b>bold</b>")
    log = page.get_by_role("log")
    await expect(log).to_contain_text("<img src=x onerror=alert(1)>")
    assert await log.locator("img, b, script").count() == 0


async def test_it_fits_a_phone_and_needs_no_mouse(page: Page) -> None:
    await page.set_viewport_size({"width": 320, "height": 640})
    assert await page.evaluate("document.documentElement.scrollWidth <= 320")
    box = page.get_by_label("Your message")
    await box.focus()
    await page.keyboard.type("hello")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("log")).to_contain_text("Hello!")


async def test_the_picture_in_the_readme_can_be_made(page: Page, tmp_path: Path) -> None:
    """`make screenshot` runs this with TRIA_SCREENSHOT set to where the picture belongs."""
    await ask(page, QUESTION)
    await expect(page.get_by_role("status")).to_have_text("The answer is complete.")
    await ask(page, "12寸披萨盒多少钱？")
    await expect(page.get_by_role("log")).to_contain_text("SGD 0.58")
    await expect(page.get_by_role("status")).to_have_text("The answer is complete.")
    target = Path(os.environ.get("TRIA_SCREENSHOT", tmp_path / "page.png"))
    await page.screenshot(path=target)
    assert len(target.read_bytes()) > 10_000  # noqa: ASYNC240  # a small local file
