"""ExportEvents: whole, proven, resumable, in three formats, and honest about where it stopped."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from grpc.aio import AioRpcError

from server.audit.actions import Action
from server.audit.export_csv import COLUMNS
from server.audit.export_plan import Plan
from server.audit.exporting import FormatName, format_of
from server.audit.leaf import encode
from server.audit.verifying import ExportVerifier, Proven, Rejected
from server.caller import Role
from tests.support.calls import refusal
from tests.support.reading import reason
from tests.support.stores import eventually
from tests.support.trail import Trail, trail_server
from tria.audit.v1 import audit_service_pb2 as rpc

NDJSON, OCSF, CSV = rpc.ExportEventsRequest.NDJSON, rpc.ExportEventsRequest.OCSF, rpc.ExportEventsRequest.CSV


async def exported(trail: Trail, **request: Any) -> bytes:
    """The whole body; a type is said once at least and never another."""
    who = trail.who(tenant=request.pop("tenant", "acme"))
    bodies = [body async for body in trail.stub.ExportEvents(rpc.ExportEventsRequest(**request), metadata=who)]
    assert len({body.content_type for body in bodies}) == 1
    assert all(body.data.endswith(b"\n") and len(body.data) < 1024 * 1024 for body in bodies)
    return b"".join(body.data for body in bodies)


def verified(trail: Trail, content: bytes) -> Proven:
    verifier = ExportVerifier(keys=[trail.config.audit.key.public])
    for line in content.splitlines(keepends=True):
        verifier.feed(line)
    return verifier.finish()


async def refused(trail: Trail, metadata: Any = None, **request: Any) -> AioRpcError:
    call = trail.stub.ExportEvents(rpc.ExportEventsRequest(**request), metadata=metadata or trail.who())
    with pytest.raises(AioRpcError) as caught:
        await call.read()
    return caught.value


async def test_an_export_proves_itself(trail: Trail) -> None:
    leaves = await trail.add(600)
    content = await exported(trail)
    proven = verified(trail, content)
    assert (proven.first_seq, proven.header.last_seq, proven.header.tree_size) == (0, 599, 600)
    records = [json.loads(line) for line in content.splitlines()]
    assert [record["event_id"] for record in records if record["type"] == "leaf"] == [x.event_id for x in leaves]
    assert [record["type"] for record in records[:2]] == ["header", "checkpoint"]
    assert records[-1] == {
        "type": "end",
        "first_seq": 0,
        "last_seq": 599,
        "count": 600,
        "tree_size": 600,
        "root_hash": records[-1]["root_hash"],
    }


@pytest.mark.parametrize(("first", "last"), [(0, 1), (17, 17), (255, 256), (300, 599), (256, 511)])
async def test_a_part_of_the_log_proves_itself(trail: Trail, first: int, last: int) -> None:
    await trail.add(600)
    proven = verified(trail, await exported(trail, first_seq=first, last_seq=last))
    assert (proven.first_seq, proven.header.last_seq, proven.header.tree_size) == (first, last, 600)


async def test_what_somebody_changes_in_the_database_shows(trail: Trail) -> None:
    """With all rights and the triggers off: the export says which record, whatever was changed beside it."""
    leaves = await trail.add(300)
    forged = encode(leaves[123]).replace(b'"n":123', b'"n":999')
    await trail.run("alter table audit_event disable trigger all")
    await _meddle(trail, "set leaf = $2, leaf_hash = sha256('\\x00'::bytea || $2::bytea)", 123, forged)
    with pytest.raises(Rejected) as caught:
        verified(trail, await exported(trail))
    assert caught.value.seq == 0  # the block of 256 that it is in
    with pytest.raises(Rejected) as caught:
        verified(trail, await exported(trail, first_seq=123, last_seq=123))
    assert caught.value.seq == 123


async def test_what_somebody_deletes_in_the_database_shows(trail: Trail) -> None:
    await trail.add(300)
    for partition in await _partitions(trail):
        await trail.run(f"alter table {partition} disable trigger all")
        await trail.run(f"delete from {partition} where seq = 123")
    with pytest.raises(Rejected) as caught:
        verified(trail, await exported(trail))
    assert caught.value.seq == 123


async def _partitions(trail: Trail) -> list[str]:
    found: list[str] = await trail.value(
        "select array_agg(inhrelid::regclass::text) from pg_inherits where inhparent = 'audit_event'::regclass"
    )
    return found


async def _meddle(trail: Trail, change: str, seq: int, value: bytes) -> None:
    for partition in await _partitions(trail):
        await trail.run(f"alter table {partition} disable trigger all")
        await trail.run(f"update {partition} {change} where seq = $1", seq, value)


async def test_ocsf_events_keep_their_place_in_the_chain(trail: Trail) -> None:
    await trail.add(3)
    await trail.add(1, action=Action.AUTHENTICATION_FAIL, targets=())
    await trail.add(1, action=Action.INJECTION_SUSPECT)
    lines = [json.loads(line) for line in (await exported(trail, format=OCSF)).splitlines()]
    *events, end = lines
    for seq, event in enumerate(events):
        check_cloud_event(event)
        check_ocsf(event["data"])
        assert event["data"]["unmapped"]["seq"] == seq
        assert event["data"]["metadata"]["uid"] == event["id"]
        assert event["data"]["unmapped"]["checkpoint"]["tree_size"] == len(events)
    assert [event["data"]["type_uid"] for event in events] == [600302, 600301, 600302, 300201, 200401]
    check_cloud_event(end)
    assert end["type"] == "tria.audit.export.end.v1"
    assert (end["data"]["first_seq"], end["data"]["last_seq"], end["data"]["count"]) == (0, 4, 5)


def check_cloud_event(event: dict[str, Any]) -> None:
    """CloudEvents 1.0: the required attributes, and names and types of the others."""
    assert event["specversion"] == "1.0"
    for name in ("id", "source", "type"):
        assert isinstance(event[name], str)
        assert event[name]
    assert event["time"].endswith("Z")
    assert event["datacontenttype"] == "application/json"
    assert all(name.isalnum() and name == name.lower() for name in event)


def check_ocsf(record: dict[str, Any]) -> None:
    """OCSF 1.6: what every class requires, the identity of type_uid, and what each class requires beside it."""
    assert record["type_uid"] == record["class_uid"] * 100 + record["activity_id"]
    assert record["category_uid"] == record["class_uid"] // 1000
    assert record["severity_id"] in {0, 1, 2, 3, 4, 5, 6, 99}
    assert record["status_id"] in {1, 2}
    assert record["time"] > 1_600_000_000_000
    assert record["metadata"]["version"] == "1.6.0"
    assert record["metadata"]["product"]["vendor_name"]
    required: dict[int, set[str]] = {
        6003: {"actor", "api", "src_endpoint"},
        3002: {"user", "service"},
        3004: {"entity"},
        2004: {"finding_info"},
    }
    assert required[record["class_uid"]] <= set(record)
    assert {"seq", "leaf_hash", "checkpoint"} <= set(record["unmapped"])


async def test_csv_holds_no_formulas(trail: Trail) -> None:
    hostile = '=HYPERLINK("http://x")'
    await trail.add(2, request_id=hostile, targets=("@orders/1", "-2"), rpc="＝1+1", status="+cmd|' /C calc'!A0")
    rows = list(csv.DictReader(io.StringIO((await exported(trail, format=CSV)).decode())))
    assert tuple(rows[0]) == COLUMNS
    assert [row["record"] for row in rows] == ["event", "event", "end"]
    first = rows[0]
    assert first["request_id"] == f"'{hostile}"
    assert first["targets"] == "'@orders/1;-2"
    assert first["rpc"] == "'＝1+1"
    assert all(not cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    assert json.loads(rows[-1]["details"])["count"] == 2


async def test_the_range_must_be_there(trail: Trail) -> None:
    await trail.add(10)
    size = await trail.signed()
    for request in ({"first_seq": size + 500}, {"last_seq": size + 500}, {"first_seq": 5, "last_seq": 4}):
        error = await refused(trail, **request)
        assert reason(error) == "AUDIT_RANGE_INVALID"
        assert refusal(error).info.metadata["first"] == "0"
        assert int(refusal(error).info.metadata["last"]) >= size - 1
    assert reason(await refused(trail, trail.who(tenant="globex"))) == "AUDIT_RANGE_INVALID"
    assert reason(await refused(trail, first_seq=-1)) == "INVALID_FIELD"
    assert reason(await refused(trail, format=99)) == "INVALID_FIELD"
    assert reason(await refused(trail, trail.who(Role.CUSTOMER))) == "PERMISSION_MISSING"


async def test_an_export_that_was_cut_is_continued_by_another(trail: Trail) -> None:
    """The reader keeps what came, asks for the rest, and has one export that is proven as a whole."""
    await trail.add(2000)
    call: Any = trail.stub.ExportEvents(rpc.ExportEventsRequest(last_seq=1999), metadata=trail.who())
    content = b""
    while b'"seq":700,' not in content:
        content += (await call.read()).data
    call.cancel()
    whole, _, _torn = content.rpartition(b"\n")
    last = json.loads(whole.splitlines()[-1])["seq"]
    assert 700 <= last < 1999
    await trail.add(30)
    content = whole + b"\n" + await exported(trail, first_seq=last + 1, last_seq=1999)
    proven = verified(trail, content)
    assert (proven.first_seq, proven.header.last_seq, proven.parts) == (0, 1999, 2)


async def test_an_export_says_where_the_store_went_away(trail: Trail) -> None:
    """Never by a status: the last record tells where to go on."""
    await trail.add(1200)
    pieces = _pieces(trail, FormatName.NDJSON)
    content = b""
    async for piece in pieces:
        content += piece
        if b'"seq":499,' in content:
            await trail.database.close()
    cut = json.loads(content.splitlines()[-1])
    assert cut == {"type": "cut", "next_seq": 500, "reason": "STORE_UNAVAILABLE"}
    with pytest.raises(Rejected) as caught:
        verified(trail, content)
    assert caught.value.seq == 500


@pytest.mark.parametrize("name", list(FormatName))
async def test_a_stopping_server_says_where_to_go_on(trail: Trail, name: FormatName) -> None:
    await trail.add(600)
    content = b""
    async for piece in _pieces(trail, name):
        content += piece
        if content.count(b"\n") > 400:
            trail.desk.drain()
    *given, last = content.splitlines()
    ahead = {FormatName.NDJSON: 3, FormatName.OCSF: 0, FormatName.CSV: 1}[name]
    assert "COME_BACK" in last.decode()
    assert str(len(given) - ahead) in last.decode()
    assert 400 < len(given) < 600


async def _pieces(trail: Trail, name: FormatName) -> AsyncIterator[bytes]:
    plan: Plan = await trail.desk.exporting.plan("acme", 0, None)
    async for piece in trail.desk.exporting.export(plan, format_of(name, plan)):
        yield piece


async def test_an_old_export_ends_by_its_age(dsn: str, redis_url: str, tmp_path: Any) -> None:
    async with trail_server(tmp_path, dsn, redis_url, max_age=0.0) as quick:
        await quick.add(5)
        content = await exported(quick)
    assert json.loads(content.splitlines()[-1]) == {"type": "cut", "next_seq": 0, "reason": "COME_BACK"}


async def test_a_reader_that_leaves_ends_the_export(trail: Trail) -> None:
    await trail.add(1500, details={"text": "x" * 2000})
    who = trail.who(subject="carla")
    call = trail.stub.ExportEvents(rpc.ExportEventsRequest(), metadata=who)
    await call.read()
    call.cancel()

    async def told() -> bool:
        return bool(await trail.value(_STATUS_OF_CARLA) == "CANCELLED")

    await eventually(told)


async def test_what_cannot_be_recorded_is_not_given(trail: Trail) -> None:
    await trail.add(3)
    await trail.run("alter table audit_pending rename to audit_hidden")
    error = await refused(trail)
    await trail.run("alter table audit_hidden rename to audit_pending")
    assert error.code().name in {"UNAVAILABLE", "INTERNAL"}


async def test_what_retention_dropped_is_not_there_and_the_rest_is_proven(trail: Trail) -> None:
    await trail.add(400)
    await trail.run(_RETIRE)
    error = await refused(trail)
    assert (reason(error), refusal(error).info.metadata["first"]) == ("AUDIT_RANGE_INVALID", "300")
    proven = verified(trail, await exported(trail, first_seq=300, last_seq=399))
    assert (proven.first_seq, proven.header.last_seq) == (300, 399)


_STATUS_OF_CARLA = """
    select convert_from(leaf, 'utf8')::jsonb ->> 'status' from audit_event where actor = 'carla' and kind = 'ACCESS'
