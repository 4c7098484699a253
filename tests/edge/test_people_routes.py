"""People in conversations through the gateway: a real Envoy before the real desk."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio

from server.caller import Role
from server.embedded.envoy import EmbeddedEnvoy
from tests.edge.test_requests import error
from tests.edge.test_streams import frames
from tests.support.app import Desk
from tests.support.edge import edge_settings, until

PATIENCE = 20.0


@pytest_asyncio.fixture
async def http(desk: Desk, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway, signed in as nobody."""
    settings = edge_settings(tmp_path, desk.issuer, desk.application.servers.gateway_port)
    envoy = EmbeddedEnvoy(tmp_path / "envoy", settings, grace=1)
    await envoy.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.http_port}", timeout=PATIENCE) as client:

            async def serves() -> bool:
                headers = dict(desk.metadata(subject=f"looker-{uuid.uuid4().hex[:6]}"))
                return (await client.get("/v1/conversations", headers=headers)).status_code == 200

            await until(serves)
            yield client
    finally:
        await envoy.stop()


async def test_a_conversation_with_a_person(desk: Desk, http: httpx.AsyncClient) -> None:
    ann = dict(desk.metadata(subject=f"ann-{uuid.uuid4().hex[:6]}"))
    sam = dict(desk.metadata(Role.STAFF, subject=f"sam-{uuid.uuid4().hex[:6]}"))

    async def post(path: str, headers: dict[str, str], **body: Any) -> httpx.Response:
        return await http.post(f"/v1/{path}", json=body, headers=headers)

    name = (await post("conversations", ann)).json()["name"]
    async with http.stream("GET", f"/v1/{name}:watch", headers=ann) as watch:
        assert watch.headers["content-type"] == "text/event-stream"
        arriving = frames(watch)

        async def seen() -> dict[str, Any]:
            frame = await asyncio.wait_for(anext(arriving), PATIENCE)
            event: dict[str, Any] = json.loads(frame.removeprefix("data: "))
            return event

        assert "heartbeat" in await seen()
        asked = (await post(f"{name}:requestHuman", ann, requestId=str(uuid.uuid4()), note="an invoice")).json()
        assert asked["controller"] == "WAITING_FOR_STAFF"
        assert asked["handOff"]["reason"] == "ASKED"
        changed = (await seen())["controllerChanged"]
        assert changed == {
            "from": "ASSISTANT", "to": "WAITING_FOR_STAFF", "controllerEpoch": "2", "reason": "asked",
        }  # fmt: skip
        queue = (await http.get("/v1/conversations", params={"controller": "WAITING_FOR_STAFF"}, headers=sam)).json()
        assert name in [each["name"] for each in queue["conversations"]]

        body = {"controllerEpoch": "2", "requestId": str(uuid.uuid4())}
        assert (await post(f"{name}:takeOver", sam, **body)).json()["controllerEpoch"] == "3"
        error(
            await post(f"{name}:takeOver", sam, **body | {"requestId": str(uuid.uuid4())}),
            409,
            10,
            "CONTROLLER_CHANGED",
        )
        assert (await seen())["controllerChanged"]["to"] == "STAFF"
        body = {"controllerEpoch": "3", "text": "Sam here.", "requestId": str(uuid.uuid4())}
        said = (await post(f"{name}:sendStaffMessage", sam, **body)).json()
        event = await seen()
        assert event["message"] == said
    cursor = event["cursor"]
    error(await post(f"{name}:sendStaffMessage", ann, **body), 403, 7, "PERMISSION_MISSING")
    judged = await post(f"{said['name']}:feedback", ann, rating="HELPFUL", comment="quick")
    assert (judged.status_code, judged.json()) == (200, {})
    back = await post(f"{name}:handBack", sam, controllerEpoch="3", requestId=str(uuid.uuid4()))
    assert "handOff" not in back.json()
    async with http.stream("GET", f"/v1/{name}:watch", params={"cursor": cursor}, headers=ann) as watch:
        arriving = frames(watch)
        assert "heartbeat" in await seen()
        assert (await seen())["controllerChanged"]["reason"] == "returned"


async def test_what_is_wrong_is_a_status(desk: Desk, http: httpx.AsyncClient) -> None:
    ann = dict(desk.metadata(subject=f"ann-{uuid.uuid4().hex[:6]}"))
    eve = dict(desk.metadata(tenant="stranger", subject="eve"))
    name = (await http.post("/v1/conversations", json={}, headers=ann)).json()["name"]
    error(await http.get(f"/v1/{name}:watch", headers=eve), 404, 5, "RESOURCE_NOT_FOUND")
    error(await http.get(f"/v1/{name}:watch", params={"cursor": "x"}, headers=ann), 400, 3, "PAGE_TOKEN_INVALID")
    error(await http.post(f"/v1/{name}:requestHuman", json={"requestId": "x"}, headers=ann), 400, 3, "INVALID_FIELD")
    assert (await http.get(f"/v1/{name}:watch")).status_code == 401
