"""What is too old goes, and only that; what is on hold stays; every removal leaves its leaf."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server import retention_policy
from server.audit.changes import operator
from server.audit.leaf import decode
from server.db.pool import Database
from server.people_wiring import open_vault, subjects
from server.retention import Retention
from server.retention_policy import Kind, RetentionDays, cutoffs
from tests.support.people import TENANT, Office, Person

DAYS = RetentionDays(conversations=90, order_events=400, learnt_words=400, audit=2557)
DATA_MAP = Path(retention_policy.__file__).parent / "audit" / "DATA.md"


def later(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


async def counts(office: Office) -> dict[str, int]:
    tables = ("conversation", "message", "run", "proposal", "outlet_alias", "order_event", "idempotency")
    return {table: await office.value(f"select count(*) from {table}") for table in tables}


async def test_what_is_young_stays(office: Office, person: Person) -> None:
    before = await counts(office)
    retention = Retention(office.database, DAYS)
    assert set((await retention.run(later(6))).values()) == {0}
    assert await counts(office) == before
    assert person.word("text") in str(await office.export(person.subject))


async def test_each_kind_goes_in_its_time(office: Office, person: Person) -> None:
    retention = Retention(office.database, DAYS, batch=1)
    before = await counts(office)
    assert (await retention.run(later(8)))["kept_answers"] == before["idempotency"] > 4
    removed = await retention.run(later(92))
    assert removed["conversations"] == before["conversation"] == 2
    assert removed["proposals"] == before["proposal"] == 2
    after = await counts(office)
    assert (after["conversation"], after["message"], after["run"], after["proposal"]) == (0, 0, 0, 0)
    assert (after["outlet_alias"], after["order_event"]) == (before["outlet_alias"], before["order_event"])
    removed = await retention.run(later(402))
    assert (removed["learnt_words"], removed["order_events"]) == (1, before["order_event"])
    assert await office.value("select count(*) from customer_order") == 2, "orders are kept"
    assert person.word("note") not in str(await office.export(person.subject))


async def test_an_answer_does_not_name_a_proposal_that_is_gone(office: Office, person: Person) -> None:
    assert person.conversation
    named = "select count(*) from message where proposal is not null"
    assert await office.value(named) == 1
    async with office.database.connection() as connection:
        await connection.execute("update conversation set update_time = now() + interval '60 days'")
    removed = await Retention(office.database, DAYS).run(later(92))
    assert (removed["conversations"], removed["proposals"]) == (0, 2)
    assert await office.value(named) == 0


async def test_a_dry_run_says_what_a_run_removes(office: Office, person: Person) -> None:
    assert person.conversation
    retention = Retention(office.database, DAYS)
    when = later(402)
    said = await retention.old(when)
    before = await counts(office)
    assert await retention.old(when) == said
    assert await counts(office) == before
    assert await retention.run(when) == said
    assert set((await retention.old(when)).values()) == {0}


async def test_every_removal_has_its_leaf_and_the_night_its_report(office: Office, person: Person) -> None:
    assert person.conversation
    when = later(92)
    removed = await Retention(office.database, DAYS).run(when)
    assert json.loads(await office.value("select removed from retention_run")) == removed
    found = [details for details in await _leaves(office) if details["kind"] == "conversations"]
    assert found == [{"kind": "conversations", "older_than": (when - timedelta(days=90)).isoformat(), "removed": 2}]


async def test_what_is_on_hold_stays_until_it_is_released(office: Office, person: Person) -> None:
    other = Person(office)
    await other.live()
    guest = Person(office)
    await guest.say("I was here", other.conversation)
    people = subjects(office.database, open_vault(office.config.auth), office.config.audit.key)
    await people.hold(operator(TENANT), guest.subject, "case 12/26")
    await people.hold(operator(TENANT), person.subject, "case 13/26")
    retention = Retention(office.database, DAYS)
    said = await retention.old(later(402))
    removed = await retention.run(later(402))
    assert removed == said
    assert removed["conversations"] == 1, "the other one's own session; the guest's conversation stays"
    assert (removed["proposals"], removed["learnt_words"]) == (2, 1)
    assert person.word("text") in str(await office.export(person.subject))
    assert "I was here" in str(await office.export(guest.subject))
    for held in (guest, person):
        await people.release(operator(TENANT), held.subject)
    assert (await retention.run(later(402)))["conversations"] == 3


async def test_months_of_the_log_go_when_a_checkpoint_covers_them_and_nobody_is_on_hold(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    retention = Retention(database, DAYS)
    now = datetime.now(UTC)
    async with database.connection() as connection:
        month = now - timedelta(days=8 * 366)
        await connection.execute("select audit_partition($1)", month)
        await connection.execute(
            "insert into audit_event (tenant, seq, recorded_at, event_id, occurred_at, leaf, leaf_hash, kind, action, "
            "actor, resource, others, decision, request_id) "
            "values ('old', 0, $1, $2, $1, '', sha256(''), 'ACCESS', 'DATA_READ', '', '', '{}', 'ALLOWED', '')",
            month,
            uuid.uuid4(),
        )
    assert (await retention.old(now))["audit_log"] == 1
    assert (await retention.run(now))["audit_log"] == 0
    assert "no checkpoint covers" in caplog.text
    async with database.connection() as connection:
        await connection.execute(
            "insert into audit_checkpoint (tenant, size, key_id, root, note) values ('old', 1, 'k', sha256(''), '')"
        )
        await connection.execute(
            "insert into legal_hold (tenant, person, reason_box, placed_by) values ('any', 'p1_x', '', 'o')"
        )
    assert (await retention.run(now))["audit_log"] == 0
    async with database.connection() as connection:
        await connection.execute("delete from legal_hold")
    assert (await retention.run(now))["audit_log"] == 1
    assert (await retention.run(now))["audit_log"] == 0


def test_the_data_map_names_every_kind_and_its_time() -> None:
    kinds = {value.name for value in vars(retention_policy).values() if isinstance(value, Kind)}
    assert set(cutoffs(DAYS, datetime.now(UTC))) == kinds
    text = DATA_MAP.read_text(encoding="utf-8")
    assert [name for name in kinds if f"`{name}`" not in text] == []
    settings = [f"TRIA_RETENTION_{field.name.upper()}" for field in fields(RetentionDays)]
    assert [name for name in settings if name not in text] == []


async def test_the_data_map_names_every_table(database: Database) -> None:
    async with database.connection() as connection:
        tables = await connection.fetch(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') "
            "and not relispartition"
        )
    text = DATA_MAP.read_text(encoding="utf-8")
    unnamed = [row["relname"] for row in tables if not re.search(rf"`{row['relname']}[`.]", text)]
    assert not unnamed, "say in server/audit/DATA.md what these hold about people"


async def _leaves(office: Office) -> list[Mapping[str, Any]]:
    async with office.database.connection() as connection:
        rows = await connection.fetch(
            "select leaf from audit_pending where action = 'DATA_DELETE' "
            "union all select leaf from audit_event where action = 'DATA_DELETE'"
        )
    return [decode(row["leaf"]).details for row in rows]
