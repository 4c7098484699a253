"""The trail through the gateway: a real Envoy before the real audit service."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio

from server.audit.proofs import verify_consistency, verify_inclusion
from server.audit.verifying import ExportVerifier
from server.caller import Role
from server.embedded.envoy import EmbeddedEnvoy
from tests.edge.test_requests import error
from tests.edge.test_streams import frames
from tests.support.edge import edge_settings, until
from tests.support.trail import KEY, Trail, trail_server


@dataclass(frozen=True, slots=True)
class Audited:
    """The service behind the gateway, and a client that is signed in as an auditor."""

    trail: Trail
    http: httpx.AsyncClient
    anonymous: httpx.AsyncClient

    async def get(self, path: str, **query: Any) -> dict[str, Any]:
        answer = await self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest_asyncio.fixture
async def audited(dsn: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Audited]:
    async with trail_server(tmp_path, dsn, redis_url) as trail:
        await trail.with_service()
        settings = edge_settings(tmp_path, trail.issuer, trail.port)
        envoy = EmbeddedEnvoy(tmp_path / "envoy", settings, grace=1)
        await envoy.start()
        url = f"http://127.0.0.1:{settings.http_port}"
        headers = dict(trail.who(subject="carla"))
        try:
            async with (
                httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as http,
                httpx.AsyncClient(base_url=url, timeout=20) as anonymous,
            ):

                async def serves() -> bool:
                    return (await http.get("/v1/audit/checkpoint")).status_code in {200, 404}

                await until(serves)
                yield Audited(trail, http, anonymous)
        finally:
            await envoy.stop()


async def test_events_over_json(audited: Audited) -> None:
    leaves = await audited.trail.add(5)
    found = await audited.get("/v1/audit/events", actor="ada-1", page_size=1, decision="ALLOWED")
    assert [event["eventId"] for event in found["events"]] == [leaves[4].event_id]
    more = await audited.get(
        "/v1/audit/events", actor="ada-1", page_size=1, decision="ALLOWED", page_token=found["nextPageToken"]
    )
    assert [event["eventId"] for event in more["events"]] == [leaves[1].event_id]
    event = await audited.get(f"/v1/audit/events/{leaves[1].event_id}")
    assert event["action"] == "ORDER_CREATE"
    assert event["details"] == {"n": 1}
    error(await audited.http.get(f"/v1/audit/events/{uuid.uuid4()}"), 404, 5, "RESOURCE_NOT_FOUND")
    error(await audited.http.get("/v1/audit/events", params={"colour": "red"}), 400, 3, "MALFORMED_MESSAGE")


async def test_proofs_over_json(audited: Audited) -> None:
    await audited.trail.add(20)
    await audited.trail.signed()
    checkpoint = await audited.get("/v1/audit/checkpoint")
    size, root = int(checkpoint["treeSize"]), base64.b64decode(checkpoint["rootHash"])
    proof = await audited.get("/v1/audit/proofs:inclusion", seq=3, tree_size=size)
    hashes = [base64.b64decode(text) for text in proof["hashes"]]
    verify_inclusion(base64.b64decode(proof["leafHash"]), 3, size, hashes, root)
    later = await audited.get("/v1/audit/proofs:consistency", first=size)
    assert int(later["second"]) >= size
    await audited.trail.add(5)
    newest = await audited.get("/v1/audit/checkpoint")
    path = (await audited.get("/v1/audit/proofs:consistency", first=size, second=newest["treeSize"]))["hashes"]
    verify_consistency(
        size,
        int(newest["treeSize"]),
        root,
        base64.b64decode(newest["rootHash"]),
        [base64.b64decode(text) for text in path],
    )
    error(await audited.http.get("/v1/audit/proofs:inclusion?seq=1000000"), 400, 11, "AUDIT_RANGE_INVALID")


async def test_an_export_over_http_is_a_file_that_proves_itself(audited: Audited) -> None:
    await audited.trail.add(700)
    answer = await audited.http.get("/v1/audit/events:export", params={"format": "NDJSON"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    verifier = ExportVerifier(keys=[audited.trail.config.audit.key.public])
    for line in answer.content.splitlines(keepends=True):
        verifier.feed(line)
    assert verifier.finish().header.last_seq >= 699
    table = await audited.http.get("/v1/audit/events:export", params={"format": "CSV", "last_seq": 9})
    assert table.headers["content-type"].startswith("text/csv")
    assert len(table.text.splitlines()) == 12
    error(await audited.http.get("/v1/audit/events:export?first_seq=900000"), 400, 11, "AUDIT_RANGE_INVALID")


async def test_a_tail_is_server_sent_events(audited: Audited) -> None:
    await audited.trail.add(2)
    async with audited.http.stream("GET", "/v1/audit/events:tail?after_seq=0") as response:
        assert response.headers["content-type"] == "text/event-stream"
        arriving = frames(response)
        first = json.loads((await asyncio.wait_for(anext(arriving), 10)).removeprefix("data: "))
        assert "heartbeatSeq" in first
        event = json.loads((await asyncio.wait_for(anext(arriving), 10)).removeprefix("data: "))
        assert event["event"]["seq"] == "1"


async def test_a_service_records_with_its_key(audited: Audited) -> None:
    body = {
        "event": {"action": "CONSENT_CHANGE", "decision": "ALLOWED", "targets": ["subjects/c1"]},
        "requestId": str(uuid.uuid4()),
    }
    answer = await audited.anonymous.post("/v1/audit/events", json=body, headers={"x-api-key": KEY})
    assert answer.status_code == 200, answer.text
    assert answer.json()["actor"]["id"] == "service:billing"
    again = await audited.anonymous.post("/v1/audit/events", json=body, headers={"x-api-key": KEY})
    assert again.json() == answer.json()
    error(await audited.http.post("/v1/audit/events", json=body), 403, 7, "PERMISSION_MISSING")
    error(await audited.anonymous.post("/v1/audit/events", json=body), 401, 16, "CREDENTIALS_MISSING")


async def test_the_trail_is_closed_to_others(audited: Audited) -> None:
    headers = dict(audited.trail.who(Role.CUSTOMER))
    for path in (
        "/v1/audit/events",
        f"/v1/audit/events/{uuid.uuid4()}",
        "/v1/audit/events:tail",
        "/v1/audit/events:export",
        "/v1/audit/checkpoint",
        "/v1/audit/proofs:inclusion",
        "/v1/audit/proofs:consistency",
    ):
        error(await audited.anonymous.get(path), 401, 16, "CREDENTIALS_MISSING")
        error(await audited.anonymous.get(path, headers=headers), 403, 7, "PERMISSION_MISSING")


async def test_people_are_given_out_and_erased_over_http(audited: Audited) -> None:
    headers = dict(audited.trail.who(Role.ADMIN, subject="root"))
    asked = {"subject": "ann@example.com", "requestId": str(uuid.uuid4())}
    given = await audited.anonymous.post("/v1/audit/subjects:export", json=asked, headers=headers)
    assert given.status_code == 200, given.text
    assert given.json()["data"]["messages"] == []
    asked = {"subject": "ann@example.com", "requestId": str(uuid.uuid4()), "reason": "asked by mail"}
    erased = await audited.anonymous.post("/v1/audit/subjects:erase", json=asked, headers=headers)
    assert erased.status_code == 200, erased.text
    assert erased.json()["signedNote"].startswith("tria erasure receipt v1\n")
    assert int(erased.json()["seq"]) >= 0
    for path in ("/v1/audit/subjects:export", "/v1/audit/subjects:erase"):
        error(await audited.http.post(path, json=asked), 403, 7, "PERMISSION_MISSING")
        error(await audited.anonymous.post(path, json=asked), 401, 16, "CREDENTIALS_MISSING")