"""

# As audit_retire would, were the events of a month that has ended.
_RETIRE = "insert into audit_retired (tenant, first, last, partition) values ('acme', 0, 299, 'audit_event_2020_01')"


async def test_a_new_key_signs_and_the_old_one_still_proves(dsn: str, redis_url: str, tmp_path: Any) -> None:
    async with trail_server(tmp_path / "a", dsn, redis_url) as before:
        await before.add(5)
        old = before.config.audit.key.public
    overrides = {
        "TRIA_AUDIT_KEY": "newer=" + "bmV3ZXIgc2VlZCBvZiAzMiBieXRlcywgaW52ZW50ZWQ=",
        "TRIA_AUDIT_KEYS_OLD": str(old),
    }
    async with trail_server(tmp_path / "b", dsn, redis_url, overrides=overrides) as after:
        new = after.config.audit.key.public

        async def countersigned() -> bool:
            return bool(await after.value("select count(*) from audit_checkpoint where key_id = $1", new.id))

        await eventually(countersigned)
        content = await exported(after, last_seq=3)
    for keys in ([old], [new], [old, new]):
        verifier = ExportVerifier(keys=keys)
        for line in content.splitlines(keepends=True):
            verifier.feed(line)
        signers: Sequence[Any] = verifier.finish().signers
        assert set(signers) == {old, new} or set(signers) == {new}
