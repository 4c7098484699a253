"""The browser's own EventSource, through the gateway: it resumes by itself, and stops at the end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from playwright.async_api import async_playwright

from tests.browser.test_page import FLAGS
from tests.support.replicas import Replicas, replicas
from tria.chat.v1 import chat_service_pb2 as chat

QUESTION = "When do you deliver, and what does it cost on Sentosa?"
NAMES = ["run_accepted", "step", "citation", "text_delta", "text_done", "usage", "completed", "reconnect"]
FOLLOW = """
([url, names]) => new Promise((resolve) => {
  const seen = [], source = new EventSource(url);
  let opened = 0;
  const report = () => resolve({ seen, opened, state: source.readyState });
  source.onopen = () => { opened += 1; };
  for (const name of names) source.addEventListener(name, (event) => {
    seen.push([name, event.lastEventId]);
    if (name === "completed") setTimeout(report, 4000);
  });
  setTimeout(report, 40000);
})
"""


async def follow(over: Replicas, path: str) -> dict[str, Any]:
    """What an EventSource in a page of the gateway saw of `path`."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "the browser test needs chromium: apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = await browser.new_page()
        await page.goto(over.all[0].url)
        found: dict[str, Any] = await page.evaluate(FOLLOW, [path, NAMES])
        await browser.close()
    return found


async def test_event_source_resumes_and_stops(tmp_path: Path, filled_dsn: str, redis_url: str, chroma_url: str) -> None:
    urls = {"TRIA_DATABASE_URL": filled_dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": chroma_url}
    # A run that waits for messages to merge is silent for longer than a stream may last.
    settings = {"TRIA_STREAM_MAX_AGE": "1", "TRIA_MERGE_WINDOW": "8", "TRIA_STREAM_HEARTBEAT": "0.5"}
    async with replicas(tmp_path, urls, settings, count=1) as over:
        [replica], token = over.all, over.token()
        stub, who = over.stub(replica), (("authorization", f"Bearer {token}"),)
        made = await stub.CreateConversation(chat.CreateConversationRequest(), metadata=who)
        request = chat.SendMessageRequest(conversation=made.name, text=QUESTION, on_busy=chat.MERGE)
        call = stub.SendMessage(request, metadata=who)
        run = str((await anext(aiter(call))).run)
        found = await follow(over, f"/v1/{run}:sse?ticket={await over.ticket(replica, run, token)}")
        events = [event async for event in over.by_grpc(replica, run, 0, token)]
    told = [[event.WhichOneof("event"), str(event.seq)] for event in events]
    assert [each for each in found["seen"] if each[0] != "reconnect"] == told, (
        "each once, in order, over all connections"
    )
    reconnects = sum(each[0] == "reconnect" for each in found["seen"])
    assert reconnects >= 2
    assert found["opened"] == reconnects + 1, "after the end it did not come again"
    assert found["state"] == 0, "it waits, for weeks"
