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
from server.db.pool import Database, PoolSettings
from server.people_wiring import open_vault, subjects
from server.retention import Retention
from server.retention_policy import AUDIT, Kind, RetentionDays, cutoffs
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
    assert set((await retention.run(later(6))).removed.values()) == {0}
    assert await counts(office) == before
    assert person.word("text") in str(await office.export(person.subject))


async def test_each_kind_goes_in_its_time(office: Office, person: Person) -> None:
    retention = Retention(office.database, DAYS, batch=1)
    before = await counts(office)
    assert (await retention.run(later(8))).removed["kept_answers"] == before["idempotency"] > 4
    removed = (await retention.run(later(92))).removed
    assert removed["conversations"] == before["conversation"] == 2
    assert removed["proposals"] == before["proposal"] == 2
    after = await counts(office)
    assert (after["conversation"], after["message"], after["run"], after["proposal"]) == (0, 0, 0, 0)
    assert (after["outlet_alias"], after["order_event"]) == (before["outlet_alias"], before["order_event"])
    removed = (await retention.run(later(402))).removed
    assert (removed["learnt_words"], removed["order_events"]) == (1, before["order_event"])
    assert await office.value("select count(*) from customer_order") == 2, "orders are kept"
    assert person.word("note") not in str(await office.export(person.subject))


async def test_an_answer_does_not_name_a_proposal_that_is_gone(office: Office, person: Person) -> None:
    assert person.conversation
    named = "select count(*) from message where proposal is not null"
    assert await office.value(named) == 1
    async with office.database.connection() as connection:
        await connection.execute("update conversation set update_time = now() + interval '60 days'")
    removed = (await Retention(office.database, DAYS).run(later(92))).removed
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
    assert (await retention.run(when)).removed == said
    assert set((await retention.old(when)).values()) == {0}


async def test_every_removal_has_its_leaf_and_the_night_its_report(office: Office, person: Person) -> None:
    assert person.conversation
    when = later(92)
    removed = (await Retention(office.database, DAYS).run(when)).removed
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
    removed = (await retention.run(later(402))).removed
    assert removed == said
    assert removed["conversations"] == 1, "the other one's own session; the guest's conversation stays"
    assert (removed["proposals"], removed["learnt_words"]) == (2, 1)
    assert person.word("text") in str(await office.export(person.subject))
    assert "I was here" in str(await office.export(guest.subject))
    for held in (guest, person):
        await people.release(operator(TENANT), held.subject)
    assert (await retention.run(later(402))).removed["conversations"] == 3


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
    assert (await retention.run(now)).removed["audit_log"] == 0
    assert "no checkpoint covers" in caplog.text
    async with database.connection() as connection:
        await connection.execute(
            "insert into audit_checkpoint (tenant, size, key_id, root, note) values ('old', 1, 'k', sha256(''), '')"
        )
        await connection.execute(
            "insert into legal_hold (tenant, person, reason_box, placed_by) values ('any', 'p1_x', '', 'o')"
        )
    assert (await retention.run(now)).removed["audit_log"] == 0
    async with database.connection() as connection:
        await connection.execute("delete from legal_hold")
    assert (await retention.run(now)).removed["audit_log"] == 1
    assert (await retention.run(now)).removed["audit_log"] == 0


async def test_a_kind_that_fails_keeps_no_other_and_is_reported(database: Database) -> None:
    told: list[str] = []
    retention = Retention(database, DAYS, failed=told.append)
    async with database.connection() as connection:
        await connection.execute("alter table proposal rename to elsewhere")
        await connection.execute(
            "insert into webhook_event (organisation, resource, event_date, kind, receive_time) "
            "select 'o', n::text, 'd', 'k', now() - n * interval '1 day' + interval '1 hour' "
            "from generate_series(25, 36) as n"
        )
    report = await retention.run(datetime.now(UTC))
    assert report.removed["webhook_events"] == 6
    assert list(report.failed) == told == ["proposals"]
    async with database.connection() as connection:
        noted = await connection.fetchrow("select removed, failed from retention_run")
    assert noted is not None
    assert (json.loads(noted["removed"]), json.loads(noted["failed"])) == (report.removed, report.failed)


async def test_the_log_may_take_longer_than_other_statements(dsn: str) -> None:
    async with Database(dsn, PoolSettings(min_size=1, max_size=2, statement_timeout=0.5)) as hurried:
        async with hurried.connection() as connection:
            await connection.execute(
                "create or replace function audit_retire(until timestamptz) returns setof audit_retired "
                "language sql as 'select pg_sleep(1); select * from audit_retired'"
            )
        assert (await Retention(hurried, DAYS).run(datetime.now(UTC))).failed == {}
        async with hurried.connection() as connection:
            assert await connection.fetchval("show statement_timeout") == "500ms"


@pytest.mark.parametrize("kind", [kind for kind, _ in cutoffs(DAYS, datetime.now(UTC)).values() if kind is not AUDIT])
async def test_batches_are_found_by_an_index_and_go_on_where_the_last_one_ended(database: Database, kind: Kind) -> None:
    """The tables are empty here, so the planner is told to prefer an index where there is one."""
    async with database.transaction() as connection:
        await connection.execute("set local enable_seqscan = off")
        await connection.execute("set local enable_bitmapscan = off")
        plan = await connection.fetch(f"explain {kind.remove}", datetime.now(UTC), 10, datetime.now(UTC))
    conditions = [row[0] for row in plan if "Index Cond" in row[0]]
    assert any(">=" in each and "<" in each.replace(">=", "") for each in conditions), plan


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
